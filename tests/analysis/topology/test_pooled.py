import numpy as np
import pytest
import torch

from sparsity.analysis.topology.network import Topology, topology
from sparsity.analysis.topology.pooled import pooled
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet


def sparse(network: torch.nn.Module, seed: int, kept: float) -> Topology:
    generator = torch.Generator().manual_seed(seed)
    add_masks(network)
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
