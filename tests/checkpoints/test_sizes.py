"""Layers that are given other sizes than their class makes them."""

import torch
from torch import nn

from sparsity.checkpoints.sizes import replace_tensors, resize_to, set_sizes


def test_layers_take_the_sizes_of_saved_tensors_and_a_bias_that_was_added() -> None:
    small = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 1))
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 4, 1, bias=False))
    resize_to(network, small.state_dict())
    network.load_state_dict(small.state_dict())
    assert (network[0].out_channels, network[1].num_features, network[2].in_channels) == (2, 2, 2)
    images = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(network(images), small(images), rtol=0, atol=0)


def test_precision_goes_along() -> None:
    network = nn.Linear(4, 4)
    resize_to(network, nn.Linear(3, 4).half().state_dict())
    assert (network.weight.dtype, network.weight.shape) == (torch.float16, (4, 3))


def test_nothing_becomes_larger_or_gets_other_axes() -> None:
    network = nn.Linear(4, 4)
    resize_to(network, {"weight": torch.ones(5, 4), "bias": torch.ones(2, 2), "other.bias": torch.ones(3)})
    assert (network.weight.shape, network.bias.shape) == ((4, 4), (4,))


def test_a_tied_tensor_is_replaced_wherever_it_lies() -> None:
    network = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    network[1].weight = network[0].weight
    replace_tensors(network, {"0.weight": torch.ones(9, 3)})
    assert network[1].weight is network[0].weight
    assert (network[0].embedding_dim, network[1].in_features) == (3, 3)
    resize_to(network, {"0.weight": torch.ones(9, 2), "1.weight": torch.ones(9, 2)})
    assert network[1].weight is network[0].weight
    assert network[1].in_features == 2


def test_a_recurrent_layer_with_a_projection_keeps_both_of_its_sizes() -> None:
    layer = nn.LSTM(4, 6, proj_size=2)
    set_sizes(layer)
    assert (layer.input_size, layer.hidden_size, layer.proj_size) == (4, 6, 2)
    before = [tuple(weight.shape) for weight in layer.parameters()]
    assert before == [tuple(weight.shape) for weight in nn.LSTM(4, layer.hidden_size, proj_size=2).parameters()]
