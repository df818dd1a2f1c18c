from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch

from sparsity.analysis.topology.network import Topology, layer_table, summary, topology
from sparsity.analysis.topology.pooled import pooled
from sparsity.analysis.topology.unmasked import Unmasked
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet


def sparse(network: torch.nn.Module, seed: int, kept: float, exclude: list[str] | None = None) -> Topology:
    generator = torch.Generator().manual_seed(seed)
    add_masks(network, exclude=exclude or [])
    scores = {name: torch.rand(mask.shape, generator=generator) for name, mask in masks(network).items()}
    set_mask(network, {name: score < kept for name, score in scores.items()})
    return topology(network)


def test_densities_are_means_and_distributions_those_of_all_units() -> None:
    parts = [sparse(FC(depth=3, width=8), seed, kept) for seed, kept in ((1, 0.1), (2, 0.4))]
    together = pooled(parts)
    assert together.densities.density == pytest.approx(np.mean([part.densities.density for part in parts]))
    assert together.connectivity.effective_density == pytest.approx(
        np.mean([part.connectivity.effective_density for part in parts])
    )
    for name, layer in together.densities.layers.items():
        assert layer.density == pytest.approx(np.mean([part.densities.layers[name].density for part in parts]))
        assert together.weights[name].shape[0] == 2 * parts[0].weights[name].shape[0]
        np.testing.assert_array_equal(
            together.runs[name].count, np.concatenate([part.runs[name].count for part in parts])
        )
        np.testing.assert_array_equal(together.gaps[name].gap, np.concatenate([part.gaps[name].gap for part in parts]))


def test_kernels_are_counted_over_all_networks() -> None:
    parts = [sparse(ResNet(depth=8, width=2), seed, 0.3) for seed in (1, 2)]
    together = pooled(parts)
    assert together.common_kernels is not None
    assert together.common_kernels.total == sum(part.common_kernels.total for part in parts if part.common_kernels)
    for name, found in together.kernels.items():
        assert found.mean_score == pytest.approx(np.mean([part.kernels[name].mean_score for part in parts]))


def test_one_network_alone_is_itself() -> None:
    alone = sparse(FC(depth=3, width=8), 1, 0.2)
    together = pooled([alone])
    assert together.densities == alone.densities
    assert together.connectivity.effective == alone.connectivity.effective


# Of every field, what two networks of densities 0.1 and 0.9 have to become together.
OF_TWO: dict[str, Callable[[Topology, Topology, Topology], bool]] = {
    "weights": lambda both, a, b: all(
        np.array_equal(both.weights[name], np.concatenate([a.weights[name], b.weights[name]])) for name in a.weights
    ),
    "densities": lambda both, a, b: both.densities.kept == a.densities.kept + b.densities.kept,
    "unmasked": lambda both, a, b: (
        both.unmasked.weights == {"fc.weight": 2 * a.unmasked.weights["fc.weight"]} and both.unmasked.tied == {}
    ),
    "connectivity": lambda both, a, b: (
        both.connectivity.effective == a.connectivity.effective + b.connectivity.effective
    ),
    "costs": lambda both, a, b: both.costs == a.costs == b.costs,
    "flops_dense": lambda both, a, b: both.flops_dense == a.flops_dense + b.flops_dense,
    "flops_effective": lambda both, a, b: both.flops_effective == a.flops_effective + b.flops_effective,
    "runs": lambda both, a, b: all(
        both.runs[name].count.sum() == a.runs[name].count.sum() + b.runs[name].count.sum() for name in a.runs
    ),
    "gaps": lambda both, a, b: all(
        both.gaps[name].gap.sum() == a.gaps[name].gap.sum() + b.gaps[name].gap.sum() for name in a.gaps
    ),
    "kernels": lambda both, a, b: all(
        np.array_equal(both.kernels[name].score, [*a.kernels[name].score, *b.kernels[name].score], equal_nan=True)
        for name in a.kernels
    ),
    "common_kernels": lambda both, a, b: (
        both.common_kernels.total == a.common_kernels.total + b.common_kernels.total  # type: ignore[union-attr]
    ),
    "graph": lambda both, a, b: both.graph is None,
    "first_layer": lambda both, a, b: both.first_layer is None,
}


def test_every_field_of_two_networks_is_pooled_with_thought() -> None:
    assert OF_TWO.keys() == {field.name for field in fields(Topology)}
    assert {field.name for field in fields(Unmasked)} == {"weights", "tied"}
    a, b = (sparse(ResNet(depth=8, width=2), seed, kept, exclude=["fc"]) for seed, kept in ((1, 0.1), (2, 0.9)))
    both = pooled([a, b])
    assert [name for name, holds in OF_TWO.items() if not holds(both, a, b)] == []


def test_shares_of_what_is_pooled_lie_between_those_of_the_networks() -> None:
    parts = [sparse(ResNet(depth=8, width=2), seed, kept, exclude=["fc"]) for seed, kept in ((1, 0.1), (2, 0.9))]
    low, high, both = (summary(found) for found in (*parts, pooled(parts)))
    assert both["flops_effective"] / both["flops_dense"] == pytest.approx(
        np.mean([found["flops_effective"] / found["flops_dense"] for found in (low, high)])
    )
    assert both["density_all"] == pytest.approx((low["density_all"] + high["density_all"]) / 2)
    assert sum(row["flops_effective"] for row in layer_table(pooled(parts))) == both["flops_effective"]  # type: ignore[misc]


def test_positions_that_differ_are_not_those_of_the_first() -> None:
    network = ResNet(depth=8, width=2)
    assert pooled([topology(network, (3, 32, 32)), topology(network, (3, 16, 16))]).costs is None
