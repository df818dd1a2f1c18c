from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsity.analysis import common_kernels, kernel_clusters
from sparsity.errors import SparsityError


@st.composite
def convolutions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([(1, 1), (3, 3), (2, 4), (5, 5)]))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *size)
    return rng.normal(size=shape) * (rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])))


def naive_components(kernel, neighbours):
    """Sizes of components, by flooding from every kept weight."""
    left = {tuple(place) for place in np.argwhere(kernel).tolist()}
    sizes = []
    while left:
        reached, front = set(), [left.pop()]
        while front:
            row, column = front.pop()
            reached.add((row, column))
            for place in list(left):
                apart = sorted((abs(place[0] - row), abs(place[1] - column)))
                if apart == [0, 1] or (neighbours == 8 and apart == [1, 1]):
                    left.remove(place)
                    front.append(place)
        sizes.append(len(reached))
    return sizes


def naive_score(sizes, cluster_size):
    if not sizes or max(sizes) == 1:
        return 0.0
    return 1.0 if len(sizes) == 1 else sum(size > cluster_size for size in sizes) / len(sizes)


@pytest.mark.parametrize("neighbours", [4, 8])
@given(weight=convolutions(), cluster_size=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_components_and_scores_agree_with_flooding_every_kernel(neighbours, weight, cluster_size):
    found = kernel_clusters(weight, neighbours, cluster_size)
    sizes = [[naive_components(kernel, neighbours) for kernel in unit] for unit in weight]
    assert found.components.tolist() == [[len(kernel) for kernel in unit] for unit in sizes]
    scores = [[naive_score(kernel, cluster_size) for kernel in unit] for unit in sizes]
    np.testing.assert_allclose(found.kernel_score, scores)
    np.testing.assert_allclose(found.score, np.mean(scores, axis=1))
    assert sorted(found.size) == sorted(size for unit in sizes for kernel in unit for size in kernel)
    assert found.mean_score == pytest.approx(np.mean(scores))


@given(st.lists(convolutions(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_common_kernels_agree_with_a_counter(weights):
    size = weights[0].shape[2:]
    expected = Counter(
        tuple((kernel != 0).astype(int).ravel())
        for w in weights
        if w.shape[2:] == size
        for unit in w
        for kernel in unit
    )
    found = common_kernels(weights, size, top=1000)
    ours = {tuple(p.ravel()): n for p, n in zip(found.patterns, found.counts, strict=True)}
    assert ours == expected
    assert found.total == expected.total()
    assert (np.diff(found.counts) <= 0).all()
    assert len(common_kernels(weights, size, top=1).counts) == 1


def test_equal_counts_stand_in_lexical_order():
    weight = np.zeros((2, 2, 1, 2))
    weight[0, 0, 0, 1] = weight[0, 1, 0, 0] = weight[1, 0] = 1
    assert common_kernels([weight], (1, 2)).patterns.reshape(4, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_mistakes_are_named():
    with pytest.raises(SparsityError, match="only convolutions have kernels"):
        kernel_clusters(np.ones((2, 3)))
    with pytest.raises(SparsityError, match="4 or 8 neighbours"):
        kernel_clusters(np.ones((2, 3, 3, 3)), neighbours=6)
    with pytest.raises(SparsityError, match="no layer has kernels of 3 x 3"):
        common_kernels([np.ones((2, 3))])
