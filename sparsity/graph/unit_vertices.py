"""Which unit lies at which place of a weight: vertices that all weights of a network share."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparsity.graph.tie_rules import ties_of
from sparsity.graph.trace import Trace
from sparsity.graph.units import classes_of

Vertices = npt.NDArray[np.intp]


class Ends(NamedTuple):
    """The vertices along the first two axes of a weight, as it is stored.

    Args:
        rows: `[n]`, along the first axis.
        columns: `[groups, m]`, along the second, in each group of rows; one group but for grouped convolutions.
    """

    rows: Vertices
    columns: Vertices


def unit_vertices(trace: Trace, shapes: Mapping[str, Sequence[int]]) -> tuple[dict[str, Ends], int]:
    """Number the units that meet in some weights.

    A vertex is a unit as `sparsity.graph.units` has it: what the network ties together, such as the channels of a
    residual stream, is one vertex, whoever writes into it. Inputs and outputs of the network, and units whose place is
    given from outside, are vertices by themselves at every weight that reads or makes them.

    Args:
        trace: A network's graph.
        shapes: By full name of the weights, as they are stored: `[out, in, ...]` or `[in, out, ...]`.

    Returns:
        By name the vertices, and how many vertices there are.
    """
    ties = ties_of(trace)
    classes = classes_of(ties) if ties.count else np.zeros(1, dtype=np.intp)
    count = int(classes.max()) + 1
    runs = {(name, axis, group): first for name, axis, group, first in ties.places}
    found = {}
    for name, (length, width, *_) in shapes.items():
        height = ties.rows.get(name, length) or max(length, 1)
        rows, columns = [], []
        for group, start in enumerate(range(0, max(length, 1), height)):
            which = group if name in ties.rows else None
            part, count = _along(classes, runs.get((name, 0, None)), start, min(height, length), count)
            rows.append(part)
            part, count = _along(classes, runs.get((name, 1, which)), 0, width, count)
            columns.append(part)
        found[name] = Ends(np.concatenate(rows), np.stack(columns))
    return found, count


def _along(classes: Vertices, first: int | None, offset: int, size: int, count: int) -> tuple[Vertices, int]:
    """The vertices of the places along an axis, and how many there are now."""
    own = count + np.arange(size)
    if first is None:
        return own, count + size
    found = classes[first + offset + np.arange(size)]
    given_from_outside = found == classes[0]
    return np.where(given_from_outside, own, found), count + size
