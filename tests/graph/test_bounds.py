"""Bounds of every value of a forward pass: nothing is ever outside of them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparsity.graph.bounds import bounds
from sparsity.graph.intervals import Bounds
from sparsity.graph.nodes import retyped
from sparsity.graph.sample import trace_of
from sparsity.graph.trace import Trace
from tests.graph.networks import IMAGE, IMAGE_NETWORKS, Calls, last_step, vision_transformer


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach() for k, v in (*network.named_parameters(), *network.named_buffers())}


def values_of(trace: Trace, state: dict[str, Tensor], sample: Tensor) -> dict[fx.Node, Any]:
    """What every node really is for a sample."""
    values: dict[fx.Node, Any] = {}
    for node in trace.graph.nodes:
        if node.op == "placeholder":
            name = trace.parameters.get(node) or trace.buffers.get(node)
            values[node] = sample if node in trace.inputs else trace.constants.get(node, state.get(name or ""))
        elif node.op != "output":
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            args, kwargs = retyped((args, kwargs), torch.device("cpu"), torch.float64)
            values[node] = node.target(*args, **kwargs)
    return values


def sparse(network: nn.Module, density: float = 0.3) -> nn.Module:
    """In float64, with few weights, and with shifts and statistics that are not 0."""
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
            else:
                parameter *= torch.rand_like(parameter) < density
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.3 * torch.randn_like(buffer)
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{name: (IMAGE_NETWORKS[name], IMAGE) for name in ("mobilenet_v3_small", "shufflenet", "small_unet")},
    "grouped": (IMAGE_NETWORKS["grouped"], IMAGE),
    "vit": (vision_transformer, (1, 3, 32, 32)),
    "lstm": (last_step, (1, 7, 4)),
    "gru": (lambda: last_step(nn.GRU), (1, 7, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_value_of_a_network_is_ever_outside_its_bounds(name: str) -> None:
    make, size = NETWORKS[name]
    network = sparse(make())
    trace, state = trace_of(network, torch.zeros(size).double()), state_of(network)
    found = bounds(trace, state)
    says = 0
    for scale in (0.0, 1.0, 30.0):
        with torch.no_grad():
            real = values_of(trace, state, scale * torch.randn(size).double())
        for node, limits in found.items():
            pairs = zip(real[node], limits, strict=True) if isinstance(limits, tuple) else [(real[node], limits)]
            for value, limit in pairs:
                if isinstance(limit, Bounds):
                    assert limit.low.shape == value.shape
                    slack = 1e-9 * (1 + value.abs())
                    assert bool(((value >= limit.low - slack) & (value <= limit.high + slack)).all()), node
                    says += int((limit.low.isfinite() | limit.high.isfinite()).sum())
    assert says > 0


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "celu": F.celu,
    "gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "mish": F.mish,
    "hardswish": F.hardswish, "hardtanh": F.hardtanh, "hardsigmoid": F.hardsigmoid, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "softplus": F.softplus, "logsigmoid": F.logsigmoid, "softshrink": F.softshrink,
    "hardshrink": F.hardshrink, "clamp": lambda x: x.clamp(-0.5, 2), "clamp_min": lambda x: x.clamp(min=0.25),
    "abs": torch.abs, "square": torch.square, "sin": torch.sin, "exp": torch.exp, "expm1": torch.expm1,
    "neg": torch.neg, "minus": lambda x: 3 - x, "divided": lambda x: x / -2.0, "times": lambda x: x * -0.7,
    "power": lambda x: x**2, "threshold": lambda x: F.threshold(x, 0.1, 20.0), "softsign": F.softsign,
    "softmax": lambda x: x.softmax(-1), "log_softmax": lambda x: x.log_softmax(-1), "mean": lambda x: x.mean(-1),
    "maximum": lambda x: torch.maximum(x, -x), "norm": lambda x: F.normalize(x, dim=-1),
    "cumsum": lambda x: x.cumsum(-1), "where": lambda x: torch.where(x > 0, x, 2 * x),
    "masked": lambda x: x.masked_fill(x < 0, -3.0),
    "reciprocal": lambda x: 1 / (x.abs() + 1), "max pool": lambda x: F.max_pool1d(x, 2, padding=1),
    "average pool": lambda x: F.avg_pool1d(x, 2, padding=1), "padded": lambda x: F.pad(x, (1, 2), value=0.5),
}  # fmt: skip


@cache
def traced_function(name: str) -> tuple[nn.Module, Trace]:
    """`f(cat(w relu(a x + b), 0 x))`, made and traced once."""
    parts = {part: nn.Parameter(torch.zeros(2).double()) for part in ("first", "second", "moved")}
    network = Calls(
        lambda self, x: FUNCTIONS[name](torch.cat([(x * self.first + self.moved).relu() * self.second, x * 0], -1)),
        **parts,
    ).eval()
    return network, trace_of(network, torch.zeros(1, 1, 2).double())


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=10, deadline=None)
@given(weights=st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0]), min_size=4, max_size=4), shift=st.floats(-2, 2))
def test_every_function_keeps_to_its_bounds(name: str, weights: list[float], shift: float) -> None:
    network, trace = traced_function(name)
    for part, values in (("first", weights[:2]), ("second", weights[2:]), ("moved", [shift, -shift])):
        getattr(network, part).data = torch.tensor(values).double()
    limits = bounds(trace, state_of(network))[trace.outputs[0]]
    for scale in (0.1, 1.0, 20.0):
        with torch.no_grad():
            value = network(scale * torch.randn(1, 1, 2).double())
        assert bool(((value >= limits.low - 1e-9) & (value <= limits.high + 1e-9)).all())
        constant = limits.is_constant
        assert torch.allclose(value[constant], limits.low[constant], atol=1e-12)


def test_a_relu_that_nothing_positive_reaches_is_the_constant_0_and_a_bias_goes_through() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU()).double()
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[-1.0, -2.0], [0.0, 0.0], [1.0, -1.0]]))
        network[2].bias.copy_(torch.tensor([-0.5, 1.5, 0.0]))
    trace = trace_of(network, (2,))
    limits = bounds(trace, state_of(network))[trace.outputs[0]]
    assert limits.is_constant.tolist() == [[True, True, False]]
    assert limits.low[0, :2].tolist() == [0.0, 1.5]


def test_what_reads_token_ids_is_between_the_smallest_and_the_largest_row() -> None:
    network = nn.Sequential(nn.Embedding(3, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 7.0], [2.0, 7.0], [-3.0, 7.0]]))
    trace = trace_of(network, torch.tensor([[0, 2]]))
    limits = bounds(trace, state_of(network))[trace.outputs[0]]
    assert limits.low[0].tolist() == [[-3.0, 7.0]] * 2
    assert limits.high[0].tolist() == [[2.0, 7.0]] * 2
