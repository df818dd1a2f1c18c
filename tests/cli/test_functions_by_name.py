"""A function of anybody's that returns a network, named on the command line, makes what it makes in Python."""

from typing import Any

import pytest
import torchvision

from sparsity.cli.analyze import parser
from sparsity.cli.parser import made


def network(path: str, *arguments: str) -> Any:
    return made(parser(), ["network.ckpt", "--output", "out", "--network", path, *arguments])["network"]


@pytest.mark.parametrize("name", ["resnext50_32x4d", "shufflenet_v2_x0_5", "swin_t", "googlenet", "mobilenet_v2"])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_what_is_not_given_is_as_the_function_has_it(name: str) -> None:
    expected = torchvision.models.get_model(name)
    assert str(network(f"torchvision.models.{name}")) == str(expected)


def passing_on(width: int = 3, **kwargs: Any) -> torchvision.models.ResNet:
    kwargs.setdefault("num_classes", 7)
    return torchvision.models.resnet18(width_per_group=64, **kwargs)


def test_what_a_function_passes_on_can_be_given_and_is_left_to_it_otherwise() -> None:
    path = f"{__name__}.passing_on"
    assert network(path).fc.out_features == 7
    assert network(path, "--network.num_classes", "4").fc.out_features == 4


def test_what_a_class_calls_is_left_to_it() -> None:
    pairs = {
        "patch_size": "[4, 4]",
        "window_size": "[4, 4]",
        "depths": "[1, 1]",
        "num_heads": "[1, 1]",
        "embed_dim": "8",
    }
    given = [word for name, size in pairs.items() for word in (f"--network.{name}", size)]
    found = network("torchvision.models.SwinTransformer", *given)
    assert str(found) == str(torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [4, 4]))
