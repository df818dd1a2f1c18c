"""Which units some output depends on: all others can be taken out of a network, and it computes what it did.

Units are those of `ties`: what is one unit wherever it shows. A unit is needed if it is an output, or if a needed unit
reads it: through a weight that is not zero, or in an operation that takes several units together. One that an operation
treats by its place, such as a dimension of an attention head, has to stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor, fx

from sparsity.graph.bounds import numbers
from sparsity.graph.labels import Labelled
from sparsity.graph.meanings import Meaning, known_meaning
from sparsity.graph.nodes import arguments, named_arguments, packet_name, shape
from sparsity.graph.tie_rules import ties_of
from sparsity.graph.ties import Ties
from sparsity.graph.trace import Trace
from sparsity.graph.units import classes_of

Unit = tuple[tuple[str, int, int], ...]
"""All places of one unit: name of a parameter or buffer, axis, and position along it."""


@dataclass(frozen=True)
class Unneeded:
    """The units that no output depends on.

    Args:
        free: Those that can be taken out.
        bound: Those that have to stay, since an operation treats them by their place.
    """

    free: tuple[Unit, ...]
    bound: tuple[Unit, ...]


def unneeded(trace: Trace, state: Mapping[str, Tensor]) -> Unneeded:
    """The units of a traced network that no output depends on, in the order in which the network makes them.

    Args:
        trace: A network's graph.
        state: Parameters and buffers by full name.
    """
    ties = ties_of(trace)
    if not ties.count:
        return Unneeded((), ())
    unit_of = torch.from_numpy(classes_of(ties))
    is_needed, is_bound = np.zeros(int(unit_of.max()) + 1, dtype=bool), _bound(ties, unit_of)
    is_needed[_Reads(ties, unit_of, numbers(trace, state)).needed()] = True
    is_needed[unit_of[0]] = True  # what is given from outside
    return Unneeded(_places(ties, unit_of, ~is_needed & ~is_bound), _places(ties, unit_of, ~is_needed & is_bound))


def removable(trace: Trace) -> tuple[Unit, ...]:
    """The units that can be taken out of a traced network, once no output depends on them, in its order.

    Not among them are inputs and outputs of the network, what an operation treats by its place, and what one takes
    together with others, as a LayerNorm does.

    Args:
        trace: A network's graph.
    """
    ties = ties_of(trace)
    if not ties.count:
        return ()
    unit_of = torch.from_numpy(classes_of(ties))
    stays = _bound(ties, unit_of)
    stays[unit_of[0]] = True
    stays[_Reads(ties, unit_of, {}).taken_together()] = True
    return _places(ties, unit_of, ~stays)


def _bound(ties: Ties, unit_of: Tensor) -> npt.NDArray[np.bool_]:
    found = np.zeros(int(unit_of.max()) + 1, dtype=bool)
    for nodes, _ in ties.bounds:
        found[unit_of[nodes[nodes > 0]]] = True
    return found


def _places(ties: Ties, unit_of: Tensor, chosen: npt.NDArray[np.bool_]) -> tuple[Unit, ...]:
    """By unit its places; of units whose places mean something within groups of a convolution only, none."""
    places: dict[int, list[tuple[str, int, int]]] = {}
    for position, (name, axis, group, first) in enumerate(ties.places):
        last = ties.places[position + 1][3] if position + 1 < len(ties.places) else ties.count + 1
        for place, unit in enumerate(unit_of[first:last].tolist()):
            if chosen[unit] and group is None:
                places.setdefault(unit, []).append((name, axis, place))
    return tuple(tuple(found) for found in places.values())


class _Reads:
    """Which unit of which value reads which: the same unit may be needed early in a residual stream, and not late.

    Each value has a vertex of its own and one for each unit that shows in it.
    """

    def __init__(self, ties: Ties, unit_of: Tensor, values: Mapping[fx.Node, Any]) -> None:
        self.ties = ties
        self.unit_of = unit_of
        self.values = values
        self.edges: list[Tensor] = []
        self.units: dict[fx.Node, Tensor] = {}
        self.first: dict[fx.Node, int] = {}
        self.count = 0
        for node in ties.trace.graph.nodes:
            if node.op == "output":
                continue
            self.units[node], self.first[node] = self._shown(ties.values.get(node)), self.count
            self.count += 1 + len(self.units[node])
        for node in ties.trace.graph.nodes:
            if node.op == "call_function":
                self._add(node)

    def needed(self) -> Tensor:
        """The units that some output depends on, at some value."""
        ends = torch.cat([self._all(output) for output in self.ties.trace.outputs])
        start = torch.stack([torch.full_like(ends, self.count), ends])
        own = [torch.stack([self._all(n), torch.full_like(self._all(n), f)]) for n, f in self.first.items()]
        readers, read = torch.unique(torch.cat([start, *own, *self.edges], dim=1), dim=1).numpy().astype(np.int32)
        graph = csr_array((np.ones(len(readers)), (readers, read)), shape=(self.count + 1, self.count + 1))
        reached = np.zeros(self.count + 1, dtype=bool)
        reached[breadth_first_order(graph, self.count, return_predecessors=False)] = True
        found = [units[torch.from_numpy(reached[self.first[n] + 1 :][: len(units)])] for n, units in self.units.items()]
        return _unique(torch.cat(found))

    def taken_together(self) -> Tensor:
        """The units that some operation does not treat each for itself."""
        nodes = [node for node in self.ties.trace.graph.nodes if node.op == "call_function"]
        return _unique(torch.cat([self.unit_of[:0], *(u for n in nodes for u in self._taken_together(n).values())]))

    def _shown(self, value: Any) -> Tensor:
        """The units that show in a value, in rising order."""
        if isinstance(value, list | tuple):
            return _unique(torch.cat([self.unit_of[:0], *map(self._shown, value)]))
        nodes = [factor.nodes.flatten() for factor in value.factors] if isinstance(value, Labelled) else []
        return _unique(self.unit_of[torch.cat(nodes)]) if nodes else self.unit_of[:0]

    def _all(self, node: fx.Node) -> Tensor:
        """All vertices of a value."""
        return torch.arange(self.first[node], self.first[node] + 1 + len(self.units[node]))

    def _at(self, node: fx.Node, units: Tensor) -> Tensor:
        """The vertices of some units that show in a value."""
        return self.first[node] + 1 + torch.searchsorted(self.units[node], units)

    def _add(self, node: fx.Node) -> None:
        columns = self._layer(node)
        together = self._taken_together(node)
        for argument in node.all_input_nodes:
            units = self.units[argument]
            if argument in columns:
                units = units[~torch.isin(units, columns[argument])]
            passed_on = torch.isin(units, self.units[node])
            passed_on &= ~torch.isin(units, together.get(argument, units[:0]))
            reads, read = self._at(node, units[passed_on]), self._at(argument, units[passed_on])
            self.edges.append(torch.stack([reads, read]))
            # What does not show in the result any more has gone into all of it.
            mixed = torch.cat([self._at(argument, units[~passed_on]), torch.tensor([self.first[argument]])])
            self.edges.append(torch.stack([torch.full_like(mixed, self.first[node]), mixed]))

    def _taken_together(self, node: fx.Node) -> dict[fx.Node, Tensor]:
        """By what is read, the units that show in the result, and that an operation does not treat each for itself."""
        kind, name, axes = known_meaning(node), packet_name(node.target), set[int]()
        if kind == Meaning.SOFTMAX:
            axes = {arguments(node)[1]}
        elif kind == Meaning.REDUCTION and "pool" not in name and "upsample" not in name:
            dims = named_arguments(node).get("dim")
            axes = set(_listed(dims)) or set(range(len(shape(node.all_input_nodes[0]))))
        elif kind == Meaning.NORMALISATION and name != "batch_norm":
            normalised = named_arguments(node).get("normalized_shape")
            rank = len(shape(node))
            axes = {1} if normalised is None else set(range(rank - len(normalised), rank))
        given = self.ties.values.get(node.all_input_nodes[0]) if axes else None
        if not isinstance(given, Labelled):
            return {}
        axes = {axis % max(len(given.shape), 1) for axis in axes}
        nodes = [factor.nodes.flatten() for factor in given.factors if set(factor.axes) & axes]
        return {node.all_input_nodes[0]: _unique(self.unit_of[torch.cat(nodes)])} if nodes else {}

    def _layer(self, node: fx.Node) -> dict[fx.Node, Tensor]:
        """What a layer reads through weights that are not zero; by what it reads, the units that are told thereby."""
        name = packet_name(node.target)
        place = 1 if name == "addmm" else 0
        is_map = name.startswith("conv")
        if name not in ("linear", "addmm", "mm", "matmul") and not is_map:
            return {}
        given, weight = arguments(node)[place : place + 2]
        read, made, numbers_ = self.ties.values.get(given), self.ties.values.get(node), self.values.get(weight)
        if not (isinstance(read, Labelled) and isinstance(made, Labelled) and isinstance(numbers_, Tensor)):
            return {}
        if not is_map and numbers_.ndim != 2:
            return {}
        if is_map:
            rows, columns = _reads_of_convolution(node, numbers_.cpu())
        else:
            pattern = (numbers_ if name == "linear" else numbers_.T) != 0
            rows, columns = pattern.cpu().nonzero(as_tuple=True)
        incoming = _along(read, 1 if is_map else len(read.shape) - 1)
        outgoing = _along(made, 1 if is_map else len(made.shape) - 1)
        if incoming is None:
            return {}
        units = self.unit_of[incoming]
        reads = torch.full_like(rows, self.first[node])
        if outgoing is not None:
            reads = self._at(node, self.unit_of[outgoing])[rows]
        self.edges.append(torch.stack([reads, self._at(given, units)[columns]]))
        return {given: units, weight: units}


def _unique(units: Tensor) -> Tensor:
    found: Tensor = torch.unique(units)
    return found


def _along(value: Labelled, axis: int) -> Tensor | None:
    """The nodes along one axis; None if there are none of its own."""
    return next((factor.nodes for factor in value.factors if factor.axes == (axis,)), None)


def _listed(axes: Any) -> list[int]:
    if axes is None:
        return []
    return [axes] if isinstance(axes, int) else list(axes)


def _reads_of_convolution(node: fx.Node, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Units, and for each a channel that it reads: all such pairs."""
    name, named = packet_name(node.target), named_arguments(node)
    groups = int(named.get("groups", 1))
    rows, columns = (weight != 0).flatten(2).any(2).nonzero(as_tuple=True)
    columns = columns + rows // (len(weight) // groups) * weight.shape[1]  # a group's own are counted from its first
    is_transposed = name.startswith("conv_transpose") or bool(named.get("transposed", False))
    return (columns, rows) if is_transposed else (rows, columns)
