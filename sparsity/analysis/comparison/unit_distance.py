"""Structural distances between all pairs of units of two layers, as matrices.

Each takes float64 arrays `[units_a, n]` and `[units_b, n]`, and returns `[units_a, units_b]`, in [0, 1], with 0 for two
units without weights.
"""

from functools import partial
from typing import cast

import numpy as np
from scipy.spatial.distance import cdist

from sparsity.graph.weights import Array, FloatArray


def nnstd(a: FloatArray, b: FloatArray) -> FloatArray:
    """`1 - |A n B| / |A u B|` of the supports (Liu et al. 2020, "Topological Insights into Sparse Neural Networks")."""
    shared = _products(a != 0, b != 0)
    return _one_minus_share(shared, _union(a, b, shared))


def sasd(a: FloatArray, b: FloatArray) -> FloatArray:
    """`1 - |positions of equal sign| / |A u B|` (Holler 2022)."""
    shared = _products(a != 0, b != 0)
    # Signs multiply to +1 where equal and to -1 where opposite, and both counts add up to the shared support.
    agreeing = (shared + _products(np.sign(a), np.sign(b))) / 2
    return _one_minus_share(agreeing, _union(a, b, shared))


def maed(a: FloatArray, b: FloatArray) -> FloatArray:
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
