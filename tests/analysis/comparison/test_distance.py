import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsity.analysis import layer_distance, layer_weights, network_distance, unit_distances
from sparsity.analysis.comparison.distance import paired_distances, vector_distance
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC

MEASURES = ["nnstd", "sasd", "maed"]


@st.composite
def chains(draw):
    """A small sparse chain: convolutions, a flatten, Linear layers; some units empty, some unread."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.05, 0.2, 0.5, 1.0]))
    shapes = []
    channels = draw(st.integers(1, 2))
    for units in draw(st.lists(st.integers(1, 6), max_size=2)):
        shapes.append((units, channels, 3, 3))
        channels = units
    channels *= 4 if shapes else 3
    for units in [*draw(st.lists(st.integers(1, 6), max_size=2)), 3]:
        shapes.append((units, channels))
        channels = units
    return {str(n): rng.normal(size=s) * (rng.random(s) < density) for n, s in enumerate(shapes)}


@pytest.mark.parametrize("measure", MEASURES)
@given(layers=chains(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_relabelled_network_is_at_distance_zero_in_every_layer(relabelled, measure, layers, seed):
    copy = relabelled(layers, np.random.default_rng(seed))
    distance = network_distance(layers, copy, measure, align="propagate")
    assert all(layer.mean_matched == 0 and layer.whole_layer == 0 for layer in distance.layers.values())


@given(layers=chains(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_relabelling_both_networks_changes_no_distance(relabelled, layers, seed):
    rng = np.random.default_rng(seed)
    # With continuous weights the best matching is unique but for empty units, which what they feed tells apart.
    other = {name: rng.normal(size=w.shape) for name, w in layers.items()}
    expected = network_distance(layers, other, "maed", align="propagate")
    ours = network_distance(relabelled(layers, rng), relabelled(other, rng), "maed", align="propagate")
    assert [d.mean_matched for d in ours.layers.values()] == pytest.approx(
        [d.mean_matched for d in expected.layers.values()], abs=1e-9
    )


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("signed", [True, False])
def test_a_relabelled_network_of_equal_weights_is_at_distance_zero(relabelled, measure, signed):
    rng = np.random.default_rng(0)
    shapes = [(8, 1, 3, 3), (16, 8, 3, 3), (40, 64), (40, 40), (40, 40), (10, 40)]
    signs = {str(n): rng.choice([-1.0, 1.0] if signed else [1.0], s) for n, s in enumerate(shapes)}
    layers = {name: weight * (rng.random(weight.shape) < 0.06) for name, weight in signs.items()}
    distance = network_distance(layers, relabelled(layers, rng), measure, align="propagate")
    assert [d.mean_matched for d in distance.layers.values()] == [0] * 6


@pytest.mark.parametrize("align", ["independent", "propagate"])
@pytest.mark.parametrize("measure", MEASURES)
@given(layers=chains(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_distances_lie_between_zero_and_one_and_are_zero_on_themselves(align, measure, layers, seed):
    rng = np.random.default_rng(seed)
    other = {name: rng.normal(size=w.shape) * (rng.random(w.shape) < 0.4) for name, w in layers.items()}
    distance = network_distance(layers, other, measure, align)
    values = [x for d in distance.layers.values() for x in (d.mean_matched, d.whole_layer)]
    assert all(0 <= value <= 1 for value in values)
    assert 0 <= distance.mean <= 1
    assert network_distance(layers, layers, measure, align).mean == 0


@pytest.mark.parametrize("measure", MEASURES)
@given(layers=chains(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_independent_distances_are_symmetric_and_blind_to_the_order_of_units(measure, layers, seed):
    rng = np.random.default_rng(seed)
    other = {name: rng.normal(size=w.shape) * (rng.random(w.shape) < 0.4) for name, w in layers.items()}
    shuffled = {name: rng.permutation(w) for name, w in other.items()}
    expected = network_distance(layers, other, measure).mean
    assert network_distance(other, layers, measure).mean == pytest.approx(expected, abs=1e-12)
    assert network_distance(layers, shuffled, measure).mean == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_layer_distance_is_what_its_matching_gives(measure):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(7, 11)) * (rng.random((7, 11)) < 0.5) for _ in range(2))
    distance = layer_distance(a, b, measure)
    cost = unit_distances(a, b, measure)
    assert sorted(distance.matching) == list(range(7))
    assert distance.mean_matched == pytest.approx(np.mean([cost[p, q] for p, q in enumerate(distance.matching)]))
    assert distance.whole_layer == vector_distance(a, b[distance.matching], measure)


def test_networks_and_their_weights_give_the_same_distance():
    a, b = FC((6,), 3, depth=3, width=5), FC((6,), 3, depth=3, width=5)
    add_masks(a)
    set_mask(a, {"fc1": a.fc1.weight_mask.clone().bernoulli_(0.5)})
    for align in ("independent", "propagate"):
        from_modules = network_distance(a, b, "maed", align)
        from_maps = network_distance(layer_weights(a), layer_weights(b), "maed", align)
        assert list(from_modules.layers) == ["fc1", "fc2", "fc3"]
        assert from_modules.mean == from_maps.mean


def test_propagation_follows_a_convolutional_chain_with_a_flatten_by_size():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.bn = nn.BatchNorm2d(4)
            self.fc = nn.Linear(4 * 4, 3)

        def forward(self, x):
            x = self.bn(self.conv(x)).relu()
            return self.fc(x.view(x.size(0), -1))

    assert network_distance(Net(), Net(), "maed", align="propagate", input_shape=(1, 4, 4)).mean > 0


def test_propagation_refuses_what_cannot_be_traced():
    class Branching(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    net = Branching(nn.Linear(2, 2))
    with pytest.raises(SparsityError, match="cannot be traced"):
        network_distance(net, net, "nnstd", align="propagate", input_shape=(2,))


def test_mistakes_are_named():
    with pytest.raises(SparsityError, match="same layer shapes"):
        network_distance(FC((6,), 3, width=4), FC((6,), 3, width=5), "nnstd")
    with pytest.raises(SparsityError, match="no alignment called 'rebasin'"):
        network_distance({"a": np.ones((2, 2))}, {"a": np.ones((2, 2))}, "nnstd", align="rebasin")
    with pytest.raises(SparsityError, match="need one shape"):
        layer_distance(np.ones((2, 2)), np.ones((3, 2)), "nnstd")
    with pytest.raises(SparsityError, match="no layers"):
        network_distance({}, {}, "nnstd")
    with pytest.raises(NonFiniteError, match="layer 'a'"):
        network_distance({"a": np.full((2, 2), np.nan)}, {"a": np.ones((2, 2))}, "nnstd")


@pytest.mark.parametrize("measure", MEASURES)
def test_units_in_pairs_are_as_far_as_in_the_matrix_of_all(measure):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(37, 5, 3)) * (rng.random((37, 5, 3)) < 0.3) for _ in range(2))
    assert np.array_equal(paired_distances(a, b, measure), np.diagonal(unit_distances(a, b, measure)))
