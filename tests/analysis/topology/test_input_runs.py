from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsity.analysis import input_gaps, input_runs, kept_per_input, weight_positions


@st.composite
def layers(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(0, 5)), draw(st.integers(0, 9)))
    return rng.normal(size=shape) * (rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])))


@given(layers())
@settings(max_examples=100, deadline=None)
def test_runs_agree_with_a_walk_along_every_unit(weight):
    expected = []
    for unit, vector in enumerate(weight):
        for kept, group in groupby(range(len(vector)), key=lambda i, v=vector: v[i] != 0):
            run = list(group)
            if kept:
                expected.append((unit, run[0], len(run), np.mean([vector[i] > 0 for i in run])))
    runs = input_runs(weight)
    for column, ours in enumerate((runs.unit, runs.start, runs.size, runs.positive)):
        assert ours.tolist() == pytest.approx([run[column] for run in expected])
    assert runs.count.tolist() == [sum(unit == u for u, *_ in expected) for unit in range(len(weight))]
    sizes = [size for *_, size, _ in expected]
    shares = [share for *_, size, share in expected if size > 1]
    assert runs.mean_size == pytest.approx(np.mean(sizes) if sizes else np.nan, nan_ok=True)
    assert runs.positive_share == pytest.approx(np.mean(shares) if shares else np.nan, nan_ok=True)


@given(layers())
@settings(max_examples=100, deadline=None)
def test_gaps_and_positions_agree_with_a_walk_along_every_unit(weight):
    kept = [[i for i, value in enumerate(vector) if value] for vector in weight]
    gaps = [[after - before for before, after in pairwise(places)] for places in kept]
    found = input_gaps(weight)
    assert found.gap.tolist() == [gap for unit in gaps for gap in unit]
    assert found.unit.tolist() == [unit for unit, of_unit in enumerate(gaps) for _ in of_unit]
    np.testing.assert_allclose(found.mean, [np.mean(unit) if unit else np.nan for unit in gaps])
    assert weight_positions(weight).tolist() == [[u, i] for u, places in enumerate(kept) for i in places]
    assert kept_per_input(weight).tolist() == [sum(i in places for places in kept) for i in range(weight.shape[1])]


def test_kept_weights_per_input_of_a_convolution_keep_the_kernels_shape():
    weight = np.zeros((4, 2, 3, 3))
    weight[:3, 1, 0, 2] = 1
    counts = kept_per_input(weight)
    assert counts.shape == (2, 3, 3)
    assert counts[1, 0, 2] == counts.sum() == 3
