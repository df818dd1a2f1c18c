"""Values of two numbers per element, between which it lies, and what several rules do with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.meanings import Role
from sparsity.graph.nodes import arguments, called, retyped


@dataclass(frozen=True, eq=False)
class Bounds:
    """The bounds of a value's elements.

    Args:
        low: float64, shaped like the value; -inf where there is no bound.
        high: The same from above; inf where there is none.
    """

    low: Tensor
    high: Tensor

    @property
    def is_constant(self) -> Tensor:
        """Where the value is the same for all inputs, bool; it is `low` there."""
        return self.low == self.high


class Intervals:
    """The values of a graph's nodes so far.

    Args:
        roles: What each value depends on.
    """

    def __init__(self, roles: Mapping[fx.Node, Role]) -> None:
        self.roles = roles
        self.values: dict[fx.Node, Any] = {}
        """`Bounds` of activations, the value itself of what does not depend on the input, None of labels."""

    def given(self, argument: Any) -> Any:
        """The value of an argument, be it a node or not."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def both(self, argument: Any) -> Bounds | None:
        """The bounds of an argument, equal ones where it does not depend on the input; None of labels."""
        value = self.given(argument)
        if isinstance(value, Bounds):
            return value
        if isinstance(value, bool | int | float):
            value = torch.tensor(float(value), dtype=torch.float64)
        if not isinstance(value, Tensor):
            return None
        return Bounds(value.double(), value.double())

    def applied(self, node: fx.Node, first: Tensor) -> Any:
        """An operation with a tensor in place of its first argument, and constants where they are."""
        source = arguments(node)[0]

        def stand_in(argument: fx.Node) -> Any:
            return first if argument is source else self.values[argument]

        args, kwargs = fx.map_arg((arguments(node), dict(node.kwargs)), stand_in)
        args, kwargs = retyped((args, kwargs), first.device, torch.float64)
        return called(node)(*args, **kwargs)


def unbounded(node: fx.Node) -> Any:
    """Bounds that say nothing."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        return tuple(_unbounded(tuple(v.shape)) if isinstance(v, Tensor) else None for v in value)
    return _unbounded(tuple(value.shape)) if isinstance(value, Tensor) else None


def _unbounded(size: tuple[int, ...]) -> Bounds:
    return Bounds(torch.full(size, -inf, dtype=torch.float64), torch.full(size, inf, dtype=torch.float64))


def mended(found: Any) -> Any:
    """Bounds without NaN: where infinities met, there is no bound."""
    if isinstance(found, tuple | list):
        return tuple(mended(one) for one in found)
    if not isinstance(found, Bounds):
        return found
    return Bounds(found.low.nan_to_num(-inf, inf, -inf), found.high.nan_to_num(inf, inf, -inf))


def unknown(run: Intervals, node: fx.Node) -> Any:
    """What is known of an operation without a rule: if all that it reads is constant, so is what it makes."""
    operands = [run.both(argument) for argument in node.all_input_nodes]
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or any(one is None or not bool(one.is_constant.all()) for one in operands):
        return unbounded(node)
    point = dict(zip(node.all_input_nodes, operands, strict=True))

    def stand_in(argument: fx.Node) -> Any:
        own = run.values[argument]
        return point[argument].low if isinstance(own, Bounds) else own  # type: ignore[union-attr]

    args, kwargs = fx.map_arg((arguments(node), dict(node.kwargs)), stand_in)
    args, kwargs = retyped((args, kwargs), torch.device("cpu"), torch.float64)
    found = called(node)(*args, **kwargs)
    return Bounds(found, found)


def times(a: Bounds, b: Bounds) -> Bounds:
    """Element by element; 0 times whatever there is is 0."""
    corners = [torch.where((x == 0) | (y == 0), 0.0, x * y) for x in (a.low, a.high) for y in (b.low, b.high)]
    every = torch.stack(corners)
    return Bounds(every.amin(0), every.amax(0))


def linear(x: Bounds, weight: Tensor, on: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """A product with constant weights: each bound comes of the other one where a weight is negative."""
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    rises, falls = (weight > 0).double(), (weight < 0).double()
    no_low, no_high = x.low.isinf().double(), x.high.isinf().double()
    low, high = x.low.where(no_low == 0, 0.0), x.high.where(no_high == 0, 0.0)
    from_below = on(low, up) + on(high, down)
    from_above = on(high, up) + on(low, down)
    open_below = on(no_low, rises) + on(no_high, falls)
    open_above = on(no_high, rises) + on(no_low, falls)
    return from_below.where(open_below == 0, -inf), from_above.where(open_above == 0, inf)


def may_be_there(value: Bounds) -> Tensor:
    """1 where a value is not known to be 0, float64."""
    return ((value.low != 0) | (value.high != 0)).double()
