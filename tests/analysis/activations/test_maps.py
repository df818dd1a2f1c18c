import numpy as np
import pytest
import torch
from torch import nn

from sparsity.analysis import exciting_patches, feature_maps, first_layer_map
from sparsity.errors import SparsityError
from sparsity.networks import FC, ResNet


def test_first_layer_weights_add_up_to_an_image():
    weight = np.arange(2 * 12.0).reshape(2, 12)
    assert np.array_equal(first_layer_map(weight, (3, 2, 2)), (weight[0] + weight[1]).reshape(3, 2, 2))
    filters = np.random.default_rng(0).normal(size=(4, 3, 5, 5))
    assert np.allclose(first_layer_map(filters, (3, 32, 32)), sum(filters))
    with pytest.raises(SparsityError, match="not the first"):
        first_layer_map(weight, (1, 2, 2))


def test_feature_maps_are_the_units_responses():
    network = ResNet(8, width=2, input_shape=(1, 8, 8)).eval()
    images = torch.randn(3, 1, 8, 8)
    maps = feature_maps(network, images, "conv")
    assert np.array_equal(maps, network.bn(network.conv(images)).relu().detach().numpy())
    with pytest.raises(SparsityError, match="no layer is called 'conv9'"):
        feature_maps(network, images, "conv9")


def test_patches_that_excite_the_units_of_a_convolution_most():
    network = nn.Sequential(nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 3))
    images = torch.randn(11, 2, 8, 8)
    found = exciting_patches(network, images, "0", batch_size=4)
    answers = network[0](images).detach()
    for unit in range(5):
        image, row, column = np.unravel_index(answers[:, unit].argmax().item(), (11, 4, 4))
        assert found.response[unit] == pytest.approx(answers[:, unit].max().item())
        assert found.image[unit] == image
        rows = (max(2 * row - 1, 0), min(2 * row + 2, 8))
        columns = (max(2 * column - 1, 0), min(2 * column + 2, 8))
        assert (found.top[unit], found.bottom[unit], found.left[unit], found.right[unit]) == (*rows, *columns)


def test_fields_grow_with_depth():
    network = ResNet(8, width=2, input_shape=(1, 16, 16))
    # Two 3 x 3 convolutions see 5 x 5, and this image excites its middle most.
    images = torch.zeros(1, 1, 16, 16)
    images[0, 0, 8, 8] = 1
    network.conv.weight.data.fill_(1)
    network.blocks[0].conv1.weight.data.fill_(1)
    found = exciting_patches(network, images, "blocks.0.conv1")
    assert set(found.bottom - found.top) == set(found.right - found.left) == {5}


def test_a_linear_layer_sees_the_whole_image():
    network = FC((1, 4, 6), 3, depth=2, width=5)
    found = exciting_patches(network, torch.randn(9, 1, 4, 6), "fc2")
    assert set(found.top) == set(found.left) == {0}
    assert set(found.bottom) == {4}
    assert set(found.right) == {6}
    with pytest.raises(SparsityError, match="patches are cut from images"):
        exciting_patches(network, torch.randn(9, 24), "fc2")
