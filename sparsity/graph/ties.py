"""What a forward pass ties together: which places of which parameters must move as one, and which may not mix.

Every rule looks at labels (`labels`), never at numbers. What two factors say of the same element is one and the same
unit: a tie. Where an operation treats units differently by where they are, such as heads of attention or groups of a
convolution, units of different places may not be exchanged: a bound. An operation of which nothing is known binds all
that it reads to its place, which costs freedom and is never wrong.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.labels import Factor, Labelled, coordinates
from sparsity.graph.meanings import roles
from sparsity.graph.nodes import shape
from sparsity.graph.trace import Trace


class Ties:
    """The ties and bounds of a network's forward pass, as far as it has been read.

    Args:
        trace: A network's graph.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.roles = roles(trace)
        self.values: dict[fx.Node, Any] = {}
        """What is known of the value of each node so far."""
        self.constants: dict[fx.Node, Any] = {}
        """The values of what depends on neither inputs nor parameters."""
        self.edges: list[Tensor] = []
        """`[2, n]` each: nodes that are one unit."""
        self.bounds: list[tuple[Tensor, Tensor]] = []
        """Nodes and, for each, the place that it may not leave; places of different entries do not compare."""
        self.places: list[tuple[str, int, int | None, int]] = []
        """Of each run of nodes: name, axis, group of rows or None, first node."""
        self.rows: dict[str, int] = {}
        """Of the weight of a convolution in groups, how many rows a group has."""
        self._next = 1
        self._of_tensor: dict[tuple[str, int, int | None], Tensor] = {}

    @property
    def count(self) -> int:
        """How many nodes there are; they are numbered from 1."""
        return self._next - 1

    def nodes_of(self, name: str, size: int, axis: int, group: int | None = None) -> Tensor:
        """The nodes along an axis of a parameter or buffer."""
        key = (name, axis, group)
        if key not in self._of_tensor:
            self._of_tensor[key] = torch.arange(self._next, self._next + size)
            self.places.append((name, axis, group, self._next))
            self._next += size
        return self._of_tensor[key]

    def holds(self, nodes: Sequence[fx.Node]) -> bool:
        """Whether the values of all these are known: constants, but those that floating-point buffers enter."""
        return all(node in self.constants for node in nodes)

    def rows_of(self, name: str, group: int) -> slice:
        """The rows that a group of a grouped convolution's weight is."""
        rows = self.rows[name]
        return slice(group * rows, (group + 1) * rows)

    def joined(self, node: fx.Node, operands: Sequence[Labelled]) -> Labelled:
        """An operation element by element, with broadcasting."""
        size = tuple(shape(node))
        aligned = [_broadcast(operand, len(size)) for operand in operands]
        return Labelled(size, without_shadows(self.met(aligned, size)), all(operand.is_uniform for operand in operands))

    def met(self, operands: Sequence[Labelled], size: Sequence[int]) -> list[Factor]:
        """Tie the factors of aligned values that are multiplied or added element by element, before anything is summed.

        Where another value varies along an axis of a factor and has none there itself, the factor is bound.

        Returns:
            The factors that are not bound to their places altogether.
        """
        free = []
        for number, operand in enumerate(operands):
            for factor in operand.factors:
                bare: set[int] = set()
                for other_number, other in enumerate(operands):
                    if other_number == number or not any(other.shape[axis] > 1 for axis in factor.axes):
                        continue
                    covered: set[int] = set()
                    for theirs in other.factors:
                        if set(theirs.axes) & set(factor.axes):
                            covered |= set(theirs.axes)
                            if other_number > number:
                                self.tie(factor, theirs, size)
                    bare |= {axis for axis in factor.axes if axis not in covered and other.varies(axis)}
                if bare:
                    self.bind(factor, sorted(bare))
                if bare != set(factor.axes):
                    free.append(factor)
        return free

    def tie(self, one: Factor, other: Factor, size: Sequence[int]) -> None:
        """What two factors say of the same elements of a value of that shape is the same unit."""
        axes = sorted({*one.axes, *other.axes})
        whole = [size[axis] for axis in axes]
        pair = [
            factor.nodes.reshape([size[a] if a in factor.axes else 1 for a in axes]).expand(whole).flatten()
            for factor in (one, other)
        ]
        self.edges.append(torch.stack(pair))

    def bind(self, factor: Factor, axes: Sequence[int]) -> None:
        """Units of different places along some axes may not be exchanged."""
        self.bounds.append((factor.nodes.flatten(), coordinates(factor, axes).flatten()))

    def pin(self, value: Any) -> None:
        """All units of a value stay where they are."""
        if isinstance(value, list | tuple):
            for one in value:
                self.pin(one)
        elif isinstance(value, Labelled):
            for factor in value.factors:
                self.bind(factor, factor.axes)

    def unknown(self, node: fx.Node) -> Any:
        """The value of an operation of which nothing is known: all that it reads stays where it is."""
        for argument in node.all_input_nodes:
            self.pin(self.values.get(argument))
        value = node.meta.get("val")
        if isinstance(value, list | tuple):
            return [Labelled(tuple(v.shape)) if isinstance(v, Tensor) else None for v in value]
        return Labelled(tuple(value.shape)) if isinstance(value, Tensor) else None


def without_shadows(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Of tied factors, those that say the most."""
    kept: list[Factor] = []
    for factor in sorted(factors, key=lambda one: -len(one.axes)):
        if not any(set(factor.axes) <= set(known.axes) for known in kept):
            kept.append(factor)
    return tuple(kept)


def _broadcast(operand: Labelled, rank: int) -> Labelled:
    """A value with axes of length 1 in front, as broadcasting has it."""
    more = rank - len(operand.shape)
    factors = tuple(Factor(tuple(axis + more for axis in factor.axes), factor.nodes) for factor in operand.factors)
    return Labelled((1,) * more + operand.shape, factors, operand.is_uniform)
