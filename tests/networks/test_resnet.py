from typing import Any

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import ResNet, ResNet18, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110
from sparsity.networks.resnet import BasicBlock, PaddedShortcut


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


def test_resnet18_has_the_11173962_parameters_of_the_literature() -> None:
    network = ResNet18()
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_173_962
    assert [block.conv1.out_channels for block in network.blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [block.conv1.stride[0] for block in network.blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_resnet18_has_its_options() -> None:
    network = ResNet18(width=3, num_classes=4, input_shape=(1, 9, 9), shortcut="pad", affine=False)
    assert network(torch.zeros(2, 1, 9, 9)).shape == (2, 4)


def test_blocks_per_segment_are_as_asked() -> None:
    network = ResNet(blocks=[1, 2], width=3)
    assert [block.conv2.out_channels for block in network.blocks] == [3, 6, 6]
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_equal_blocks_in_three_segments_are_what_depth_gives() -> None:
    torch.manual_seed(0)
    by_depth = ResNet(14, width=2).state_dict()
    torch.manual_seed(0)
    by_blocks = ResNet(blocks=[2, 2, 2], width=2).state_dict()
    assert list(by_depth) == list(by_blocks)
    assert all(torch.equal(by_depth[name], by_blocks[name]) for name in by_depth)


def test_a_padded_shortcut_takes_every_second_pixel_between_channels_of_zeros() -> None:
    shortcut = PaddedShortcut(2, 5, stride=2)
    x = torch.arange(18.0).view(1, 2, 3, 3)
    out = shortcut(x)
    # Three new channels: one before the old ones, two after.
    assert out[0, 1:3].tolist() == [[[0, 2], [6, 8]], [[9, 11], [15, 17]]]
    assert out.shape == (1, 5, 2, 2)
    assert not out[0, [0, 3, 4]].any()


def test_padded_shortcuts_leave_resnet20_with_the_269722_parameters_of_option_a() -> None:
    network = ResNet20(shortcut="pad")
    assert sum(parameter.numel() for parameter in network.parameters()) == 269_722
    assert not [name for name in network.state_dict() if "shortcut" in name]


def test_a_block_of_zeros_with_a_padded_shortcut_passes_the_padded_image_on() -> None:
    block = BasicBlock(2, 4, stride=2, shortcut="pad").eval()
    x = torch.rand(1, 2, 4, 4)
    with torch.no_grad():
        block.conv2.weight.zero_()
    assert torch.equal(block(x), PaddedShortcut(2, 4, 2)(x))


@pytest.mark.parametrize("given", [{}, {"depth": 20, "blocks": [3, 3, 3]}])
def test_depth_and_blocks_are_alternatives(given: dict[str, Any]) -> None:
    with pytest.raises(SparsityError, match="depth or blocks, one of them"):
        ResNet(**given)


def test_an_unknown_shortcut_is_refused_by_name() -> None:
    with pytest.raises(SparsityError, match="one of conv, pad, not 'A'"):
        ResNet20(shortcut="A")
