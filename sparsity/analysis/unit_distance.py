"""Structural distances between all pairs of units of two layers, as matrices."""

from collections.abc import Callable
from typing import Literal, cast

import numpy as np
from scipy.spatial.distance import cdist

from sparsity.analysis.weights import Array, FloatArray, unit_vectors
from sparsity.errors import SparsityError

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
    support_a, support_b = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    shared = support_a @ support_b.T
    return _one_minus_share(shared, _union(support_a, support_b, shared))


def _sasd(a: FloatArray, b: FloatArray) -> FloatArray:
    """`1 - |positions of equal sign| / |A u B|` (Holler 2022)."""
    support_a, support_b = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    signs_a, signs_b = np.sign(a), np.sign(b)
    shared = support_a @ support_b.T
    # Signs multiply to +1 where equal and to -1 where opposite, and both counts add up to the shared support.
    agreeing = (shared + signs_a @ signs_b.T) / 2
    return _one_minus_share(agreeing, _union(support_a, support_b, shared))


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


def _union(support_a: FloatArray, support_b: FloatArray, shared: FloatArray) -> FloatArray:
    return cast(FloatArray, support_a.sum(axis=1)[:, None] + support_b.sum(axis=1)[None, :] - shared)


def _one_minus_share(shared: FloatArray, union: FloatArray) -> FloatArray:
    return cast(FloatArray, 1 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0))


_MEASURES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {"nnstd": _nnstd, "sasd": _sasd, "maed": _maed}
