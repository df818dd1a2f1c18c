from typing import Any

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import ResNet, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110


def test_resnet20_has_270896_maskable_weights_with_shortcuts() -> None:
    network = ResNet20()
    add_masks(network)
    assert sum(sizes(network).values()) == 270_896
    shortcuts = {name: size for name, size in sizes(network).items() if "shortcut" in name}
    assert shortcuts == {"blocks.3.shortcut.0": 16 * 32, "blocks.6.shortcut.0": 32 * 64}


@pytest.mark.parametrize(
    ("network_class", "depth"), [(ResNet20, 20), (ResNet32, 32), (ResNet44, 44), (ResNet56, 56), (ResNet110, 110)]
)
def test_depth_counts_the_layers_on_the_longest_path(network_class: type[ResNet], depth: int) -> None:
    network = network_class(width=2)
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
    assert len(layers) == depth


def test_width_scales_the_filters_of_every_segment() -> None:
    network = ResNet20(width=4, num_classes=7, input_shape=(1, 16, 16))
    assert [network.blocks[i].conv1.out_channels for i in (0, 3, 6)] == [4, 8, 16]
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_identity_shortcuts_have_no_parameters_unless_scaled() -> None:
    plain, scaled = ResNet20(width=2), ResNet20(width=2, shortcut_scale=True)
    assert not list(plain.blocks[0].shortcut.parameters())
    assert scaled.blocks[0].shortcut.weight.shape == (2, 1, 1)
    assert sum(1 for n, _ in scaled.named_parameters() if n.endswith("shortcut.weight")) == 7


def test_a_channel_scale_multiplies_the_identity() -> None:
    network = ResNet(depth=8, width=2, shortcut_scale=True)
    block = network.blocks[0].eval()
    x = torch.rand(1, 2, 4, 4)
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.shortcut.weight.fill_(3)
    assert torch.allclose(block(x), 3 * x)


def test_without_affine_batchnorm_has_no_parameters() -> None:
    names = [n for n, _ in ResNet20(width=2, affine=False, output_bias=False).named_parameters()]
    assert all(n.endswith("weight") and "bn" not in n and "shortcut.1" not in n for n in names)


@pytest.mark.parametrize("depth", [2, 7, 21])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(SparsityError, match="6n"):
        ResNet(depth)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"num_classes": None}, {"num_classes": 2.5}, {"input_shape": (3, 0, 8)}]
)
def test_sizes_that_are_no_positive_whole_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SparsityError, match="positive sizes"):
        ResNet20(**wrong)
