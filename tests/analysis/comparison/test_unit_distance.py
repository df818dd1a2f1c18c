import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsity.analysis import unit_distances
from sparsity.errors import SparsityError

MEASURES = ["nnstd", "sasd", "maed"]


@st.composite
def two_layers(draw):
    """Small sparse layers with units of one length, some of them empty, some weights equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, units_a, units_b = draw(st.integers(0, 8)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))

    def layer(units):
        values = rng.integers(-3, 4, (units, inputs)) / 2
        return values * (rng.random((units, inputs)) < density)

    return layer(units_a), layer(units_b)


def naive(a, b, measure):
    """One pair of units, straight from the definition."""
    if measure == "maed":
        worst = sum(abs(x - y) for x, y in zip(sorted(a), sorted(b, reverse=True), strict=True))
        return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / worst if worst else 0.0
    support_a, support_b = ({i for i, x in enumerate(v) if x} for v in (a, b))
    if not support_a | support_b:
        return 0.0
    shared = support_a & support_b
    if measure == "sasd":
        shared = {i for i in shared if (a[i] > 0) == (b[i] > 0)}
    return 1 - len(shared) / len(support_a | support_b)


@pytest.mark.parametrize("measure", MEASURES)
@given(layers=two_layers())
@settings(max_examples=60, deadline=None)
def test_matrix_form_agrees_with_the_definition(measure, layers):
    a, b = layers
    expected = [[naive(list(x), list(y), measure) for y in b] for x in a]
    np.testing.assert_allclose(unit_distances(a, b, measure), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@given(layers=two_layers())
@settings(max_examples=30, deadline=None)
def test_distances_are_symmetric_zero_on_themselves_and_at_most_one(measure, layers):
    a, b = layers
    forward, backward = unit_distances(a, b, measure), unit_distances(b, a, measure)
    np.testing.assert_allclose(forward, backward.T, rtol=0, atol=1e-12)
    assert (forward >= 0).all()
    assert (forward <= 1).all()
    assert (np.diag(unit_distances(a, a, measure)) == 0).all()


@pytest.mark.parametrize("measure", MEASURES)
@given(layers=two_layers(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_common_order_of_the_inputs_does_not_matter(measure, layers, seed):
    a, b = layers
    order = np.random.default_rng(seed).permutation(a.shape[1])
    np.testing.assert_allclose(
        unit_distances(a[:, order], b[:, order], measure), unit_distances(a, b, measure), rtol=0, atol=1e-12
    )


def test_convolution_filters_are_flattened():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 2, 3, 3)), rng.normal(size=(4, 2, 3, 3))
    for measure in MEASURES:
        flat = unit_distances(a.reshape(3, -1), b.reshape(4, -1), measure)
        assert np.array_equal(unit_distances(a, b, measure), flat)


def test_opposite_signs_are_shared_for_nnstd_only():
    a, b = np.array([[1.0, 2.0, 0.0]]), np.array([[-1.0, 2.0, 0.0]])
    assert unit_distances(a, b, "nnstd") == 0
    assert unit_distances(a, b, "sasd") == 0.5


def test_mistakes_are_named():
    with pytest.raises(SparsityError, match="no distance called 'hamming'"):
        unit_distances(np.ones((2, 3)), np.ones((2, 3)), "hamming")
    with pytest.raises(SparsityError, match="3 and 4 weights"):
        unit_distances(np.ones((2, 3)), np.ones((2, 4)), "nnstd")
    with pytest.raises(SparsityError, match=r"\[units, ...\], not \[3\]"):
        unit_distances(np.ones(3), np.ones((2, 3)), "nnstd")
