"""Operations that put numbers elsewhere, or take them together over positions: units go along."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.labels import ANY, FIXED, Factor, Labelled, compact
from sparsity.graph.meanings import Role
from sparsity.graph.nodes import arguments, named_arguments, packet_name, shape
from sparsity.graph.ties import Ties


def moved(ties: Ties, node: fx.Node, name: str) -> Any:
    """The value of an operation that moves numbers: it is run on their labels."""
    value: Any = node.meta.get("val")
    if name in ("cat", "concat", "stack"):
        return _concatenated(ties, node)
    if any(ties.roles.get(a) in (Role.ACTIVATION, Role.LABEL) for a in node.all_input_nodes[1:]):
        return ties.unknown(node)
    source = next((a for a in node.all_input_nodes if isinstance(ties.values.get(a), Labelled | list)), None)
    if source is None or node.all_input_nodes[0] is not source or not ties.holds(node.all_input_nodes[1:]):
        return ties.unknown(node)
    given = ties.values[source]
    if isinstance(given, list):  # one of several
        index = arguments(node)[1]
        return given[index]
    if name in ("constant_pad_nd", "pad"):
        return _padded(ties, node, given)

    def run(labels: Tensor) -> Any:
        replaced = fx.map_arg((node.args, dict(node.kwargs)), lambda a: labels if a is source else ties.constants[a])
        return node.target(*replaced[0], **replaced[1])  # type: ignore[operator]

    try:
        if isinstance(value, list | tuple):
            return [
                given.moved(v.shape, lambda labels, i=i: run(labels)[i]) if isinstance(v, Tensor) else None
                for i, v in enumerate(value)
            ]
        return given.moved(value.shape, run)
    except RuntimeError:  # torch has the operation for floating-point numbers only, and labels are whole ones
        if "upsample" in name:
            return along_positions(ties, node, given, tuple(value.shape))
        return ties.unknown(node)


def along_positions(ties: Ties, node: fx.Node, given: Labelled, size: tuple[int, ...]) -> Labelled:
    """Windows over the last axes: units that lie on others stay where they are."""
    factors = []
    for factor in given.factors:
        if all(given.shape[axis] == size[axis] and axis < len(size) - _window_axes(node) for axis in factor.axes):
            factors.append(factor)
        else:
            ties.bind(factor, factor.axes)
    return Labelled(size, tuple(factors), given.is_uniform)


def _padded(ties: Ties, node: fx.Node, given: Labelled) -> Labelled:
    named = named_arguments(node)
    if named.get("mode", "constant") != "constant":
        return along_positions(ties, node, given, tuple(shape(node)))
    pad = list(named["pad"])
    return Labelled(
        tuple(shape(node)),
        tuple(
            compact(torch.constant_pad_nd(factor.spread(given.shape), pad, ANY)) if _touches(pad, factor, given)
            else factor
            for factor in given.factors
        ),
    )  # fmt: skip


def _concatenated(ties: Ties, node: fx.Node) -> Any:
    size = tuple(shape(node))
    parts = [ties.values[a] for a in arguments(node)[0]]
    axis: int = named_arguments(node)["dim"] % len(size)
    if packet_name(node.target) == "stack":
        parts = [part.moved((*part.shape[:axis], 1, *part.shape[axis:]), lambda t: t.unsqueeze(axis)) for part in parts]
    parts = [part for part in parts if math.prod(part.shape) or len(part.shape) == len(size)]
    levels = max((len(part.factors) for part in parts), default=0)
    if levels > 1:
        return ties.unknown(node)
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
            _tie_parts(ties, whole[0], part)
        for part in parts:
            if not part.factors and not part.is_uniform:
                for other in whole:
                    bare = [a for a in other.factors[0].axes if part.varies(a)]
                    if bare:
                        ties.bind(other.factors[0], bare)
        return Labelled(size, whole[0].factors)
    return Labelled(size, (compact(torch.cat(filled, axis)),))


def _tie_parts(ties: Ties, one: Labelled, other: Labelled) -> None:
    a, b = one.factors[0], other.factors[0]
    size = [max(x, y) for x, y in zip(one.shape, other.shape, strict=True)]
    if all(one.shape[axis] == other.shape[axis] for axis in {*a.axes, *b.axes}):
        ties.tie(a, b, size)
    else:
        ties.bind(a, a.axes)
        ties.bind(b, b.axes)


def _window_axes(node: fx.Node) -> int:
    name = packet_name(node.target)
    return next((n for n in (1, 2, 3) if f"{n}d" in name), 1)


def _touches(pad: Sequence[int], factor: Factor, given: Labelled) -> bool:
    padded = {len(given.shape) - 1 - place // 2 for place, amount in enumerate(pad) if amount}
    return bool(padded & set(factor.axes))
