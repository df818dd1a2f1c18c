"""What there is to see of a network, as plain data: columns of dots, and edges between them.

A dot is a unit: a neuron, or the channel of a convolution. In wide layers it is a few neighbouring units, and of inputs
that are images a pixel, or a square of pixels, with all its channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparsity.errors import SparsityError, require_whole_number
from sparsity.formatting import percent
from sparsity.graph.weights import BoolArray, FloatArray, IntArray

POSITIVE, NEGATIVE = "#0072B2", "#E69F00"
"""The colours of signs: Okabe and Ito's blue and orange, which the colour-blind tell apart."""

DEAD, OFF_PATH, ON_PATH = 0, 1, 2
"""States of a dot."""

MOST_DOTS = 256
"""In a column; of wider layers several neighbouring units are one dot."""
_MOST_PIXELS = 32
"""Along a side of an input that is an image."""


@dataclass(frozen=True)
class Column:
    """One above the other, the units that a layer makes, or values that layers read and no layer here makes.

    Args:
        name: The layer's, or what the values are.
        units: How many there are.
        first: The number of its first dot; dots are numbered through all columns.
        is_layer: Whether its units are a layer's.
        image: Of an input: channels, height and width; its dots lie in a grid, row by row.
    """

    name: str
    units: int
    first: int
    is_layer: bool
    image: tuple[int, int, int] | None = None

    @property
    def side(self) -> int:
        """Of an image, how many pixels are along each side of a dot; else how many units are in it."""
        if self.image is None:
            return max(-(-self.units // MOST_DOTS), 1)
        return max(-(-max(self.image[1:]) // _MOST_PIXELS), 1)

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of dots; None of what is no image."""
        return None if self.image is None else (-(-self.image[1] // self.side), -(-self.image[2] // self.side))

    @property
    def dots(self) -> int:
        """How many dots there are."""
        return -(-self.units // self.side) if self.grid is None else self.grid[0] * self.grid[1]

    def dot_of_units(self) -> IntArray:
        """`[units]`, the dot that each unit is in."""
        if self.image is None or self.grid is None:
            return self.first + np.arange(self.units) // self.side
        _, row, column = np.unravel_index(np.arange(self.units), self.image)
        return self.first + row // self.side * self.grid[1] + column // self.side


@dataclass(frozen=True, eq=False)
class Edges:
    """The kept weights between two dots are one edge: a single one, a kernel, or those of several units.

    Args:
        source: `[edges]`, the dot that is read.
        target: `[edges]`, the dot whose weights they are.
        value: `[edges]`, the sum of the weights.
        strength: `[edges]`, the sum of their magnitudes.
        kept: `[edges]`, how many weights are kept, at least 1.
        size: `[edges]`, how many there are, kept or not.
        on_path: `[edges]`, whether one of them lies on a path from input to output.
        shared: `[edges]`, how many of those kept the other network keeps as well; 0 without another.
    """

    source: IntArray
    target: IntArray
    value: FloatArray
    strength: FloatArray
    kept: IntArray
    size: IntArray
    on_path: BoolArray
    shared: IntArray

    def __len__(self) -> int:
        return len(self.source)

    def take(self, which: npt.NDArray[np.intp] | BoolArray) -> "Edges":
        """Some of them, by number or by a mask."""
        return Edges(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


class Counts(NamedTuple):
    """Of a layer.

    Args:
        units: It makes.
        alive: Units with a kept input and a kept output.
        kept: Kept weights.
        size: All weights.
        effective: Kept weights on a path from input to output.
    """

    units: int
    alive: int
    kept: int
    size: int
    effective: int

    @property
    def density(self) -> float:
        """The kept fraction, in [0, 1]."""
        return self.kept / max(self.size, 1)


@dataclass(frozen=True, eq=False)
class Picture:
    """A network.

    Args:
        columns: In the order of the forward pass, what is read before those that read it.
        edges: Those that are drawn.
        all_edges: How many there are.
        ties: `[2, n]`, dots that are one unit: of a residual stream that several layers add to, for example.
        state: `[dots]`: `ON_PATH` where a path from input to output goes through, in a residual stream also past the
            layer; else `OFF_PATH` if a unit has a kept input and a kept output, or `DEAD`.
        fan_in: `[dots]`, kept weights.
        fan_out: `[dots]`, kept weights that read it.
        layers: By name, the counts of each.
        maps: By layer that reads images, of each unit its weights as one: `[units, channels, height, width]`.
        unused: Layers that take no part in the forward pass, which are not drawn.
    """

    columns: tuple[Column, ...]
    edges: Edges
    all_edges: int
    ties: IntArray
    state: npt.NDArray[np.uint8]
    fan_in: IntArray
    fan_out: IntArray
    layers: Mapping[str, Counts]
    maps: Mapping[str, FloatArray]
    unused: tuple[str, ...] = ()

    @property
    def total(self) -> Counts:
        """Of all layers that are drawn together."""
        return Counts(*map(sum, zip(*self.layers.values(), strict=True)))

    @property
    def column_of_dots(self) -> IntArray:
        """`[dots]`, the place of each dot's column."""
        return np.repeat(np.arange(len(self.columns)), [column.dots for column in self.columns])

    def levels(self) -> FloatArray:
        """`[edges]`, strengths over that of the strongest edge into the same column, in [0, 1]."""
        column = self.column_of_dots[self.edges.target]
        largest = np.zeros(len(self.columns))
        np.maximum.at(largest, column, self.edges.strength)
        strongest = largest[column]
        return np.divide(self.edges.strength, strongest, out=np.zeros(len(column)), where=strongest > 0)

    def strongest(self, most: int) -> "Picture":
        """The picture with so many edges at most, but one into each column: the strongest, of wide layers equally many.

        Args:
            most: At least 1.

        Raises:
            SparsityError: If it is not.
        """
        require_whole_number("edges", most, at_least=1)
        if len(self.edges) <= most:
            return self
        column = self.column_of_dots[self.edges.target]
        sizes = np.bincount(column, minlength=len(self.columns))
        order = np.lexsort((-self.edges.strength, column))
        rank = np.empty(len(order), dtype=np.intp)
        rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return replace(self, edges=self.edges.take(rank < _shared_out(sizes, most)))

    def summary(self) -> str:
        """How much is left, in a sentence."""
        total = self.total
        return (
            f"{total.kept:,} of {total.size:,} weights kept (density {percent(total.density)}), "
            f"{total.effective:,} of them on a path from input to output; "
            f"{total.alive:,} of {total.units:,} units alive."
        )

    def notes(self) -> list[str]:
        """What the picture does not show as it is, a sentence each."""
        wide = [column for column in self.columns if column.image is None and column.side > 1]
        coarse = [column for column in self.columns if column.image is not None and column.side > 1]
        found = []
        if wide:
            widths = sorted({column.units for column in wide})
            dots = " or ".join(str(side) for side in sorted({column.side for column in wide}))
            found.append(
                f"In columns of more than {MOST_DOTS} units ({', '.join(f'{width:,}' for width in widths)}) a dot is "
                f"{dots} neighbouring units."
            )
        found += [f"A dot of the {c.name} is a square of {c.side} x {c.side} pixels." for c in coarse]
        if len(self.edges) < self.all_edges:
            found.append(
                f"Of {self.all_edges:,} edges the {len(self.edges):,} strongest are drawn, equally many of every large "
                f"layer; {self.all_edges - len(self.edges):,} are left out. Counts are of all."
            )
        if self.unused:
            found.append(f"Not drawn, since the forward pass does not use them: {', '.join(self.unused)}.")
        return found


def require_same_columns(pictures: Mapping[str, Picture]) -> None:
    """Refuse pictures that cannot lie side by side, dot for dot.

    Raises:
        SparsityError: If their columns differ.
    """
    if len({tuple((c.units, c.first, c.image) for c in picture.columns) for picture in pictures.values()}) > 1:
        raise SparsityError("only networks of one architecture are shown side by side; the columns of these differ")


def _shared_out(sizes: IntArray, most: int) -> int:
    """The highest number, from 1, of which everybody takes, or all that it has, and together no more than `most`.

    Args:
        sizes: What each has, together more than `most`.
        most: At least 1.
    """
    rising = np.sort(sizes)
    before = np.cumsum(rising) - rising
    shares = (most - before) // np.arange(len(rising), 0, -1)
    return max(int(shares[np.argmax(rising > shares)]), 1)
