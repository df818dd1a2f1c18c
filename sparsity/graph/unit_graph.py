"""One graph of all units of a network: which unit reads which, residual streams and all."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse
from torch import Tensor

from sparsity.graph.tie_rules import ties_of
from sparsity.graph.trace import Trace
from sparsity.graph.units import classes_of

_Vertices = npt.NDArray[np.intp]


def unit_graph(trace: Trace, weights: Mapping[str, Tensor]) -> scipy.sparse.csr_array:
    """The adjacency matrix of a network's units.

    A vertex is a unit as `sparsity.graph.units` has it: what the network ties together, such as the channels of a
    residual stream, is one vertex, whoever writes into it. Inputs and outputs of the network, and units whose place is
    given from outside, are vertices by themselves at every weight that reads or makes them. An edge is a kept weight,
    or a kernel with one, of a masked parameter between what it reads and what it makes.

    Args:
        trace: A network's graph.
        weights: By full name the masked parameters as they are stored, `[out, in, ...]` or `[in, out, ...]`, pruned
            weights 0.

    Returns:
        `[vertices, vertices]`, symmetric with zero diagonal; an edge is as heavy as its weights' magnitudes together.
    """
    ties = ties_of(trace)
    classes = classes_of(ties) if ties.count else np.zeros(1, dtype=np.intp)
    count = int(classes.max()) + 1
    runs = {(name, axis, group): first for name, axis, group, first in ties.places}
    rows, columns, values = [], [], []
    for name, weight in weights.items():
        magnitudes = (
            weight.detach().cpu().double().abs().flatten(2).sum(2) if weight.ndim > 2 else weight.abs().double()
        )
        matrix = magnitudes.detach().cpu().numpy()
        height = ties.rows.get(name, len(matrix)) or len(matrix)
        for group, start in enumerate(range(0, len(matrix), height)):
            part = matrix[start : start + height]
            which = group if name in ties.rows else None
            ends = []
            for axis, size, offset in ((0, len(part), start), (1, part.shape[1], 0)):
                first = runs.get((name, axis, which if axis else None))
                found, count = _vertices(classes, first, offset, size, count)
                ends.append(found)
            i, j = np.nonzero(part)
            rows.append(ends[0][i])
            columns.append(ends[1][j])
            values.append(part[i, j])
    one, other, weight_of = (np.concatenate(parts) if parts else np.zeros(0) for parts in (rows, columns, values))
    apart = one != other  # a unit that reads itself, as in a recurrent layer, makes no edge
    half = scipy.sparse.csr_array(
        (weight_of[apart], (one[apart].astype(np.int32), other[apart].astype(np.int32))), shape=(count, count)
    )
    whole = scipy.sparse.csr_array(half + half.T)
    whole.sum_duplicates()
    return whole


def _vertices(classes: _Vertices, first: int | None, offset: int, size: int, count: int) -> tuple[_Vertices, int]:
    """The vertices of the places along an axis, and how many there are now."""
    own = count + np.arange(size)
    if first is None:
        return own, count + size
    found = classes[first + offset + np.arange(size)]
    given_from_outside = found == classes[0]
    return np.where(given_from_outside, own, found), count + size
