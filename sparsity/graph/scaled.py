"""The linearised graph run with a power of two beside every value, so that no product of many weights leaves the range.

What it adds up are paths from the input to the output: whatever does not depend on the input, such as a bias, starts
none and is left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from typing_extensions import override

from sparsity.errors import SparsityError
from sparsity.graph.linearised import Linearised
from sparsity.graph.nodes import packet_name

_SUMS = ("add", "cat", "stack", "where")
_ADDENDS = {"linear": 2, "conv1d": 2, "conv2d": 2, "conv3d": 2, "convolution": 2, "conv_transpose1d": 2,
            "conv_transpose2d": 2, "conv_transpose3d": 2, "addmm": 0, "addmv": 0, "baddbmm": 0, "addbmm": 0,
            "bilinear": 3}  # fmt: skip
"""Of products with a term that is added, its place."""
_PRODUCTS = ("mul", "matmul", "mm", "bmm", "mv", "dot", "einsum", *_ADDENDS)
_UNKNOWN = ("prod", "cumprod")


@dataclass(frozen=True, eq=False)
class Scaled:
    """The values `tensor * 2 ** exponent`.

    Args:
        tensor: Its largest entry between 1/2 and 2, if any is not 0.
        exponent: A whole number, or half of one.
    """

    tensor: Tensor
    exponent: float

    def at(self, exponent: float) -> Tensor:
        """The tensor at another exponent."""
        return self.tensor if exponent == self.exponent else self.tensor * 2.0 ** max(self.exponent - exponent, -1074)


def total(outputs: tuple[Any, ...]) -> Scaled | None:
    """The sum of all outputs that depend on the input; None if none does, or it is 0."""
    found = [one for one in outputs if isinstance(one, Scaled)]
    if not found:
        return None
    exponent = max(one.exponent for one in found)
    whole = torch.stack([one.at(exponent).sum() for one in found]).sum()
    return Scaled(whole, exponent) if float(whole.detach()) > 0 else None


def log10(value: Scaled | None) -> float:
    """The logarithm of one number, to base 10; minus infinity of None."""
    return -math.inf if value is None else math.log10(float(value.tensor.detach())) + value.exponent * math.log10(2)


class ScaledRun(fx.Interpreter):
    """Runs a linearised graph with scaled values.

    Args:
        found: The graph.
    """

    def __init__(self, found: Linearised) -> None:
        super().__init__(fx.GraphModule(found.constants, found.graph))
        self._found = found

    def flow(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """What the outputs are for an input of ones.

        Args:
            parameters: By full name, not negative, float64.
            buffers: By full name, float64.

        Returns:
            Of each output a `Scaled`, or something else if it does not depend on the input.

        Raises:
            SparsityError: If the graph is not linear in what it is given.
        """
        given = [parameters[name] for name in self._found.parameters] + [buffers[name] for name in self._found.buffers]
        outputs: tuple[Any, ...] = self.run(*given, enable_io_processing=False)
        return outputs

    @override
    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        held = super().get_attr(target, args, kwargs)
        return Scaled(held, 0) if target in self._found.starts else held

    @override
    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        scaled = _scaled_in((*args, *kwargs.values()))
        if not scaled:
            return super().call_function(target, args, kwargs)
        name = packet_name(target) if hasattr(target, "overloadpacket") else target.__name__
        if name in ("ones_like", "eq", "zeros_like"):
            return super().call_function(target, *_plain((args, kwargs)))
        if name in _UNKNOWN:
            raise SparsityError(f"paths through the operation {name!r} are not defined")
        if name in _SUMS:
            exponent = max(one.exponent for one in scaled)
            terms = tuple(_without_constants(_terms(arg, exponent), arg, name) for arg in args)
            return _normal(super().call_function(target, terms, kwargs), exponent)
        if name == "div":
            return self._quotient(target, *args[:2])
        if name == "pow":
            return _normal(scaled[0].tensor ** args[1], scaled[0].exponent * args[1])
        if name in _PRODUCTS:
            if (place := _ADDENDS.get(name)) is not None and len(args) > place and args[place] is not None:
                args = (*args[:place], torch.zeros_like(_bare(args[place])), *args[place + 1 :])
            exponent = sum(one.exponent for one in _scaled_in((*args, *kwargs.values())))
            return _normal(super().call_function(target, *_plain((args, kwargs))), exponent)
        if len(scaled) > 1 and not any(isinstance(arg, list | tuple) for arg in args):
            raise SparsityError(f"paths through the operation {name!r} are not defined")
        if name == "batch_norm":  # its shift and its mean start no path
            args = (*args[:2], _zeros(args[2]), _zeros(args[3]), *args[4:])
        # Everything else in the graph is of degree one in the one value that it is given.
        exponent = max(one.exponent for one in scaled)
        return _normal(super().call_function(target, *_terms((args, kwargs), exponent)), exponent)

    def _quotient(self, target: Any, above: Any, below: Any) -> Any:
        if not isinstance(below, Scaled):
            return _normal(target(above.tensor, below), above.exponent)
        nothing = below.tensor == 0
        value = target(_bare(above), below.tensor.masked_fill(nothing, 1)).masked_fill(nothing, 0)
        exponent = above.exponent if isinstance(above, Scaled) else 0
        return _normal(value, exponent - below.exponent)


def _scaled_in(value: Any) -> list[Scaled]:
    if isinstance(value, Scaled):
        return [value]
    return [one for item in value for one in _scaled_in(item)] if isinstance(value, list | tuple) else []


def _bare(value: Any) -> Any:
    return value.tensor if isinstance(value, Scaled) else value


def _plain(value: Any) -> Any:
    """Scaled values by their tensors, wherever they are."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return _bare(value)


def _without_constants(term: Any, given: Any, name: str) -> Any:
    """A term of a sum, 0 if it does not depend on the input: it starts no path."""
    if isinstance(given, list | tuple):
        return type(given)(_without_constants(*pair, name) for pair in zip(term, given, strict=True))
    if isinstance(given, Tensor) and given.is_floating_point():
        return torch.zeros_like(given)
    return 0 if name == "add" and isinstance(given, int | float) else term


def _terms(value: Any, exponent: float) -> Any:
    """Scaled values at one exponent, wherever they are."""
    if isinstance(value, dict):
        return {key: _terms(item, exponent) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_terms(item, exponent) for item in value)
    return value.at(exponent) if isinstance(value, Scaled) else value


def _zeros(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, Tensor) else value


def _normal(value: Any, exponent: float) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_normal(one, exponent) for one in value)
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return value
    largest = float(value.detach().abs().max())
    if largest == 0 or not math.isfinite(largest):
        return Scaled(value, exponent)
    power = math.frexp(largest)[1]
    return Scaled(value * 2.0**-power, exponent + power)
