import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from sparsity.forward.passes import evaluating, in_mode, substituted, unchanged


class Rebinding(nn.Module):
    """Rebinds a buffer, counts in an integer one, keeps what it saw, draws numbers, and is reachable by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
        self.head = self.layers[3]
        self.embedding = nn.Embedding(2, 3)
        self.embedding.weight = self.head.weight
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.passes = self.passes + 1
        self.calls += 1
        self.seen = x
        self.new = random.random() + np.random.rand() + torch.rand(())  # noqa: NPY002
        if x.shape[1] != 3:
            raise ValueError("no")
        return self.layers(x)


def picture(network: nn.Module) -> list[object]:
    """Everything that must not change; tensors as their identity and a copy."""
    named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    tensors = [(name, id(tensor), tensor.detach().tolist()) for name, tensor in named]
    attributes = [sorted(module.__dict__) for module in network.modules()]
    numpy_state = np.random.get_state()  # noqa: NPY002
    states = random.getstate(), [*numpy_state[:1], numpy_state[1].tolist(), *numpy_state[2:]]
    return [tensors, [m.training for m in network.modules()], attributes, states, torch.get_rng_state().tolist()]


@pytest.mark.parametrize("columns", [3, 4])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("guard", [unchanged, evaluating, lambda network: in_mode(network, training=True)])
def test_a_network_is_as_before_whatever_its_forward_pass_does(guard: Callable, training: bool, columns: int) -> None:
    network = Rebinding().train(training)
    network.head.weight.grad = gradient = torch.ones(2, 3)
    before = picture(network)
    with guard(network):
        try:
            network(torch.randn(4, columns))
        except ValueError:
            assert columns == 4
    assert picture(network) == before
    assert network.seen is None
    assert network.head.weight.grad is gradient


def test_a_stand_in_takes_every_place_of_its_tensor() -> None:
    network = Rebinding().eval()
    before = picture(network)
    weight = torch.zeros(2, 3, requires_grad=True)
    with substituted(network, {network.head.weight: weight, network.calls: network.calls.clone()}):
        assert network.head.weight is network.layers[3].weight is network.embedding.weight is weight
        assert torch.equal(network(torch.randn(1, 3)), network.head.bias[None])
    assert picture(network)[:3] == before[:3]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_compute_with_stand_ins(kind: type[nn.RNNBase]) -> None:
    network = kind(3, 2, batch_first=True)
    x = torch.randn(1, 4, 3)
    with substituted(network, {p: torch.zeros_like(p) for p in network.parameters()}):
        assert not network(x)[0].any()
    assert network(x)[0].any()
    assert network._flat_weights[0] is network.weight_ih_l0


def test_what_a_parametrisation_computes_from_can_be_substituted() -> None:
    network = weight_norm(nn.Linear(2, 2, bias=False))
    original = network.parametrizations.weight.original0
    with substituted(network, {original: torch.zeros_like(original)}):
        assert not network(torch.ones(1, 2)).any()
    assert network.parametrizations.weight.original0 is original
