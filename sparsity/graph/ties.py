"""What a forward pass ties together: which places of which parameters must move as one, and which may not mix.

Every rule looks at labels (`labels`), never at numbers. What two factors say of the same element is one and the same
unit: a tie. Where an operation treats units differently by where they are, such as heads of attention or groups of a
convolution, units of different places may not be exchanged: a bound. An operation of which nothing is known binds all
that it reads to its place, which costs freedom and is never wrong.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.labels import ANY, FIXED, Factor, Labelled, compact, coordinates
from sparsity.graph.meanings import MEANINGS, Meaning, Role, addend, roles
from sparsity.graph.nodes import arguments, named_arguments, packet_name, shape
from sparsity.graph.trace import Trace


class Ties:
    """The ties and bounds of a network's forward pass.

    Args:
        trace: A network's graph.
    """

    def __init__(self, trace: Trace) -> None:
        self.edges: list[Tensor] = []
        """`[2, n]` each: nodes that are one unit."""
        self.bounds: list[tuple[Tensor, Tensor]] = []
        """Nodes and, for each, the place that it may not leave; places of different entries do not compare."""
        self.places: list[tuple[str, int, int | None, int]] = []
        """Of each run of nodes: name, axis, group of rows or None, first node."""
        self._next = 1
        self._rows: dict[str, int] = {}
        self._of_tensor: dict[tuple[str, int, int | None], Tensor] = {}
        self._trace = trace
        self._roles = roles(trace)
        self._values: dict[fx.Node, Any] = {}
        self._constants: dict[fx.Node, Any] = {}
        for node in trace.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
            elif node.op == "output":
                for output in trace.outputs:
                    self._pin(self._values[output])
            else:
                self._values[node] = self._run(node)

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

    def rows_of(self, name: str, group: int) -> slice:
        """The rows that a group of a grouped convolution's weight is."""
        rows = self._rows[name]
        return slice(group * rows, (group + 1) * rows)

    def _placeholder(self, node: fx.Node) -> Any:
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        size = tuple(value.shape)
        name = self._trace.parameters.get(node) or self._trace.buffers.get(node)
        if name is None or not value.is_floating_point():
            if node in self._trace.constants:
                self._constants[node] = self._trace.constants[node]
                return _of_values(self._trace.constants[node])
            return Labelled(size)
        factors = [Factor((axis,), self.nodes_of(name, length, axis)) for axis, length in enumerate(size) if length > 1]
        return Labelled(size, tuple(factors))

    def _run(self, node: fx.Node) -> Any:
        if self._roles[node] == Role.CONSTANT:
            return self._run_constant(node)
        name = packet_name(node.target)
        kind = MEANINGS.get(name) or MEANINGS.get(getattr(node.target, "__name__", "").strip("_"))
        value = node.meta.get("val")
        rule = getattr(self, f"_{kind.name.lower()}", None) if kind is not None else None
        if rule is None or (not isinstance(value, Tensor) and kind != Meaning.MOVE):
            return self._unknown(node)
        return rule(node, name)

    def _run_constant(self, node: fx.Node) -> Any:
        try:
            given = fx.map_arg((node.args, dict(node.kwargs)), lambda argument: self._constants[argument])
            found = node.target(*given[0], **given[1])  # type: ignore[operator]
        except Exception:  # a constant whose values are not held
            return self._unknown(node)
        self._constants[node] = found
        return _of_values(found) if isinstance(found, Tensor) else found

    # What operations do with places.

    def _unknown(self, node: fx.Node) -> Any:
        for argument in node.all_input_nodes:
            self._pin(self._values.get(argument))
        value = node.meta.get("val")
        if isinstance(value, list | tuple):
            return [Labelled(tuple(v.shape)) if isinstance(v, Tensor) else None for v in value]
        return Labelled(tuple(value.shape)) if isinstance(value, Tensor) else None

    def _identity(self, node: fx.Node, name: str) -> Any:
        given = self._values[node.all_input_nodes[0]]
        return Labelled(tuple(shape(node)), given.factors, given.is_uniform)

    def _function(self, node: fx.Node, name: str) -> Any:
        if name == "glu":
            whole, axis = self._values[node.all_input_nodes[0]], named_arguments(node)["dim"] % len(shape(node))
            halves = [whole.moved(shape(node), lambda t, i=i: t.chunk(2, axis)[i]) for i in (0, 1)]
            return self._joined(node, halves)
        operands = self._operands(node)
        if name == "prelu" and len(operands) > 1:
            operands[1] = _on_axis(operands[1], 1, len(shape(node)))
        return self._joined(node, operands)

    _offset_function = _function

    def _scaling(self, node: fx.Node, name: str) -> Any:
        return self._joined(node, self._operands(node))

    _sum = _quotient = _power = _selection = _scaling

    def _operands(self, node: fx.Node) -> list[Labelled]:
        return [v for v in (self._values[a] for a in node.all_input_nodes) if isinstance(v, Labelled)]

    def _joined(self, node: fx.Node, operands: Sequence[Labelled]) -> Labelled:
        """An operation element by element, with broadcasting."""
        size = tuple(shape(node))
        aligned = [_broadcast(operand, len(size)) for operand in operands]
        free = [factor for _, factor in self._met(aligned, size)]
        return Labelled(size, _without_shadows(free), all(operand.is_uniform for operand in operands))

    def _met(self, operands: Sequence[Labelled], size: Sequence[int]) -> list[tuple[Labelled, Factor]]:
        """Tie the factors of aligned values that are multiplied or added element by element, before anything is summed.

        Where another value varies along an axis of a factor and has none there itself, the factor is bound.

        Returns:
            The factors that are not bound to their places altogether, each with its value.
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
                                self._tie(factor, theirs, size)
                    bare |= {axis for axis in factor.axes if axis not in covered and other.varies(axis)}
                if bare:
                    self._bind(factor, sorted(bare))
                if bare != set(factor.axes):
                    free.append((operand, factor))
        return free

    def _tie(self, one: Factor, other: Factor, size: Sequence[int]) -> None:
        axes = sorted({*one.axes, *other.axes})
        whole = [size[axis] for axis in axes]
        pair = [
            factor.nodes.reshape([size[a] if a in factor.axes else 1 for a in axes]).expand(whole).flatten()
            for factor in (one, other)
        ]
        self.edges.append(torch.stack(pair))

    def _bind(self, factor: Factor, axes: Sequence[int]) -> None:
        self.bounds.append((factor.nodes.flatten(), coordinates(factor, axes).flatten()))

    def _pin(self, value: Any) -> None:
        if isinstance(value, list | tuple):
            for one in value:
                self._pin(one)
        elif isinstance(value, Labelled):
            for factor in value.factors:
                self._bind(factor, factor.axes)

    def _reduction(self, node: fx.Node, name: str) -> Any:
        given = self._values[node.all_input_nodes[0]]
        size = tuple(shape(node))
        if "pool" in name or "upsample" in name:
            return self._along_positions(node, given, size)
        named = named_arguments(node)
        axes = named.get("dim", range(len(given.shape)))
        axes = [axes] if isinstance(axes, int) else range(len(given.shape)) if axes in (None, []) else axes
        gone = {axis % max(len(given.shape), 1) for axis in axes}
        keeps = len(size) == len(given.shape)
        if name in ("cumsum", "var_mean") or len(node.all_input_nodes) > 1:
            return self._unknown(node)
        factors = []
        for factor in given.factors:
            if set(factor.axes) & gone:  # a sum over units, whatever their order, of those in one place
                rest = [axis for axis in factor.axes if axis not in gone]
                if rest:
                    self._bind(factor, rest)
            else:
                axes_now = tuple(a if keeps else a - sum(g < a for g in gone) for a in factor.axes)
                factors.append(Factor(axes_now, factor.nodes))
        return Labelled(size, tuple(factors), given.is_uniform)

    def _along_positions(self, node: fx.Node, given: Labelled, size: tuple[int, ...]) -> Labelled:
        """Windows over the last axes: units that lie on others stay where they are."""
        factors = []
        for factor in given.factors:
            if all(given.shape[axis] == size[axis] and axis < len(size) - _window_axes(node) for axis in factor.axes):
                factors.append(factor)
            else:
                self._bind(factor, factor.axes)
        return Labelled(size, tuple(factors), given.is_uniform)

    def _window_maximum(self, node: fx.Node, name: str) -> Any:
        return self._along_positions(node, self._values[node.all_input_nodes[0]], tuple(shape(node)))

    def _softmax(self, node: fx.Node, name: str) -> Any:
        given = self._values[node.all_input_nodes[0]]
        axis = arguments(node)[1] % len(given.shape)
        self._mixed(given, {axis})
        return Labelled(tuple(shape(node)), given.factors, given.is_uniform)

    def _mixed(self, given: Labelled, axes: set[int]) -> None:
        """A symmetric operation over some axes: units may be exchanged among those that it takes together."""
        for factor in given.factors:
            rest = [axis for axis in factor.axes if axis not in axes]
            if set(factor.axes) & axes and rest:
                self._bind(factor, rest)

    def _normalisation(self, node: fx.Node, name: str) -> Any:
        named = named_arguments(node)
        given = self._values[node.all_input_nodes[0]]
        rank = len(given.shape)
        others = [self._values[a] for a in node.all_input_nodes[1:] if isinstance(self._values[a], Labelled)]
        if name in ("batch_norm", "instance_norm", "group_norm", "native_group_norm"):
            others = [_on_axis(other, 1, rank) for other in others]
            if name.endswith("group_norm"):
                self._group(given, named["num_groups"] if "num_groups" in named else named["group"])
        else:
            self._mixed(given, set(range(rank - len(named["normalized_shape"]), rank)))
        whole = self._joined(node, [given, *others]) if isinstance(node.meta.get("val"), Tensor) else None
        return self._unknown(node) if whole is None else whole

    def _group(self, given: Labelled, groups: int) -> None:
        for factor in given.factors:
            if 1 in factor.axes:
                place = factor.axes.index(1)
                size = factor.nodes.shape[place]
                group = torch.arange(size) // max(size // groups, 1)
                key = group.view([-1 if p == place else 1 for p in range(factor.nodes.ndim)])
                self.bounds.append((factor.nodes.flatten(), key.expand(factor.nodes.shape).flatten()))

    def _look_up(self, node: fx.Node, name: str) -> Any:
        table = self._values[arguments(node)[0]]
        rank = len(shape(node))
        factors = []
        for factor in table.factors:
            if factor.axes == (1,):
                factors.append(Factor((rank - 1,), factor.nodes))
            else:
                self._bind(factor, factor.axes)
        return Labelled(tuple(shape(node)), tuple(factors))

    # Products.

    def _product(self, node: fx.Node, name: str) -> Any:
        given = arguments(node)
        if name.startswith("conv"):
            return self._convolution(node, name)
        equation = _EQUATIONS.get(name)
        if name == "bilinear":
            found = self._contracted("...i,oij,...j->...o", [self._values[a] for a in (given[0], given[2], given[1])])
            return self._with_bias(node, found)
        first, second = (given[1], given[2]) if name in ("addmm", "baddbmm") else (given[0], given[1])
        if equation is None or not all(isinstance(a, fx.Node) for a in (first, second)):
            return self._unknown(node)
        operands = [self._values[first], self._values[second]]
        if name == "matmul" and min(len(operand.shape) for operand in operands) < 2:
            return self._unknown(node)
        return self._with_bias(node, self._contracted(equation, operands))

    def _with_bias(self, node: fx.Node, found: Labelled) -> Labelled:
        bias = addend(node)
        if not isinstance(bias, fx.Node):
            return found
        return self._joined(node, [found, self._values[bias]])

    def _contracted(self, equation: str, operands: Sequence[Labelled]) -> Labelled:
        """A product as Einstein writes it; dots stand for the axes that are left, aligned at the right."""
        inputs, result = equation.split("->")
        letters = _spelled(inputs.split(","), [len(operand.shape) for operand in operands])
        free = sorted({letter for word in letters for letter in word if letter.isupper()})
        result = "".join(free) + result.replace("...", "")
        sizes: dict[str, int] = {}
        for word, operand in zip(letters, operands, strict=True):
            for letter, length in zip(word, operand.shape, strict=True):
                sizes[letter] = max(sizes.get(letter, 1), length)
        every = sorted(sizes)
        whole = [sizes[letter] for letter in every]
        spread = [_lettered(operand, word, every) for operand, word in zip(operands, letters, strict=True)]
        summed = {every.index(letter) for letter in every if letter not in result}
        kept: list[Factor] = []
        for _, factor in self._met(spread, whole):
            if not set(factor.axes) & summed:
                kept.append(factor)
            elif rest := [axis for axis in factor.axes if axis not in summed]:
                self._bind(factor, rest)
        order = [every.index(letter) for letter in result]
        size = tuple(whole[place] for place in order)
        return Labelled(size, tuple(_reordered(factor, order) for factor in _without_shadows(kept)))

    def _convolution(self, node: fx.Node, name: str) -> Any:
        named = named_arguments(node)
        given, weight = self._values[arguments(node)[0]], arguments(node)[1]
        transposed = name.startswith("conv_transpose") or bool(named.get("transposed", False))
        groups = int(named.get("groups", 1))
        size = tuple(shape(node))
        if not isinstance(weight, fx.Node) or len(given.shape) != len(size):
            return self._unknown(node)
        kernel = self._values[weight]
        for factor in kernel.factors:
            if factor.axes[0] > 1:
                self._bind(factor, factor.axes)
        channels, units = (0, 1) if transposed else (1, 0)
        by_axis = {factor.axes[0]: factor for factor in kernel.factors if len(factor.axes) == 1}
        reads = Labelled(given.shape, tuple(f for f in given.factors if f.axes == (1,)))
        for factor in given.factors:
            if factor.axes != (1,):
                self._bind(factor, factor.axes)
        if groups == 1:
            self._columns(by_axis.get(channels), reads, size)
            made = by_axis.get(units)
            out = Labelled(size, (Factor((1,), made.nodes),) if made is not None else ())
        else:
            out = self._grouped(weight, reads, by_axis, groups, size, transposed)
        bias = addend(node)
        if isinstance(bias, fx.Node):
            out = self._joined(node, [out, _on_axis(self._values[bias], 1, len(size))])
        return out

    def _columns(self, column: Factor | None, reads: Labelled, size: Sequence[int]) -> None:
        if column is None:
            return
        if reads.factors:
            self.edges.append(torch.stack([column.nodes, reads.factors[0].nodes]))
        else:
            self._bind(column, column.axes)

    def _grouped(
        self, weight: fx.Node, reads: Labelled, by_axis: dict[int, Factor], groups: int, size: tuple[int, ...],
        transposed: bool,
    ) -> Labelled:  # fmt: skip
        """Each group of units reads a group of channels; one that reads a single channel moves with it."""
        name = self._trace.parameters.get(weight)
        channels = reads.shape[1]
        each, made = channels // groups, size[1] // groups
        incoming = reads.factors[0].nodes if reads.factors else torch.full((channels,), FIXED)
        if name is None:
            for factor in (*by_axis.values(), *reads.factors):
                self._bind(factor, factor.axes)
            return Labelled(size)
        for factor in by_axis.values():
            if factor.axes == (1,):  # places of columns mean something within a group of rows only
                self._bind(factor, factor.axes)
        self._rows[name] = (channels if transposed else size[1]) // groups
        group_of_channel = torch.arange(channels) // each
        group_of_unit = torch.arange(size[1]) // made
        if reads.factors and each > 1:
            self.bounds.append((incoming, group_of_channel))
        if transposed:
            rows = self.nodes_of(name, channels, 0)
            self.edges.append(torch.stack([rows, incoming]))
            units = rows if each == 1 else torch.full((size[1],), FIXED)
            if made > 1:
                units = torch.cat([self.nodes_of(name, made, 1, group) for group in range(groups)])
        else:
            units = self.nodes_of(name, size[1], 0)
            if each > 1:
                columns = torch.cat([self.nodes_of(name, each, 1, group) for group in range(groups)])
                self.edges.append(torch.stack([columns, incoming]))
                if not reads.factors:
                    self.bounds.append((columns, torch.arange(channels)))
        if each == 1:  # a channel and what is made of it move together
            self.edges.append(torch.stack([units, incoming.repeat_interleave(size[1] // channels)]))
        else:
            self.bounds.append((units, group_of_unit))
        return Labelled(size, (Factor((1,), units),))

    # Moves.

    def _move(self, node: fx.Node, name: str) -> Any:
        value: Any = node.meta.get("val")
        if name in ("cat", "concat", "stack"):
            return self._concatenated(node)
        if any(self._roles.get(a) in (Role.ACTIVATION, Role.LABEL) for a in node.all_input_nodes[1:]):
            return self._unknown(node)
        source = next((a for a in node.all_input_nodes if isinstance(self._values.get(a), Labelled | list)), None)
        if source is None or node.all_input_nodes[0] is not source:
            return self._unknown(node)
        given = self._values[source]
        if isinstance(given, list):  # one of several
            index = arguments(node)[1]
            return given[index]
        if name in ("constant_pad_nd", "pad"):
            return self._padded(node, given)

        def run(labels: Tensor) -> Any:
            replaced = fx.map_arg(
                (node.args, dict(node.kwargs)), lambda a: labels if a is source else self._constants[a]
            )
            return node.target(*replaced[0], **replaced[1])  # type: ignore[operator]

        try:
            if isinstance(value, list | tuple):
                return [
                    given.moved(v.shape, lambda labels, i=i: run(labels)[i]) if isinstance(v, Tensor) else None
                    for i, v in enumerate(value)
                ]
            return given.moved(value.shape, run)
        except (RuntimeError, NotImplementedError, KeyError, TypeError):  # not for whole numbers, or unheld constants
            if "upsample" in name:
                return self._along_positions(node, given, tuple(value.shape))
            return self._unknown(node)

    def _padded(self, node: fx.Node, given: Labelled) -> Labelled:
        named = named_arguments(node)
        if named.get("mode", "constant") != "constant":
            return self._along_positions(node, given, tuple(shape(node)))
        pad = list(named["pad"])
        return Labelled(
            tuple(shape(node)),
            tuple(
                compact(torch.constant_pad_nd(factor.spread(given.shape), pad, ANY)) if _touches(pad, factor, given)
                else factor
                for factor in given.factors
            ),
        )  # fmt: skip

    def _concatenated(self, node: fx.Node) -> Any:
        size = tuple(shape(node))
        parts = [self._values[a] for a in arguments(node)[0]]
        axis: int = named_arguments(node)["dim"] % len(size)
        if packet_name(node.target) == "stack":
            parts = [
                part.moved((*part.shape[:axis], 1, *part.shape[axis:]), lambda t: t.unsqueeze(axis)) for part in parts
            ]
        parts = [part for part in parts if math.prod(part.shape) or len(part.shape) == len(size)]
        levels = max((len(part.factors) for part in parts), default=0)
        if levels > 1:
            return self._unknown(node)
        if not levels:
            return Labelled(size)
        filled = []
        for part in parts:
            if part.factors:
                filled.append(part.factors[0].spread(part.shape))
            else:
                filled.append(torch.full((1,), ANY if part.is_uniform else FIXED).expand(part.shape))
        along = {axis_ for part in parts for factor in part.factors for axis_ in factor.axes}
        if axis not in along:  # positions are joined: the same units in all parts
            whole = [part for part in parts if part.factors]
            for part in whole[1:]:
                self._tie_parts(whole[0], part)
            for part in parts:
                if not part.factors and not part.is_uniform:
                    for other in whole:
                        bare = [a for a in other.factors[0].axes if part.varies(a)]
                        if bare:
                            self._bind(other.factors[0], bare)
            return Labelled(size, whole[0].factors)
        return Labelled(size, (compact(torch.cat(filled, axis)),))

    def _tie_parts(self, one: Labelled, other: Labelled) -> None:
        a, b = one.factors[0], other.factors[0]
        size = [max(x, y) for x, y in zip(one.shape, other.shape, strict=True)]
        if all(one.shape[axis] == other.shape[axis] for axis in {*a.axes, *b.axes}):
            self._tie(a, b, size)
        else:
            self._bind(a, a.axes)
            self._bind(b, b.axes)


_EQUATIONS = {
    "linear": "...i,oi->...o",
    "mm": "ai,ib->ab",
    "addmm": "ai,ib->ab",
    "bmm": "nai,nib->nab",
    "baddbmm": "nai,nib->nab",
    "matmul": "...ai,...ib->...ab",
    "mv": "ai,i->a",
    "dot": "i,i->",
}


def _of_values(value: Tensor) -> Labelled:
    """A constant."""
    flat = value.flatten()
    return Labelled(tuple(value.shape), is_uniform=bool(len(flat) == 0 or (flat == flat[0]).all()))


def _spelled(words: Sequence[str], ranks: Sequence[int]) -> list[str]:
    """Write capital letters for the dots, the last ones for the axes next to the others."""
    longest = max(rank - len(word.replace("...", "")) for word, rank in zip(words, ranks, strict=True))
    capitals = [chr(ord("A") + place) for place in range(max(longest, 0))]
    spelled = []
    for word, rank in zip(words, ranks, strict=True):
        dots = rank - len(word.replace("...", ""))
        spelled.append(word.replace("...", "".join(capitals[len(capitals) - dots :]) if dots else ""))
    return spelled


def _lettered(operand: Labelled, word: str, every: Sequence[str]) -> Labelled:
    """A value on the axes of a whole product."""
    size = tuple(operand.shape[word.index(letter)] if letter in word else 1 for letter in every)
    factors = []
    for factor in operand.factors:
        axes = [every.index(word[axis]) for axis in factor.axes]
        order = sorted(range(len(axes)), key=axes.__getitem__)
        factors.append(Factor(tuple(axes[i] for i in order), factor.nodes.permute(order)))
    return Labelled(size, tuple(factors), operand.is_uniform)


def _without_shadows(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Of tied factors, those that say the most."""
    kept: list[Factor] = []
    for factor in sorted(factors, key=lambda one: -len(one.axes)):
        if not any(set(factor.axes) <= set(known.axes) for known in kept):
            kept.append(factor)
    return tuple(kept)


def _reordered(factor: Factor, order: Sequence[int]) -> Factor:
    axes = [order.index(axis) for axis in factor.axes]
    by_place = sorted(range(len(axes)), key=axes.__getitem__)
    return Factor(tuple(axes[i] for i in by_place), factor.nodes.permute(by_place))


def _broadcast(operand: Labelled, rank: int) -> Labelled:
    """A value with axes of length 1 in front, as broadcasting has it."""
    more = rank - len(operand.shape)
    factors = tuple(Factor(tuple(axis + more for axis in factor.axes), factor.nodes) for factor in operand.factors)
    return Labelled((1,) * more + operand.shape, factors, operand.is_uniform)


def _on_axis(vector: Labelled, axis: int, rank: int) -> Labelled:
    """A vector along one axis of a larger value."""
    size = tuple(vector.shape[0] if place == axis else 1 for place in range(rank))
    return Labelled(size, tuple(Factor((axis,), factor.nodes) for factor in vector.factors), vector.is_uniform)


def _window_axes(node: fx.Node) -> int:
    name = packet_name(node.target)
    return next((n for n in (1, 2, 3) if f"{n}d" in name), 1)


def _touches(pad: Sequence[int], factor: Factor, given: Labelled) -> bool:
    padded = {len(given.shape) - 1 - place // 2 for place, amount in enumerate(pad) if amount}
    return bool(padded & set(factor.axes))
