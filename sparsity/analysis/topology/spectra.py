"""Is a layer's graph an expander? The singular values of its bipartite graph against Ramanujan's bound."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from sparsity.graph.weights import BoolArray, FloatArray

_DENSE = 400
"""Of matrices with a shorter side up to this all singular values are computed; that is quicker there."""

FEWEST_NEIGHBOURS = 3
"""Mean degree that both sides need for the bound to say something, as Hoang et al. have it."""


@dataclass(frozen=True)
class Spectrum:
    """Of a layer's graph, whose adjacency matrix has the singular values as eigenvalues, with both signs.

    Units without an edge change none of them and are left out of means.

    Args:
        first: The largest singular value.
        second: The second largest; 0 if there is one unit on a side.
        ramanujan: `sqrt(d_l - 1) + sqrt(d_r - 1) - second`, d the mean degrees of both sides: at least 0 of a Ramanujan
            graph. NaN if a mean degree is below 3.
        iterative_ramanujan: The mean of that over the subgraphs of inputs with equal degree and all that read them;
            NaN if none of them has mean degrees of 3.
        weighted_first: The largest singular value with magnitudes for edges.
        weighted_second: The second largest.
    """

    first: float
    second: float
    ramanujan: float
    iterative_ramanujan: float
    weighted_first: float
    weighted_second: float

    @property
    def gap(self) -> float:
        """Between the two largest singular values, at least 0."""
        return self.first - self.second

    @property
    def weighted_gap(self) -> float:
        """The same with magnitudes for edges."""
        return self.weighted_first - self.weighted_second


def spectrum(matrix: FloatArray) -> Spectrum:
    """Compare a layer's graph with the best expanders.

    Hoang et al. 2023, "Revisiting Pruning at Initialization through the Lens of Ramanujan Graph": the bound for
    irregular graphs and its iterative mean difference (IMDB), as in the authors' program; weighted gaps as in their
    "Don't just prune by magnitude! Your mask topology is a secret weapon" of the same year.

    Args:
        matrix: `[units, inputs]`, as of `unit_matrix`.
    """
    edges = matrix != 0
    (first, second), (weighted_first, weighted_second) = _two_largest(edges.astype(np.float64)), _two_largest(matrix)
    return Spectrum(first, second, _ramanujan(edges, second), _iterative(edges), weighted_first, weighted_second)


def _two_largest(matrix: FloatArray) -> tuple[float, float]:
    """The two largest singular values, 0 for those that are not there."""
    matrix = matrix[matrix.any(axis=1)][:, matrix.any(axis=0)]
    shorter = min(matrix.shape)
    if not shorter:
        return 0.0, 0.0
    if shorter <= _DENSE:
        smaller = matrix @ matrix.T if len(matrix) == shorter else matrix.T @ matrix
        squares = np.linalg.eigvalsh(smaller)[::-1][:2]
        values = np.sqrt(np.maximum(squares, 0))
    else:
        start = np.random.default_rng(0).random(shorter)  # the same numbers in every run
        found = scipy.sparse.linalg.svds(scipy.sparse.csr_array(matrix), k=2, v0=start, return_singular_vectors=False)
        values = np.sort(found)[::-1]
    return float(values[0]), float(values[1]) if len(values) > 1 else 0.0


def _ramanujan(edges: BoolArray, second: float) -> float:
    left, right = edges.sum(axis=0), edges.sum(axis=1)
    left, right = left[left > 0], right[right > 0]
    if not left.size or min(left.mean(), right.mean()) < FEWEST_NEIGHBOURS:
        return float("nan")
    return math.sqrt(left.mean() - 1) + math.sqrt(right.mean() - 1) - second


def _iterative(edges: BoolArray) -> float:
    degrees = edges.sum(axis=0)
    margins = []
    for degree in np.unique(degrees[degrees >= FEWEST_NEIGHBOURS]):
        part = edges[:, degrees == degree]
        if part.sum() >= FEWEST_NEIGHBOURS * part.any(axis=1).sum():
            margins.append(_ramanujan(part, _two_largest(part.astype(np.float64))[1]))
    return float(np.mean(margins)) if margins else float("nan")
