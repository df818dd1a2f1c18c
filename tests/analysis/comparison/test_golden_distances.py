"""Distances of published networks, against the original authors' programs."""

from itertools import combinations

import numpy as np
import pytest

from sparsity.analysis import layer_distance, network_distance, unit_distances
from sparsity.analysis.assignment import assign
from sparsity.analysis.comparison.distance import vector_distance
from sparsity.graph.chain import permute_inputs

MEASURES = ["nnstd", "sasd", "maed"]
PAIRS = [
    "mini_indep",
    "mini_indep_swapped",
    "mini_self",
    "mini_signflip",
    "mini_perm_contiguous",
    "mini_perm_channels_last",
    "mini_empty_units",
    "mlp_indep",
    "conv2_8x8_indep",
]
LAYERS_BEFORE_A_TIE_MATTERS = {("mini_indep", "NNSTD", "contiguous_fixed"): 4} | {
    ("mini_empty_units", measure, flatten): 1
    for measure in ("SaSD", "NNSTD")
    for flatten in ("contiguous_fixed", "channels_last")
}


class TestThesis:
    """Layers matched independently; the values are rounded to ten decimals."""

    @pytest.mark.parametrize("measure", MEASURES)
    @pytest.mark.parametrize("label", [10, 2])
    def test_all_pairs_of_nine_fully_connected_networks(self, golden, published, label, measure):
        expected = golden(f"distances_FC_{label}.json")
        networks = [published(f"FC/{name}") for name in expected["networks"]]
        pairs = expected["measures"][measure]
        assert len(pairs) == 36
        for i, j in combinations(range(9), 2):
            ours = network_distance(networks[i], networks[j], measure)
            _assert_close(ours, pairs[f"{i}-{j}"])

    @pytest.mark.parametrize("measure", MEASURES)
    @pytest.mark.parametrize("label", [10, 2])
    def test_whole_layer_values_are_exact_with_the_stored_matching(self, golden, published, label, measure):
        expected = golden(f"distances_FC_{label}.json")
        networks = [published(f"FC/{name}") for name in expected["networks"]]
        with_matching = {key: pair for key, pair in expected["measures"][measure].items() if "matching" in pair}
        assert with_matching
        for key, pair in with_matching.items():
            a, b = (networks[int(number)] for number in key.split("-"))
            for x, y, matching, mean, whole in zip(
                a.values(),
                b.values(),
                pair["matching"],
                pair["mean_matched_unit_distance"],
                pair["whole_layer_after_matching"],
                strict=True,
            ):
                # The stored matching is one of the best: no better and no worse than ours.
                cost = unit_distances(x, y, measure)[np.arange(len(x)), matching].mean()
                assert cost == pytest.approx(mean, abs=1e-9)
                assert vector_distance(x, y[matching], measure) == pytest.approx(whole, abs=1e-9)

    @pytest.mark.parametrize("pair", ["gem_miner-synflow", "synflow-random", "gem_miner-random"])
    def test_resnet20_without_its_shortcuts(self, golden, published, pair):
        expected = golden("distances_ResNet20_10.json")["pairs"][pair]
        a, b = (published(f"ResNet20/{method}_10_21") for method in pair.split("-"))
        for measure in MEASURES:
            _assert_close(network_distance(a, b, measure), expected[measure])


class TestLiu:
    """NNSTD on the topologies of Liu et al. 2020, distances propagated through four layers."""

    def test_first_layer_is_exact(self, golden_nnstd):
        topologies, distances, _ = golden_nnstd("e010")
        for j, i in combinations(range(10), 2):
            ours = layer_distance(topologies[i]["0"], topologies[j]["0"], "nnstd").mean_matched
            assert ours == pytest.approx(distances[0, i, j], abs=1e-12)

    def test_deeper_layers_are_exact_with_the_stored_matching(self, golden_nnstd):
        topologies, distances, matchings = golden_nnstd("e010")
        for j, i in combinations(range(10), 2):
            order = np.arange(784)
            for layer in range(4):
                aligned = topologies[j][str(layer)][:, order]
                units = len(aligned)
                # The output layer of ten classes is compared in place by the original too: all its matchings are.
                order = matchings[layer, i, j].astype(int) if layer < 3 else np.arange(units)
                cost = unit_distances(topologies[i][str(layer)], aligned, "nnstd")
                assert cost[np.arange(units), order].mean() == pytest.approx(distances[layer, i, j], abs=1e-12)

    @pytest.mark.parametrize("epoch", ["e000", "e010"])
    def test_breaking_ties_by_what_units_feed_never_ends_above_the_original(self, golden_nnstd, epoch):
        topologies, distances, _ = golden_nnstd(epoch)
        for i, j in [(1, 0), (5, 3), (9, 0)]:
            ours = network_distance(topologies[i], topologies[j], "nnstd", align="propagate")
            means = np.array([layer.mean_matched for layer in ours.layers.values()])
            assert means[0] == pytest.approx(distances[0, i, j], abs=1e-12)
            # The original takes any of the equally good matchings, which are up to 0.07 apart further on.
            assert (means <= distances[:, i, j] + 1e-12).all()

    @pytest.mark.parametrize("epoch", ["e000", "e010", "e030"])
    def test_a_relabelled_copy_is_at_distance_zero_where_the_original_finds_up_to_seven_hundredths(
        self, golden_nnstd, relabelled, epoch
    ):
        topologies, _, _ = golden_nnstd(epoch)
        copy = relabelled(topologies[0], np.random.default_rng(0))
        ours = network_distance(topologies[0], copy, "nnstd", align="propagate")
        assert [layer.mean_matched for layer in ours.layers.values()] == [0, 0, 0, 0]
        assert [layer.whole_layer for layer in ours.layers.values()] == [0, 0, 0, 0]

    def test_relabelling_one_of_two_networks_changes_nothing(self, golden_nnstd, relabelled):
        topologies, _, _ = golden_nnstd("e010")
        copy = relabelled(topologies[0], np.random.default_rng(1))
        as_labelled = network_distance(topologies[1], topologies[0], "nnstd", align="propagate")
        ours = network_distance(topologies[1], copy, "nnstd", align="propagate")
        assert _means(ours) == pytest.approx(_means(as_labelled), abs=1e-12)


class TestHoller:
    """SaSD and NNSTD on pairs of convolutional and dense networks (Holler 2022)."""

    @pytest.mark.parametrize("measure", ["SaSD", "NNSTD"])
    @pytest.mark.parametrize("pair", PAIRS)
    @pytest.mark.parametrize("flatten", ["contiguous_fixed", "channels_last"])
    def test_following_any_optimal_matching(self, golden_sasd, pair, measure, flatten):
        a, b, expected = golden_sasd(pair, flatten)
        # His own program moves the wrong rows behind the flatten; this is the value after correcting it.
        derived = expected[measure][f"derived_per_layer_{flatten}"]
        assert _first_optimal_matchings(a, b, measure.lower()) == pytest.approx(derived, abs=1e-9)

    @pytest.mark.parametrize("measure", ["SaSD", "NNSTD"])
    @pytest.mark.parametrize("pair", PAIRS)
    @pytest.mark.parametrize("flatten", ["contiguous_fixed", "channels_last"])
    def test_network_distance(self, golden_sasd, pair, measure, flatten):
        a, b, expected = golden_sasd(pair, flatten)
        ours = network_distance(a, b, measure.lower(), align="propagate")
        derived = expected[measure][f"derived_per_layer_{flatten}"]
        # Where units are interchangeable in a layer his program takes any, ours those that feed alike; from the
        # next layer on the values differ then (the test above shows that nothing else does).
        same = LAYERS_BEFORE_A_TIE_MATTERS.get((pair, measure, flatten), len(derived))
        assert _means(ours)[:same] == pytest.approx(derived[:same], abs=1e-9)

    @pytest.mark.parametrize(
        ("pair", "flatten"),
        [("mini_perm_contiguous", "contiguous_fixed"), ("mini_perm_channels_last", "channels_last")],
    )
    @pytest.mark.parametrize("measure", MEASURES)
    def test_a_relabelled_copy_is_at_distance_zero(self, golden_sasd, pair, flatten, measure):
        a, b, _ = golden_sasd(pair, flatten)
        assert network_distance(a, b, measure, align="propagate").mean == 0


@pytest.fixture
def golden_nnstd(reference):
    """One epoch's topologies `[10][layer] -> [out, in]`, distances `[layer, i, j]`, matchings `[layer, i, j, unit]`."""
    folder = reference / "golden" / "nnstd"

    def read(epoch):
        stored = np.load(folder / f"topo_{epoch}.npz")
        topologies = []
        for number in range(10):
            layers = {}
            for layer in range(3):
                inputs, neurons = stored[f"w{number}_l{layer}"].astype(int)
                layers[str(layer)] = np.zeros((784, 784), dtype=np.float32)
                layers[str(layer)][neurons, inputs] = 1
            output = np.unpackbits(stored[f"w{number}_l3"])[: 784 * 10].reshape(784, 10)
            layers["3"] = output.T.astype(np.float32)
            topologies.append(layers)
        matchings = folder / f"matchings_{epoch}.npz"
        return (
            topologies,
            np.load(folder / "distances.npz")[epoch],
            np.load(matchings)["M"] if matchings.exists() else None,
        )

    return read


@pytest.fixture
def golden_sasd(reference, golden):
    """Two networks in PyTorch's layout, and what is expected of them.

    Kernels are stored in Keras' order. With a flatten of channels last, the dense rows are put in PyTorch's order
    (channels first) too, as a converter would; `contiguous_fixed` takes them to be in it already.
    """

    def read(pair, flatten):
        stored = np.load(reference / "golden" / "sasd" / f"{pair}.npz")

        def network(letter):
            layers, channels = {}, None
            for number in range(sum(key.startswith(letter) for key in stored)):
                kernel = stored[f"{letter}{number}"]
                if kernel.ndim == 4:
                    channels = kernel.shape[3]
                    layers[str(number)] = kernel.transpose(3, 2, 0, 1)
                    continue
                if channels and flatten == "channels_last":
                    kernel = kernel.reshape(-1, channels, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape)
                layers[str(number)], channels = kernel.T, None
            return layers

        return network("a"), network("b"), golden("sasd/expected.json")["pairs"][pair]

    return read


def _first_optimal_matchings(a, b, measure):
    """Distances along the chain with whatever optimal matching the solver finds first, ties left to chance."""
    means, order = [], None
    for number, (x, y) in enumerate(zip(a.values(), b.values(), strict=True)):
        aligned = y if order is None else permute_inputs(y, order)
        cost = unit_distances(x, aligned, measure)
        order = assign(cost) if number < len(a) - 1 else np.arange(len(x))
        means.append(cost[np.arange(len(x)), order].mean())
    return means


def _assert_close(ours, expected):
    assert _means(ours) == pytest.approx(expected["mean_matched_unit_distance"], abs=1e-9)
    # Depends on which of several optimal matchings was taken.
    whole = [layer.whole_layer for layer in ours.layers.values()]
    assert whole == pytest.approx(expected["whole_layer_after_matching"], abs=1e-3)


def _means(distance):
    return [layer.mean_matched for layer in distance.layers.values()]
