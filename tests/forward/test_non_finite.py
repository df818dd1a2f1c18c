import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sparsity.errors import NonFiniteError
from sparsity.forward.non_finite import first_non_finite, first_non_finite_layer, require_finite_weights


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


class OwnTensors(nn.Module):
    """A class token of its own beside a layer, and buffers that are infinite by design."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(2))
        self.body = network()
        self.register_buffer("attention_mask", torch.full((2, 2), -math.inf).triu(1))
        self.register_buffer("largest", torch.tensor(-math.inf))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + self.token)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [(lambda: nn.Linear(2, 2), "weight"), (lambda: nn.Linear(2, 2), "bias"), (OwnTensors, "token")],
)
def test_a_networks_own_parameter_that_is_not_finite_is_seen(make: Callable[[], nn.Module], parameter: str) -> None:
    net = make()
    require_finite_weights(net)
    net.get_parameter(parameter).data.view(-1)[0] = math.nan
    with pytest.raises(NonFiniteError, match="the network itself has weights that are NaN or infinite"):
        require_finite_weights(net)
    assert first_non_finite(net, lambda: net(torch.ones(1, 2))).startswith("the network itself has weights")


@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
def test_of_buffers_only_running_statistics_must_be_finite(statistic: str) -> None:
    net = OwnTensors()
    require_finite_weights(net)
    net.body[1].get_buffer(statistic)[0] = math.inf
    with pytest.raises(NonFiniteError, match=r"layer 'body\.1' has weights"):
        require_finite_weights(net)


def test_a_network_without_tensors_is_finite() -> None:
    require_finite_weights(nn.ReLU())
    require_finite_weights(nn.LazyLinear(2))


def test_outputs_are_looked_at_in_whatever_they_are_wrapped_in() -> None:
    attention = nn.MultiheadAttention(2, 1).eval()
    nan, ones = torch.full((1, 1, 2), math.nan), torch.ones(1, 1, 2)
    said = first_non_finite(attention, lambda: attention(query=nan, key=nan, value=nan))
    assert said == "the network itself is given an input that is NaN or infinite"
    attention.in_proj_weight.data.fill_(3e38)
    said = first_non_finite(attention, lambda: attention(query=ones, key=ones, value=ones))
    assert said == "the network itself gives the first output that is NaN or infinite"
