from typing import Any

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import VGG, VGG11, VGG13, VGG16, VGG19


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_vgg16_has_the_parameters_of_the_literature() -> None:
    network = VGG16(conv_bias=True)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    # As in torchvision's vgg16().features; then weight and bias of BatchNorm's 4,224 channels, and 512 x 10 + 10.
    assert sum(parameters(convolution) for convolution in convolutions) == 14_714_688
    assert parameters(network.fc) == 5_130
    assert parameters(network) == 14_714_688 + 2 * 4_224 + 5_130
    assert parameters(VGG16()) == parameters(network) - 4_224


def test_every_convolution_and_the_output_layer_can_be_masked() -> None:
    network = VGG16()
    add_masks(network)
    assert sum(sizes(network).values()) == 14_710_464 + 5_120
    assert list(sizes(network))[:4] == ["layers.0.conv", "layers.1.conv", "layers.3.conv", "layers.4.conv"]


@pytest.mark.parametrize(("network_class", "depth"), [(VGG11, 11), (VGG13, 13), (VGG16, 16), (VGG19, 19)])
def test_depth_counts_three_linear_layers_of_which_one_is_left(network_class: type[VGG], depth: int) -> None:
    network = network_class(width=2)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == depth - 3
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == 4
    channels = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert sorted(set(channels)) == [2, 4, 8, 16]
    assert network(torch.zeros(3, 3, 32, 32)).shape == (3, 10)


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 28, 28), (3, 40, 33)])
def test_images_of_other_sizes_are_averaged_over_what_is_left(shape: tuple[int, int, int]) -> None:
    network = VGG(11, width=2, input_shape=shape, num_classes=7)
    assert network.input_shape == shape
    assert network(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 12}, "11, 13, 16, 19 layers, not 12"),
        ({"width": 0}, "positive sizes"),
        ({"num_classes": 2.5}, "positive sizes"),
        ({"input_shape": (3, 32, 8)}, r"at least 16 x 16 pixels, not input_shape=\(3, 32, 8\)"),
    ],
)
def test_what_makes_no_vgg_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        VGG(**wrong)
