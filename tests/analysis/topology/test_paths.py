"""Path counts and path norms against products of matrices, enumeration and networks that leave every range."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from sparsity.analysis.topology.paths import known_paths, paths
from sparsity.graph.flow import Flow, absolute_values
from sparsity.graph.sample import trace_of
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet, ViT


def sparse(network: nn.Module, kept: float = 0.5) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    add_masks(network)
    set_mask(network, {name: torch.rand(m.shape, generator=generator) < kept for name, m in masks(network).items()})
    return network


def test_paths_of_a_chain_are_those_that_are_found_one_by_one() -> None:
    network = sparse(FC((4,), 2, depth=3, width=3))
    first, second, third = (getattr(network, f"fc{i}").weight.detach().double().numpy() for i in (1, 2, 3))
    weights = [
        first[j, i] * second[k, j] * third[o, k] for i, j, k, o in product(range(4), range(3), range(3), range(2))
    ]
    through = {
        (j,): sum(first[j, i] * second[k, j] * third[o, k] != 0 for i, k, o in product(range(4), range(3), range(2)))
        for j in range(3)
    }
    found = paths(network)
    assert 10**found.log10_count == pytest.approx(np.count_nonzero(weights))
    assert 10**found.log10_l1 == pytest.approx(np.abs(weights).sum(), rel=1e-9)
    assert 10**found.log10_l2 == pytest.approx(np.linalg.norm(weights), rel=1e-9)
    assert found.shares["fc1"] == pytest.approx(np.array(list(through.values())) / np.count_nonzero(weights))
    assert [shares.sum() for shares in found.shares.values()] == pytest.approx([1, 1, 1])


def test_biases_and_normalisations_shifts_start_no_path_and_do_not_matter() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    before = paths(network, (3,))
    with torch.no_grad():
        network[0].bias.fill_(7)
        network[1].bias.fill_(5)
        network[1].running_mean.fill_(3)
    after = paths(network, (3,))
    assert vars(after)["log10_l1"] == before.log10_l1
    assert 10**after.log10_count == pytest.approx(3 * 4 * 2)


def test_batch_normalisation_weighs_by_its_factor_and_its_square() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(-2)
        network[2].weight.fill_(3)
        network[1].weight.fill_(-5)
        network[1].running_var.fill_(4)
    found = paths(network, (1,))
    assert found.log10_count == pytest.approx(0, abs=1e-9)
    assert 10**found.log10_l1 == pytest.approx(2 * 5 / np.sqrt(4 + 1e-5) * 3, rel=1e-9)
    assert found.log10_l2 == pytest.approx(found.log10_l1, abs=1e-9)


def test_shortcuts_add_paths() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.second(torch.relu(self.first(x)))
            return self.head(torch.cat([x[:, :1], x[:, 1:]], dim=1))

    # From 3 inputs: 3 paths straight on and 3 * 3 * 3 by the block, then 2 ways each.
    assert 10 ** paths(Block(), (3,)).log10_count == pytest.approx((3 + 27) * 2)


def test_a_convolution_makes_a_path_at_each_position() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 4, 3))
    assert 10 ** paths(network, (1, 4, 4)).log10_count == pytest.approx(4 * 9 * 2 * 3)


@pytest.mark.parametrize("depth", [100, 400])
def test_deep_networks_leave_no_range(depth: int) -> None:
    """Dense layers of 16 units and weights of 1e-3 or 1e3: closed forms far beyond 1e308 and 1e-308."""
    for size in (1e-3, 1e3):
        network = nn.Sequential(*[nn.Linear(16, 16) for _ in range(depth)])
        with torch.no_grad():
            for layer in network:
                layer.weight.fill_(size)
        found = paths(network, (16,))
        count = (depth + 1) * np.log10(16)
        assert found.log10_count == pytest.approx(count, rel=1e-9)
        assert found.log10_l1 == pytest.approx(count + depth * np.log10(size), rel=1e-6)
        assert found.log10_l2 == pytest.approx(count / 2 + depth * np.log10(size), rel=1e-6)
        assert found.shares["7"] == pytest.approx(np.full(16, 1 / 16))


class _Gates(nn.Module):
    """Products of activations, which count by degree one."""

    input_shape = (5, 4)

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize(
    "network",
    [
        ResNet(8, width=3, input_shape=(1, 8, 8)),
        ViT(4, dim=8, depth=2, heads=2, mlp_dim=16, input_shape=(3, 8, 8)),
        _Gates(),
    ],
    ids=["resnet", "vit", "lstm"],
)
def test_the_l1_norm_is_synaptic_flow_without_biases(network: nn.Module) -> None:
    network = sparse(network.eval())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if (parameter.ndim == 1 and "bias" in name) or "position" in name or "token" in name:
                parameter.zero_()
    flow = Flow(trace_of(network))
    assert 10 ** paths(network).log10_l1 == pytest.approx(float(flow(*absolute_values(network))), rel=1e-6)


def test_a_cut_network_has_no_path() -> None:
    network = sparse(FC((4,), 2, depth=3, width=3))
    set_mask(network, {"fc2": torch.zeros(3, 3, dtype=torch.bool)})
    found = paths(network)
    assert found.log10_count == found.log10_l1 == found.log10_l2 == -np.inf
    assert all((shares == 0).all() for shares in found.shares.values())


def test_paths_that_are_not_known_are_left_out_with_a_line() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumprod(self.layer(x), dim=1)

    with pytest.warns(UserWarning, match="the paths are not known and are left out: "):
        assert known_paths(Product(), (3,)) is None
