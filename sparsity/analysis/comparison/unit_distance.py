"""Structural distances between all pairs of units of two layers, as matrices."""

from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import numpy as np
from scipy.spatial.distance import cdist

from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, FloatArray, unit_vectors

Measure = Literal["nnstd", "sasd", "maed"]


def unit_distances(a: Array, b: Array, measure: Measure) -> FloatArray:
    """The distance of every unit of one layer to every unit of another.

    Args:
        a: Weights `[units_a, ...]`, a unit being a row or a filter.
        b: Weights `[units_b, ...]`, units as long as those of `a`.
        measure: `nnstd`, Jaccard distance of the supports (Liu et al. 2020); `sasd`, the same where only positions
            of equal sign count as shared (Holler 2022); `maed`, `sum |a - b|` over the largest value that any
            order of the two vectors' weights gives it, `sum |sort_ascending(a) - sort_descending(b)|`.

    Returns:
        `[units_a, units_b]`, in [0, 1]; 0 for two units without weights.

    Raises:
        SparsityError: If the units' lengths differ or the measure is unknown.
    """
    if measure not in _MEASURES:
        raise SparsityError(f"there is no distance called {measure!r}; there are {', '.join(_MEASURES)}")
    rows, columns = unit_vectors(a), unit_vectors(b)
    if rows.shape[1] != columns.shape[1]:
        raise SparsityError(
            f"units of different lengths cannot be compared: {rows.shape[1]} and {columns.shape[1]} weights"
        )
    return _MEASURES[measure](rows, columns)


def vector_distance(a: Array, b: Array, measure: Measure) -> float:
    """The same distance of two arrays of one shape, each taken as a single vector; in [0, 1]."""
    return float(unit_distances(a.reshape(1, a.size), b.reshape(1, b.size), measure)[0, 0])


def _nnstd(a: FloatArray, b: FloatArray) -> FloatArray:
    """`1 - |A n B| / |A u B|` of the supports (Liu et al. 2020, "Topological Insights into Sparse Neural Networks")."""
    shared = _products(a != 0, b != 0)
    return _one_minus_share(shared, _union(a, b, shared))


def _sasd(a: FloatArray, b: FloatArray) -> FloatArray:
    """`1 - |positions of equal sign| / |A u B|` (Holler 2022)."""
    shared = _products(a != 0, b != 0)
    # Signs multiply to +1 where equal and to -1 where opposite, and both counts add up to the shared support.
    agreeing = (shared + _products(np.sign(a), np.sign(b))) / 2
    return _one_minus_share(agreeing, _union(a, b, shared))


def _maed(a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean absolute error over its largest value under reordering (the thesis's measure)."""
    distance = _city_block(a, b)
    worst = _city_block(np.sort(a, axis=1), np.sort(b, axis=1)[:, ::-1])
    ratio = np.divide(distance, worst, out=np.zeros_like(distance), where=worst > 0)
    return np.minimum(ratio, 1.0)  # equal sums, added in another order, may pass 1 by a rounding error


def _city_block(a: FloatArray, b: FloatArray) -> FloatArray:
    # Positions where every unit of both layers is zero add nothing; pruned first layers have many.
    used = a.any(axis=0) | b.any(axis=0)
    return cast(FloatArray, cdist(a[:, used], b[:, used], "cityblock"))


def _products(a: Array, b: Array) -> FloatArray:
    """Inner products of all rows of two arrays of 0, 1 and -1: exact in float32 up to 2^24 summands."""
    exact = np.float32 if a.shape[1] < 2**24 else np.float64
    # On shared cores a small product in BLAS waits for its threads far longer than it works; einsum starts none.
    small = len(a) * len(b) * a.shape[1] < 10**8
    product = partial(np.einsum, "ij,kj->ik") if small else np.inner
    return np.asarray(product(a.astype(exact), b.astype(exact)), dtype=np.float64)


def _union(a: FloatArray, b: FloatArray, shared: FloatArray) -> FloatArray:
    return cast(FloatArray, np.count_nonzero(a, axis=1)[:, None] + np.count_nonzero(b, axis=1)[None, :] - shared)


def _one_minus_share(shared: FloatArray, union: FloatArray) -> FloatArray:
    return cast(FloatArray, 1 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0))


_MEASURES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {"nnstd": _nnstd, "sasd": _sasd, "maed": _maed}
