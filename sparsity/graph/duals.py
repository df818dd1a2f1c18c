"""Values of two booleans per element: may it be non-zero, and does it depend on the input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from sparsity.graph.meanings import Role
from sparsity.graph.nodes import arguments, shape


@dataclass(frozen=True, eq=False)
class Dual:
    """A value's booleans.

    Args:
        depends: d; of weights, whether they are kept.
        there: n; None where no product of activations asks for it, and of weights.
        of_weights: Whether no input shows in it.
    """

    depends: Tensor
    there: Tensor | None = None
    of_weights: bool = False


def cut(values: Tensor) -> Tensor:
    """0 or 1 in place of non-negative numbers, and of the gradient."""
    return cast(Tensor, _Boolean.apply(values, None, False))


def met(values: Tensor) -> Tensor:
    """Ones, and 0 or 1 in place of the gradient: what a weight makes, as if all that it reads were there."""
    return cast(Tensor, _Boolean.apply(values, 1.0, False))


def read(values: Tensor) -> Tensor:
    """Zeros, and a gradient of ones: what reads something, as if the output read all that comes of it."""
    return cast(Tensor, _Boolean.apply(values, 0.0, True))


class _Boolean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, fill: float | None, restarts: bool) -> Tensor:
        ctx.restarts = restarts
        return (values > 0).to(values.dtype) if fill is None else torch.full_like(values, fill)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return torch.ones_like(gradient) if ctx.restarts else (gradient > 0).to(gradient.dtype), None, None


class Duals:
    """The values of a graph's nodes so far, and what several rules do with them.

    Args:
        roles: What each value depends on.
        values: By node its value so far: a `Dual`, None of a label, or what a constant is; tuples of such.
        with_there: Whether n is wanted.
        local: Whether every weight starts anew, as if all that it reads depended on the input and all that it makes
            were read.
        device: Where to run.
    """

    def __init__(
        self,
        roles: Mapping[fx.Node, Role],
        values: dict[fx.Node, Any],
        with_there: bool,
        local: bool,
        device: torch.device,
    ) -> None:
        self.roles = roles
        self.values = values
        self.with_there = with_there
        self.local = local
        self.device = device

    def ones(self, size: torch.Size) -> Tensor:
        """Everywhere true."""
        return torch.ones(size, dtype=torch.float32, device=self.device)

    def zeros(self, size: torch.Size) -> Tensor:
        """Nowhere true."""
        return torch.zeros(size, dtype=torch.float32, device=self.device)

    def dense(self, node: fx.Node) -> Dual:
        """Everything depends on the input, or is kept."""
        ones = self.ones(shape(node))
        return self.result(node, ones, ones)

    def given(self, argument: Any) -> Any:
        """The value of an argument, be it a node or not."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def pattern(self, argument: Any, there: bool) -> Any:
        """A factor that is not the one that is looked at: whether it may be non-zero."""
        value = self.given(argument)
        if isinstance(value, Dual):
            return value.depends if value.of_weights or not there else value.there
        if isinstance(value, Tensor):
            return (value != 0).float()
        if value is None and isinstance(argument, fx.Node):
            return self.ones(shape(argument))
        return float(value != 0) if isinstance(value, int | float) else value

    def result(self, node: fx.Node, depends: Tensor, there: Tensor | None) -> Dual:
        """A node's value, of weights where no input shows in it."""
        of_weights = self.roles[node] == Role.WEIGHT
        keep = self.with_there and not of_weights
        return Dual(depends, there.detach() if keep and there is not None else None, of_weights)

    def addition(self, node: fx.Node, terms: list[Any]) -> Dual:
        """A sum of terms that are nodes or plain numbers."""
        size = shape(node)
        of_weights = self.roles[node] == Role.WEIGHT
        depends = self.zeros(size)
        there = self.zeros(size)
        for term in terms:
            value = self.given(term)
            if isinstance(value, Dual):
                if value.of_weights == of_weights:  # else a bias
                    depends = depends + value.depends
                    there = there if value.there is None else there + value.there
            elif of_weights:
                depends = depends + self.pattern(term, True)
            else:
                there = there + self.pattern(term, True)
        return self.result(node, depends, (there > 0).float())

    def each(self, node: fx.Node, change: Callable[[Tensor], Tensor], first: Any = None) -> Dual:
        """What is linear in its first argument, with non-negative numbers in between."""
        value = self.given(arguments(node)[0] if first is None else first)
        if not isinstance(value, Dual):
            return self.dense(node)
        there = None if value.there is None else change(value.there)
        return self.result(node, change(value.depends), there)
