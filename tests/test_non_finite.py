import math

import pytest
import torch
from torch import nn

from sparsity.errors import NonFiniteError
from sparsity.non_finite import first_non_finite, first_non_finite_layer, require_finite_weights


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1))


def test_the_first_layer_with_a_weight_that_is_not_finite_is_named() -> None:
    net = network()
    assert first_non_finite_layer(net.named_parameters()) is None
    require_finite_weights(net)
    net[3].bias.data[0] = math.nan
    assert first_non_finite_layer(net.named_parameters()) == "3"
    net[1].running_var[1] = math.inf
    with pytest.raises(NonFiniteError, match="layer '1' has weights that are NaN or infinite"):
        require_finite_weights(net)


def test_the_layer_whose_output_overflows_first_is_named_in_eager_and_compiled_networks() -> None:
    net = network().eval()
    net[0].weight.data.fill_(1e30)
    net[3].weight.data.fill_(1e30)
    ones = torch.ones(1, 2)
    assert first_non_finite(net, lambda: net(ones)) == "layer '3' gives the first output that is NaN or infinite"
    net.compile(backend="eager")
    net(ones)
    assert first_non_finite(net, lambda: net(ones)) == "layer '3' gives the first output that is NaN or infinite"
    assert not any(module._forward_hooks for module in net.modules())


def test_inputs_and_losses_are_told_from_layers() -> None:
    net = network().eval()
    nan = torch.full((1, 2), math.nan)
    assert first_non_finite(net, lambda: net(nan)) == "layer '0' is given an input that is NaN or infinite"
    assert "the loss itself" in first_non_finite(net, lambda: net(torch.ones(1, 2)))
