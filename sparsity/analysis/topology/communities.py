"""The graph of all units as a whole: does it hang together, is it an expander, does it fall into communities?"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from scipy.sparse.csgraph import connected_components
from torch import nn

from sparsity.graph.layers import analysed, parameter_names, without_parametrisations
from sparsity.graph.sample import Given, trace_of
from sparsity.graph.unit_graph import unit_graph
from sparsity.graph.weights import BoolArray, FloatArray, IntArray

_DENSE = 200
"""Up to so many vertices all eigenvalues are computed; that is quicker there."""


@dataclass(frozen=True)
class WholeGraph:
    """The unrolled graph of a network: units as vertices, kept weights or kernels as edges.

    Args:
        components: How many connected components have an edge.
        largest_component: The share of the vertices with an edge that are in the largest; NaN if there is no edge.
        spectral_gap: Between the two largest eigenvalues of the adjacency matrix, at least 0.
        weighted_spectral_gap: The same with magnitudes for edges.
        modularity: Of the communities that are found, see `modularity`.
        communities: How many these are.
    """

    components: int
    largest_component: float
    spectral_gap: float
    weighted_spectral_gap: float
    modularity: float
    communities: int


def whole_graph(network: nn.Module, input_shape: Given = None) -> WholeGraph:
    """Look at a network's graph of units, see `sparsity.graph.unit_graph`.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `effective_masks`.

    Raises:
        SparsityError: If there is no layer, nobody says what the network takes, or it cannot be traced.
    """
    network = without_parametrisations(network)
    names = parameter_names(network)
    weights = {
        names[place.weight]: place.weight.detach().masked_fill(~place.mask, 0) if place.has_mask else place.weight
        for place in analysed(network).values()
    }
    weighted = unit_graph(trace_of(network, input_shape), weights)
    return of_adjacency(weighted)


def of_adjacency(weighted: scipy.sparse.csr_array) -> WholeGraph:
    """As `whole_graph`, of a graph that is there.

    Args:
        weighted: `[vertices, vertices]`, symmetric, not negative, zero diagonal.
    """
    entries = weighted.tocoo()
    linked = np.unique(entries.row[entries.data != 0])
    if not linked.size:
        nan = float("nan")
        return WholeGraph(0, nan, 0.0, 0.0, nan, 0)
    weighted = scipy.sparse.csr_array(weighted[linked][:, linked])
    plain = weighted.copy()
    plain.data = np.ones_like(plain.data)
    count, labels = connected_components(plain, directed=False)
    found = communities(plain)
    return WholeGraph(
        components=int(count),
        largest_component=float(np.bincount(labels).max() / len(linked)),
        spectral_gap=_gap(plain),
        weighted_spectral_gap=_gap(weighted),
        modularity=modularity(plain, found),
        communities=int(found.max()) + 1,
    )


def modularity(adjacency: scipy.sparse.csr_array, labels: IntArray) -> float:
    """How many more edges are within communities than chance would put there, as a share of all edges; below 1.

    Newman 2006, "Modularity and community structure in networks": the sum over communities of `e / m - (d / 2 m)^2`,
    e the edges within, d the sum of degrees, m all edges.

    Args:
        adjacency: `[vertices, vertices]`, symmetric, zero diagonal, with an edge.
        labels: `[vertices]`, each one's community, from 0.
    """
    of_vertex = np.asarray(adjacency.sum(axis=1)).ravel()
    twice = of_vertex.sum()
    entries = adjacency.tocoo()
    within = entries.data[labels[entries.row] == labels[entries.col]].sum()
    return float(within / twice - ((np.bincount(labels, of_vertex) / twice) ** 2).sum())


def communities(adjacency: scipy.sparse.csr_array) -> IntArray:
    """Communities by Newman's leading eigenvectors: components, cut in two by signs as long as modularity rises.

    No community of the highest modularity spans two components, and eigenvectors of several at once are any mixture of
    each one's. Not the best ones, which nobody finds in reasonable time, but the same in every run.

    Args:
        adjacency: As in `modularity`.

    Returns:
        `[vertices]`, from 0.
    """
    degrees: FloatArray = np.asarray(adjacency.sum(axis=1), dtype=np.float64).ravel()
    components, found = connected_components(adjacency, directed=False)
    labels, count = found.astype(np.intp), int(components)
    waiting = list(range(count))
    while waiting:
        community = waiting.pop()
        members = np.flatnonzero(labels == community)
        side = _sides(scipy.sparse.csr_array(adjacency[members][:, members]), degrees[members], float(degrees.sum()))
        if side is None:
            continue
        labels[members[side]] = count
        waiting += [community, count]
        count += 1
    return labels


def _sides(adjacency: scipy.sparse.csr_array, degrees: FloatArray, twice: float) -> BoolArray | None:
    """Which vertices go to the other side of the best cut by signs; None if none raises modularity."""
    size = len(degrees)
    if size < 2:
        return None
    own = np.asarray(adjacency.sum(axis=1)).ravel() - degrees * degrees.sum() / twice

    def product(vector: FloatArray) -> FloatArray:
        vector = np.ravel(vector)
        found: FloatArray = adjacency @ vector - degrees * (degrees @ vector) / twice - own * vector
        return found

    if size <= _DENSE:
        matrix = adjacency.toarray() - np.outer(degrees, degrees) / twice - np.diag(own)
        vector = np.linalg.eigh(matrix)[1][:, -1]
    else:
        operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).normal(size=size)
        try:
            vector = scipy.sparse.linalg.eigsh(operator, k=1, which="LA", v0=start, tol=1e-3)[1][:, 0]
        except scipy.sparse.linalg.ArpackNoConvergence:
            return None
    signs = np.where(vector > 0, 1.0, -1.0)
    rise = signs @ product(signs)
    return signs > 0 if rise > 1e-9 * twice and abs(signs.sum()) < size else None


def _gap(adjacency: scipy.sparse.csr_array) -> float:
    size = adjacency.shape[0]
    if size <= _DENSE:
        values = np.linalg.eigvalsh(adjacency.toarray())[::-1][:2]
    else:
        start = np.random.default_rng(0).random(size)
        values = np.sort(scipy.sparse.linalg.eigsh(adjacency, k=2, which="LA", v0=start, return_eigenvectors=False))[
            ::-1
        ]
    return float(values[0] - values[1])
