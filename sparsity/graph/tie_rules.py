"""How each kind of operation ties units together or binds them to their places."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.labels import Factor, Labelled, on_axis
from sparsity.graph.meanings import Meaning, Role, known_meaning
from sparsity.graph.nodes import arguments, named_arguments, packet_name, shape
from sparsity.graph.tie_moves import along_positions, moved
from sparsity.graph.tie_products import product
from sparsity.graph.ties import Ties
from sparsity.graph.trace import Trace


def ties_of(trace: Trace) -> Ties:
    """Read a whole forward pass.

    Args:
        trace: A network's graph.
    """
    ties = Ties(trace)
    for node in trace.graph.nodes:
        if node.op == "placeholder":
            ties.values[node] = _placeholder(ties, node)
        elif node.op != "output":
            ties.values[node] = _run(ties, node)
    for output in trace.outputs:
        ties.pin(ties.values[output])
    return ties


def _placeholder(ties: Ties, node: fx.Node) -> Any:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    size = tuple(value.shape)
    name = ties.trace.parameters.get(node) or ties.trace.buffers.get(node)
    if name is None or not value.is_floating_point():
        if node in ties.trace.constants:
            ties.constants[node] = ties.trace.constants[node]
            return _of_values(ties.trace.constants[node])
        return Labelled(size)
    factors = [Factor((axis,), ties.nodes_of(name, length, axis)) for axis, length in enumerate(size) if length > 1]
    return Labelled(size, tuple(factors))


def _run(ties: Ties, node: fx.Node) -> Any:
    if ties.roles[node] == Role.CONSTANT:
        return _run_constant(ties, node)
    kind, value = known_meaning(node), node.meta.get("val")
    rule = None if kind is None else _RULES.get(kind)
    if rule is None or (not isinstance(value, Tensor) and kind != Meaning.MOVE):
        return ties.unknown(node)
    return rule(ties, node, packet_name(node.target))


def _run_constant(ties: Ties, node: fx.Node) -> Any:
    if not ties.holds(node.all_input_nodes):
        return ties.unknown(node)
    given = fx.map_arg((node.args, dict(node.kwargs)), lambda argument: ties.constants[argument])
    found = node.target(*given[0], **given[1])  # type: ignore[operator]
    ties.constants[node] = found
    return _of_values(found) if isinstance(found, Tensor) else found


def _identity(ties: Ties, node: fx.Node, name: str) -> Any:
    given = ties.values[node.all_input_nodes[0]]
    return Labelled(tuple(shape(node)), given.factors, given.is_uniform)


def _function(ties: Ties, node: fx.Node, name: str) -> Any:
    if name == "glu":
        whole, axis = ties.values[node.all_input_nodes[0]], named_arguments(node)["dim"] % len(shape(node))
        halves = [whole.moved(shape(node), lambda t, i=i: t.chunk(2, axis)[i]) for i in (0, 1)]
        return ties.joined(node, halves)
    operands = _operands(ties, node)
    if name == "prelu" and len(operands) > 1:
        operands[1] = on_axis(operands[1], 1, len(shape(node)))
    return ties.joined(node, operands)


def _scaling(ties: Ties, node: fx.Node, name: str) -> Any:
    return ties.joined(node, _operands(ties, node))


def _operands(ties: Ties, node: fx.Node) -> list[Labelled]:
    return [v for v in (ties.values[a] for a in node.all_input_nodes) if isinstance(v, Labelled)]


def _reduction(ties: Ties, node: fx.Node, name: str) -> Any:
    given = ties.values[node.all_input_nodes[0]]
    size = tuple(shape(node))
    if "pool" in name or "upsample" in name:
        return along_positions(ties, node, given, size)
    named = named_arguments(node)
    axes = named.get("dim", range(len(given.shape)))
    axes = [axes] if isinstance(axes, int) else range(len(given.shape)) if axes in (None, []) else axes
    gone = {axis % max(len(given.shape), 1) for axis in axes}
    keeps = len(size) == len(given.shape)
    if name in ("cumsum", "var_mean") or len(node.all_input_nodes) > 1:
        return ties.unknown(node)
    factors = []
    for factor in given.factors:
        if set(factor.axes) & gone:  # a sum over units, whatever their order, of those in one place
            rest = [axis for axis in factor.axes if axis not in gone]
            if rest:
                ties.bind(factor, rest)
        else:
            axes_now = tuple(a if keeps else a - sum(g < a for g in gone) for a in factor.axes)
            factors.append(Factor(axes_now, factor.nodes))
    return Labelled(size, tuple(factors), given.is_uniform)


def _window_maximum(ties: Ties, node: fx.Node, name: str) -> Any:
    return along_positions(ties, node, ties.values[node.all_input_nodes[0]], tuple(shape(node)))


def _softmax(ties: Ties, node: fx.Node, name: str) -> Any:
    given = ties.values[node.all_input_nodes[0]]
    axis = arguments(node)[1] % len(given.shape)
    _mixed(ties, given, {axis})
    return Labelled(tuple(shape(node)), given.factors, given.is_uniform)


def _mixed(ties: Ties, given: Labelled, axes: set[int]) -> None:
    """A symmetric operation over some axes: units may be exchanged among those that it takes together."""
    for factor in given.factors:
        rest = [axis for axis in factor.axes if axis not in axes]
        if set(factor.axes) & axes and rest:
            ties.bind(factor, rest)


def _normalisation(ties: Ties, node: fx.Node, name: str) -> Any:
    named = named_arguments(node)
    given = ties.values[node.all_input_nodes[0]]
    rank = len(given.shape)
    others = [ties.values[a] for a in node.all_input_nodes[1:] if isinstance(ties.values[a], Labelled)]
    if name in ("batch_norm", "instance_norm", "group_norm", "native_group_norm"):
        others = [on_axis(other, 1, rank) for other in others]
        if name.endswith("group_norm"):
            _group(ties, given, named["num_groups"] if "num_groups" in named else named["group"])
    else:
        _mixed(ties, given, set(range(rank - len(named["normalized_shape"]), rank)))
    return ties.joined(node, [given, *others])


def _group(ties: Ties, given: Labelled, groups: int) -> None:
    for factor in given.factors:
        if 1 in factor.axes:
            place = factor.axes.index(1)
            size = factor.nodes.shape[place]
            group = torch.arange(size) // max(size // groups, 1)
            key = group.view([-1 if p == place else 1 for p in range(factor.nodes.ndim)])
            ties.bounds.append((factor.nodes.flatten(), key.expand(factor.nodes.shape).flatten()))


def _look_up(ties: Ties, node: fx.Node, name: str) -> Any:
    table = ties.values[arguments(node)[0]]
    rank = len(shape(node))
    factors = []
    for factor in table.factors:
        if factor.axes == (1,):
            factors.append(Factor((rank - 1,), factor.nodes))
        else:
            ties.bind(factor, factor.axes)
    return Labelled(tuple(shape(node)), tuple(factors))


_RULES: dict[Meaning, Callable[[Ties, fx.Node, str], Any]] = {
    Meaning.PRODUCT: product,
    Meaning.SCALING: _scaling,
    Meaning.SUM: _scaling,
    Meaning.QUOTIENT: _scaling,
    Meaning.POWER: _scaling,
    Meaning.SELECTION: _scaling,
    Meaning.REDUCTION: _reduction,
    Meaning.FUNCTION: _function,
    Meaning.OFFSET_FUNCTION: _function,
    Meaning.NORMALISATION: _normalisation,
    Meaning.SOFTMAX: _softmax,
    Meaning.WINDOW_MAXIMUM: _window_maximum,
    Meaning.LOOK_UP: _look_up,
    Meaning.MOVE: moved,
    Meaning.IDENTITY: _identity,
}


def _of_values(value: Tensor) -> Labelled:
    """A constant."""
    flat = value.flatten()
    return Labelled(tuple(value.shape), is_uniform=bool(len(flat) == 0 or (flat == flat[0]).all()))
