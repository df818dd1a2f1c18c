"""Which unit every element of a value belongs to: the labels that the rules of `ties` pass on.

A node is one place along one axis of a parameter or buffer, a number from 1. A factor of a value says for each of its
elements to which node it belongs; a value has as many factors as it has structure: the weight of a Linear two, one for
its rows and one for its columns. A factor is kept on the axes along which it varies, and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIXED = 0
"""The label of an element whose place is given from outside: an input, an output, a position."""
ANY = -1
"""The label of an element that is the same whatever its place, such as padding."""


@dataclass(frozen=True, eq=False)
class Factor:
    """The nodes of a value's elements.

    Args:
        axes: Of the value, in rising order, along which the node changes.
        nodes: int64, as long as the value along each of them.
    """

    axes: tuple[int, ...]
    nodes: Tensor

    def spread(self, shape: Sequence[int]) -> Tensor:
        """The nodes of every element of a value of a shape; a view."""
        sizes = [shape[axis] if axis in self.axes else 1 for axis in range(len(shape))]
        return self.nodes.reshape(sizes).expand(*shape)


@dataclass(frozen=True, eq=False)
class Labelled:
    """A value as far as its units go.

    Args:
        shape: The value's.
        factors: Its structure; along axes that none varies along, places are given from outside.
        is_uniform: Whether all of its elements are equal, so that places mean nothing.
    """

    shape: tuple[int, ...]
    factors: tuple[Factor, ...] = ()
    is_uniform: bool = False

    def varies(self, axis: int) -> bool:
        """Whether elements along an axis may differ."""
        return self.shape[axis] > 1 and not self.is_uniform

    def moved(self, shape: Sequence[int], move: Callable[[Tensor], Tensor]) -> "Labelled":
        """The value after an operation that only puts its elements elsewhere.

        Args:
            shape: Of the result.
            move: The operation itself, on whole numbers.
        """
        found = [compact(move(factor.spread(self.shape).contiguous())) for factor in self.factors]
        return Labelled(tuple(shape), tuple(factor for factor in found if factor.axes), self.is_uniform)


def compact(nodes: Tensor) -> Factor:
    """A factor of the nodes of every element."""
    axes = []
    for axis in range(nodes.ndim):
        first = nodes.narrow(axis, 0, 1) if nodes.shape[axis] else nodes
        if nodes.shape[axis] > 1 and bool((nodes != first).any()):
            axes.append(axis)
        else:
            nodes = first
    return Factor(tuple(axes), nodes.reshape([nodes.shape[axis] for axis in axes]))


def coordinates(factor: Factor, axes: Sequence[int]) -> Tensor:
    """A number for each element of a factor that tells its place along some of its axes.

    Args:
        factor: Of a value.
        axes: Of the value, among the factor's.

    Returns:
        int64, shaped like the factor's nodes.
    """
    key = torch.zeros(factor.nodes.shape, dtype=torch.int64)
    for place, axis in enumerate(factor.axes):
        if axis in axes:
            size = factor.nodes.shape[place]
            along = torch.arange(size).view([-1 if p == place else 1 for p in range(factor.nodes.ndim)])
            key = key * size + along
    return key


def on_axis(vector: Labelled, axis: int, rank: int) -> Labelled:
    """A vector along one axis of a larger value."""
    size = tuple(vector.shape[0] if place == axis else 1 for place in range(rank))
    return Labelled(size, tuple(Factor((axis,), factor.nodes) for factor in vector.factors), vector.is_uniform)
