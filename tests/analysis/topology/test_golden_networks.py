"""Densities, runs, gaps and kernels of the published networks, against what the thesis's programs counted."""

import numpy as np
import pytest

from sparsity.analysis import common_kernels, densities, input_gaps, input_runs, kernel_clusters

FC = [
    f"FC_{method}_{label}_{seed}"
    for method in ("gem_miner", "random", "synflow")
    for label in (10, 2)
    for seed in (21, 42, 63)
]
RESNETS = [f"ResNet20_{method}_10_21" for method in ("gem_miner", "random", "synflow")]


@pytest.fixture
def network(request, golden, published):
    name = request.param
    return golden(f"networks/{name}.json"), published(name.replace("_", "/", 1))


@pytest.mark.parametrize("network", FC + RESNETS, indirect=True)
def test_kept_weights_are_counted_exactly(network):
    expected, weights = network
    counted = densities(weights)
    assert list(counted.layers) == expected["layers"]
    assert [layer.kept for layer in counted.layers.values()] == expected["kept"]
    assert [layer.size for layer in counted.layers.values()] == expected["size"]
    assert counted.density == sum(expected["kept"]) / sum(expected["size"])
    assert sum(layer.share for layer in counted.layers.values()) == pytest.approx(1)


@pytest.mark.parametrize("network", FC, indirect=True)
def test_runs_of_neighbouring_inputs(network):
    expected, weights = network
    runs = [input_runs(weight) for weight in weights.values()]
    assert [r.count.tolist() for r in runs] == expected["runs"]["count_per_unit"]
    _equal([r.mean_size for r in runs], expected["runs"]["mean_size_per_layer"])
    shares = np.array([r.positive_share for r in runs])
    undefined = np.array([(r.size < 2).all() for r in runs])
    # A layer without a run of two has no share: NaN here, 0 in the golden values.
    assert np.array_equal(np.isnan(shares), undefined)
    _equal(np.where(undefined, 0, shares), expected["runs"]["positive_share_of_runs_of_two_or_more"])


@pytest.mark.parametrize("network", FC, indirect=True)
def test_the_thesis_counts_one_run_less_where_a_unit_begins_with_a_single_weight(network):
    expected, weights = network
    for weight, original in zip(weights.values(), expected["original_program"]["clusters_per_unit"], strict=True):
        runs = input_runs(weight)
        first_size = np.zeros(len(weight))
        # Backwards, so that of a unit's runs the first is written last.
        first_size[runs.unit[::-1]] = runs.size[::-1]
        assert (runs.count - (first_size == 1)).tolist() == original


@pytest.mark.parametrize("network", FC, indirect=True)
def test_mean_gaps_between_kept_inputs(network):
    expected, weights = network
    for weight, per_unit in zip(weights.values(), expected["mean_gap_per_unit"], strict=True):
        _equal(input_gaps(weight).mean, per_unit)


@pytest.mark.parametrize("network", FC, indirect=True)
def test_the_thesis_truncates_mean_gaps_and_has_zero_for_a_single_weight(network):
    expected, weights = network
    for weight, original in zip(
        weights.values(), expected["original_program"]["weight_distance_per_unit"], strict=True
    ):
        mean = input_gaps(weight).mean
        single = np.count_nonzero(weight, axis=1) == 1
        _equal(np.where(single, 0, np.trunc(mean)), original)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("network", RESNETS, indirect=True)
def test_kernel_cluster_scores(network, neighbours):
    expected, weights = network
    original = expected["original_program"][f"kernel_cluster_score_{neighbours}_neighbours"]
    convolutions = [weight for weight in weights.values() if weight.ndim == 4]
    assert len(original) - len(convolutions) in (0, 1)
    for weight, per_filter in zip(convolutions, original, strict=False):
        # The thesis rounds to two decimals per kernel and again per filter.
        np.testing.assert_allclose(kernel_clusters(weight, neighbours).score, per_filter, rtol=0, atol=0.011)


@pytest.mark.parametrize("network", RESNETS, indirect=True)
def test_most_common_kernels(network):
    expected, weights = network
    found = common_kernels(weights.values(), (3, 3), top=512)
    ours = {"".join(map(str, p.ravel())): n for p, n in zip(found.patterns, found.counts.tolist(), strict=True)}
    top = expected["common_kernels"]
    assert [ours[pattern] for pattern, _ in top] == [count for _, count in top]
    assert found.counts[: len(top)].tolist() == [count for _, count in top]


def _equal(ours, expected):
    expected = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
