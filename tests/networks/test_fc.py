import pytest
import torch

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import FC


def test_the_default_has_119400_maskable_weights() -> None:
    network = FC()
    add_masks(network)
    assert sizes(network) == {
        "fc1": 78_400, "fc2": 10_000, "fc3": 10_000, "fc4": 10_000, "fc5": 10_000, "fc6": 1_000
    }  # fmt: skip
    assert sum(sizes(network).values()) == 119_400


@pytest.mark.parametrize(("bias", "with_bias"), [("all", 3), ("hidden", 2), ("none", 0)])
def test_bias_says_which_layers_have_one(bias: str, with_bias: int) -> None:
    network = FC((4,), num_classes=2, depth=3, width=5, bias=bias)  # type: ignore[arg-type]
    linear = [m for m in network if isinstance(m, torch.nn.Linear)]
    assert sum(m.bias is not None for m in linear) == with_bias
    assert network(torch.zeros(7, 4)).shape == (7, 2)


def test_one_layer_is_a_linear_classifier() -> None:
    assert [type(m).__name__ for m in FC((1, 2, 2), depth=1)] == ["Flatten", "Linear"]


def test_the_output_has_no_nonlinearity() -> None:
    assert isinstance(FC()[-1], torch.nn.Linear)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": -1}, {"num_classes": 0}, {"input_shape": (1, 0, 3)}])
def test_sizes_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SparsityError, match="positive sizes"):
        FC(**wrong)  # type: ignore[arg-type]
