"""One graph of all units of a network: which unit reads which, residual streams and all."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse
from torch import Tensor

from sparsity.graph.trace import Trace
from sparsity.graph.unit_vertices import unit_vertices


def unit_graph(trace: Trace, weights: Mapping[str, Tensor]) -> scipy.sparse.csr_array:
    """The adjacency matrix of a network's units.

    A vertex is a unit as `sparsity.graph.unit_vertices` has it. An edge is a kept weight, or a kernel with one, of a
    masked parameter between what it reads and what it makes.

    Args:
        trace: A network's graph.
        weights: By full name the masked parameters as they are stored, `[out, in, ...]` or `[in, out, ...]`, pruned
            weights 0.

    Returns:
        `[vertices, vertices]`, symmetric with zero diagonal; an edge is as heavy as its weights' magnitudes together.
    """
    ends, count = unit_vertices(trace, {name: tuple(weight.shape) for name, weight in weights.items()})
    rows, columns, values = [], [], []
    for name, weight in weights.items():
        magnitudes = weight.detach().cpu().double().abs()
        matrix = (magnitudes.flatten(2).sum(2) if weight.ndim > 2 else magnitudes).numpy()
        i, j = np.nonzero(matrix)
        height = max(len(matrix) // len(ends[name].columns), 1)
        rows.append(ends[name].rows[i])
        columns.append(ends[name].columns[i // height, j])
        values.append(matrix[i, j])
    one, other, weight_of = (np.concatenate(parts) if parts else np.zeros(0) for parts in (rows, columns, values))
    apart = one != other  # a unit that reads itself, as in a recurrent layer, makes no edge
    half = scipy.sparse.csr_array(
        (weight_of[apart], (one[apart].astype(np.int32), other[apart].astype(np.int32))), shape=(count, count)
    )
    whole = scipy.sparse.csr_array(half + half.T)
    whole.sum_duplicates()
    return whole
