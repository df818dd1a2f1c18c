"""Constants into biases: what a layer reads of units that are the same for every input becomes part of its bias.

What is left to read of such a unit are weights of zero, so that it is needed no more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.intervals import Bounds
from sparsity.graph.meanings import addend
from sparsity.graph.nodes import arguments, called, named_arguments, packet_name
from sparsity.graph.trace import Trace


@dataclass(frozen=True, eq=False)
class Fold:
    """What becomes of one layer.

    Args:
        weight: Full name of its weight.
        axis: Of the weight, along which lie the units that it reads.
        read: bool along that axis: the units whose weights become 0, since their part is in the bias, or is 0.
        bias: Full name of its bias; None where it has none.
        change: float64 `[units]`, to be added to the bias; None where nothing is.
        left: bool along the axis: constant units that stay, since zeros around a map are not what they are.
    """

    weight: str
    axis: int
    read: Tensor
    bias: str | None
    change: Tensor | None
    left: Tensor


def folds(trace: Trace, values: Mapping[fx.Node, Any]) -> Iterator[Fold]:
    """The layers that read constants, in the order of the forward pass.

    Linear layers and convolutions whose weight and bias are parameters of that one operation; whatever else reads a
    constant keeps reading it.

    Args:
        trace: A network's graph.
        values: Its `bounds`; of weights, the numbers.
    """
    times = list(trace.parameters.values())
    for node in trace.graph.nodes:
        layer = _layer(node)
        if layer is None:
            continue
        given, weight, bias, axis = layer
        name, source = trace.parameters.get(weight), values.get(given)
        if name is None or times.count(name) > 1 or len(weight.users) > 1 or not isinstance(source, Bounds):
            continue
        if isinstance(bias, fx.Node) and (bias not in trace.parameters or len(bias.users) > 1):
            continue
        found = _fold(node, given, values[weight], source, axis)
        if found is not None:
            read, change, left = found
            bias_name = trace.parameters[bias] if isinstance(bias, fx.Node) else None
            yield Fold(name, axis, read, bias_name, change, left)


def _layer(node: fx.Node) -> tuple[fx.Node, fx.Node, Any, int] | None:
    """What a layer reads, its weight and bias, and the axis of the weight along which it reads; None of others."""
    name = packet_name(node.target)
    if name == "addmm":
        bias, given, weight = arguments(node)[:3]
        return (given, weight, bias, 0) if isinstance(given, fx.Node) and isinstance(weight, fx.Node) else None
    if name == "linear" or name.startswith("conv"):
        transposed = name.startswith("conv_transpose") or bool(named_arguments(node).get("transposed", False))
        given, weight = arguments(node)[:2]
        return given, weight, addend(node), 0 if transposed else 1
    return None


def _fold(
    node: fx.Node, given: fx.Node, weight: Tensor, source: Bounds, axis: int
) -> tuple[Tensor, Tensor | None, Tensor] | None:
    is_map = packet_name(node.target).startswith("conv")
    channels = 1 if is_map else source.low.ndim - 1
    by_unit = source.low.movedim(channels, 0).flatten(1)
    constant = source.is_constant.movedim(channels, 0).flatten(1).all(1) & (by_unit == by_unit[:, :1]).all(1)
    if not bool(constant.any()):
        return None
    if int(named_arguments(node).get("groups", 1)) > 1:  # columns are shared by groups that read other units
        return None
    is_read = (weight != 0).movedim(axis, 0).flatten(1).any(1)
    number = by_unit[:, 0]
    folded = constant & is_read & ((number == 0) | (not is_map or not _has_borders(node)))
    left = constant & is_read & ~folded
    if not bool(folded.any() | left.any()):
        return None
    adds = folded & (number != 0)
    if not bool(adds.any()):
        return folded, None, left
    numbers = torch.where(adds, number, 0.0).reshape([-1 if a == channels else 1 for a in range(source.low.ndim)])
    part = _without_bias(node, numbers.expand(source.low.shape).contiguous(), weight)
    return folded, part.movedim(1 if is_map else -1, 0).flatten(1)[:, 0].clone(), left


def _has_borders(node: fx.Node) -> bool:
    """Whether a convolution reads zeros around its map, or spreads into them."""
    named = named_arguments(node)
    padding = named["padding"]
    if packet_name(node.target).startswith("conv_transpose") or bool(named.get("transposed", False)):
        return True
    return padding == "same" if isinstance(padding, str) else any(padding)


def _without_bias(node: fx.Node, given: Tensor, weight: Tensor) -> Tensor:
    if packet_name(node.target) == "addmm":
        return given @ weight
    args = list(arguments(node))
    args[:2] = given, weight
    if len(args) > 2:
        args[2] = None
    found: Tensor = called(node)(*args, **{key: value for key, value in node.kwargs.items() if key != "bias"})
    return found
