"""The units of a network that may change places: groups of them, and where each lies in parameters and buffers.

Put the units of a group in another order, in all their places at once, and the network computes what it did. A
residual stream is one group, whoever writes into it; the units of different heads of attention, or of different groups
of a convolution, are different groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sparsity.graph.labels import ANY
from sparsity.graph.tie_rules import ties_of
from sparsity.graph.ties import Ties
from sparsity.graph.trace import Trace
from sparsity.masks import SUFFIX

_Hash = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Member:
    """Where the units of a group lie in a parameter or buffer.

    Args:
        name: Its full name.
        axis: Along which they lie.
        rows: Of a convolution in groups whose columns mean something else in each: the part of the first axis that
            is meant; None for all of it.
        index: `[units, n]`, each unit's n places along the axis, in rising order.
    """

    name: str
    axis: int
    rows: slice | None
    index: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Units that may change places with each other.

    Args:
        members: All their places.
    """

    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """How many units there are, at least 2."""
        return len(self.members[0].index)


def unit_groups(trace: Trace) -> tuple[Group, ...]:
    """The groups of units of a traced network, in the order in which it makes them.

    Places are given from outside, and belong to no group, where a unit is an input or output of the network, or where
    an operation's treatment of places is not known.

    Args:
        trace: A network's graph.
    """
    ties = ties_of(trace)
    if not ties.count:
        return ()
    classes = classes_of(ties)
    run_of, place_of = _runs(ties)
    signature = _signatures(ties, classes, run_of)
    signature[:, 0] += (np.arange(len(signature)) == classes[0]).astype(np.uint64)  # those that never move
    _, kinds = np.unique(signature, axis=0, return_inverse=True)
    kind_of_node = kinds.reshape(-1)[classes]
    groups = []
    sizes = np.bincount(kinds.reshape(-1))
    nodes_by_kind = np.argsort(kind_of_node, kind="stable")
    bounds = np.searchsorted(kind_of_node[nodes_by_kind], np.arange(len(sizes) + 1))
    first_node = {}
    for kind in np.flatnonzero(sizes > 1):
        nodes = nodes_by_kind[bounds[kind] : bounds[kind + 1]]
        first_node[int(nodes.min())] = nodes
    for _, nodes in sorted(first_node.items()):
        if nodes[0] != 0:
            groups.append(_group(ties, nodes, classes, run_of, place_of))
    return tuple(groups)


def permuted(state: Mapping[str, Tensor], groups: Sequence[Group], permutations: Sequence[Tensor]) -> dict[str, Tensor]:
    """A network's tensors with the units of each group in another order.

    Args:
        state: Parameters and buffers by full name; masks may be among them under their own names.
        groups: As of `unit_groups`.
        permutations: For each group, int64 `[units]`: the unit that comes to each place.

    Returns:
        New tensors where something moved, the same ones elsewhere.
    """
    found = dict(state)
    for group, order in zip(groups, permutations, strict=True):
        for member in group.members:
            for name in (member.name, member.name + SUFFIX):
                if name in found:
                    found[name] = _moved(found[name], member, order)
    return found


def _moved(tensor: Tensor, member: Member, order: Tensor) -> Tensor:
    part = tensor if member.rows is None else tensor[member.rows]
    places = torch.arange(part.shape[member.axis])
    places[member.index.flatten()] = member.index[order].flatten()
    moved = part.index_select(member.axis, places.to(tensor.device))
    if member.rows is None:
        return moved
    whole = tensor.clone()
    whole[member.rows] = moved
    return whole


def classes_of(ties: Ties) -> npt.NDArray[np.intp]:
    """By node the unit that it belongs to; that of node 0 never moves."""
    edges = torch.cat(ties.edges, dim=1) if ties.edges else torch.zeros(2, 0, dtype=torch.int64)
    edges = edges[:, (edges != ANY).all(dim=0)]
    a, b = np.unique(edges.numpy(), axis=1).astype(np.int32)  # older versions of SciPy join nothing by longer ones
    nodes = ties.count + 1
    graph = csr_array((np.ones(len(a)), (a, b)), shape=(nodes, nodes))
    labels: npt.NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return labels


def _runs(ties: Ties) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """By node the run of places that it is in, -1 for node 0, and its place there."""
    starts = np.array([first for *_, first in ties.places])
    nodes = np.arange(ties.count + 1)
    run = np.searchsorted(starts, nodes, side="right") - 1
    return run, nodes - np.where(run >= 0, starts[run], 0)


def _signatures(ties: Ties, classes: npt.NDArray[np.intp], run_of: npt.NDArray[np.intp]) -> _Hash:
    """`[units, 2]`: equal for units that lie in the same runs, as often in each, and are bound to the same places."""
    found = np.zeros((classes.max() + 1, 2), dtype=np.uint64)
    pairs, counts = np.unique(np.stack([classes, run_of]), axis=1, return_counts=True)
    _add(found, pairs[0], pairs[1], counts, kind=0)
    for number, (nodes, places) in enumerate(ties.bounds, start=1):
        known = (nodes > 0).numpy()
        bound = np.unique(np.stack([classes[nodes.numpy()[known]], places.numpy()[known]]), axis=1)
        _add(found, bound[0], bound[1], np.ones(bound.shape[1], dtype=np.intp), kind=number)
    return found


def _add(
    found: _Hash, units: npt.NDArray[np.intp], items: npt.NDArray[np.intp], counts: npt.NDArray[np.intp], kind: int
) -> None:
    for column in range(found.shape[1]):
        mixed = _mixed(np.full(len(items), (kind << 1) + column, dtype=np.uint64))
        for part in (items, counts):
            mixed = _mixed(mixed ^ part.astype(np.uint64))
        np.add.at(found[:, column], units, mixed)


def _mixed(values: _Hash) -> _Hash:
    """splitmix64 (Steele et al. 2014): sums of such numbers differ if what is summed does."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _group(
    ties: Ties, nodes: npt.NDArray[np.intp], classes: npt.NDArray[np.intp], run_of: npt.NDArray[np.intp],
    place_of: npt.NDArray[np.intp],
) -> Group:  # fmt: skip
    units = {unit: number for number, unit in enumerate(dict.fromkeys(classes[np.sort(nodes)].tolist()))}
    members = []
    for run in np.unique(run_of[nodes]):
        inside = np.sort(nodes[run_of[nodes] == run])
        number = np.array([units[unit] for unit in classes[inside].tolist()])
        order = np.argsort(number, kind="stable")  # nodes rise within a unit
        index = torch.from_numpy(place_of[inside][order].reshape(len(units), -1).copy())
        name, axis, group, _ = ties.places[run]
        members.append(Member(name, axis, None if group is None else ties.rows_of(name, group), index))
    return Group(tuple(members))
