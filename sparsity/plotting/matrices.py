"""Matrices of distances or correlations over networks."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from sparsity.errors import SparsityError
from sparsity.graph.weights import Array
from sparsity.plotting.canvas import (
    clean,
    colour_bar,
    dress_bar,
    name_axis,
    new_figure,
    plain_label,
    scale_of,
    text_width,
    ticks_for,
    wrapped,
)
from sparsity.plotting.marks import ON_COLOUR, mark_cells
from sparsity.plotting.style import FONT, SMALL, WIDTH, figure_in_style, value_colours

_BAR = 0.95  # inches that a colour bar takes with its labels
_GAP, _TITLE = 0.15, 0.28  # between panels, and above each
_SMALLEST = 1.2  # side of a panel


@figure_in_style
def matrix_figure(
    matrix: Array,
    names: Sequence[str],
    label: str,
    title: str = "",
    value_range: tuple[float, float] | None = None,
) -> Figure:
    """A labelled matrix of distances or correlations, with numbers in the cells if they fit.

    Args:
        matrix: `[n, n]`; NaN cells are hatched.
        names: Of the n rows and columns.
        label: What the values are.
        title: Above the matrix.
        value_range: Ends of the colour scale; those of the values if not given.

    Raises:
        SparsityError: If there is not one name per row and column.
    """
    _require_names([matrix], names)
    side = min(max(0.45 * len(names), 1.8), 6.0)
    slot = side / len(names)
    ticks = ticks_for(names, slot)
    width = text_width([plain_label(name) for name in names])
    figure = new_figure(side + width + 1.1, side + ticks.room + (0.6 if title else 0.3))
    axes = figure.subplots()
    norm = Normalize(*value_range) if value_range else scale_of([matrix])
    image = _draw_matrix(axes, matrix, names, norm, plain_label(title, 80))
    name_axis(axes.xaxis, names, ticks)
    name_axis(axes.yaxis, names, ticks._replace(rotation=0))
    if slot > 0.36:
        _write_cells(axes, matrix, norm)
    colour_bar(figure, image, [axes], wrapped(label, 0.8 * side))
    return figure


@figure_in_style
def matrix_panels(
    matrices: Mapping[str, Array], names: Sequence[str], label: str, value_range: tuple[float, float] | None = None
) -> Figure:
    """Labelled matrices side by side on one scale, one for each layer.

    Args:
        matrices: At least one, by layer name, `[n, n]`; NaN cells are hatched.
        names: Of the n rows and columns of all of them.
        label: What the values are.
        value_range: Ends of the colour scale; those of all values if not given.

    Raises:
        SparsityError: If there is not one name per row and column.
    """
    _require_names(list(matrices.values()), names)
    left = _room(names)
    across = WIDTH - left - _BAR
    columns = max(1, min(int(across / (_SMALLEST + _GAP)), math.ceil(math.sqrt(1.5 * len(matrices)))))
    rows = math.ceil(len(matrices) / columns)
    side = min(1.9, across / columns - _GAP)
    ticks = ticks_for(names, side / len(names))
    if ticks.rotation:  # slanted names would run into the panel to the left
        ticks = ticks._replace(rotation=90)
    width = left + columns * (side + _GAP) + _BAR
    height = rows * (side + _TITLE) + (left if ticks.rotation else 0.3)
    figure = new_figure(width, height)
    norm = Normalize(*value_range) if value_range else scale_of(matrices.values())
    for number, (layer, matrix) in enumerate(matrices.items()):
        row, column = divmod(number, columns)
        x, y = left + column * (side + _GAP), height - (row + 1) * (side + _TITLE)
        # Placed by hand: names hang below a last row that is not full, and a layout of many axes takes long.
        axes = figure.add_axes((x / width, y / height, side / width, side / height))
        title = plain_label(layer, int((side + _GAP) * 72 / (0.6 * SMALL)))
        image = _draw_matrix(axes, matrix, names, norm, title, SMALL)
        name_axis(axes.xaxis, names if number + columns >= len(matrices) else [], ticks)
        name_axis(axes.yaxis, names if column == 0 else [], ticks._replace(rotation=0))
    tall = min(4.0, rows * (side + _TITLE) - _TITLE)
    x, y = left + columns * (side + _GAP), height - _TITLE - tall
    bar = figure.add_axes((x / width, y / height, 0.1 / width, tall / height))
    dress_bar(figure.colorbar(image, bar), wrapped(label, tall))
    return figure


def _require_names(matrices: Sequence[Array], names: Sequence[str]) -> None:
    n = len(names)
    for matrix in matrices:
        if n == 0 or matrix.shape != (n, n):
            raise SparsityError(f"a labelled matrix has one name per row and column, not {n} for {list(matrix.shape)}")


def _room(names: Sequence[str]) -> float:
    """Inches that names to the left take: measured, as some letters are half as wide again as the usual ones."""
    paths = [TextPath((0, 0), plain_label(name), size=SMALL) for name in names]
    return max(path.get_extents().width for path in paths) * 1.03 / 72 + 0.2


def _draw_matrix(
    axes: Axes, matrix: Array, names: Sequence[str], norm: Normalize, title: str, size: float = FONT
) -> ScalarMappable:
    clean(axes)
    mark_cells(axes, [f"{value:.3f}" for value in matrix.ravel().tolist()], names)
    values = np.ma.masked_invalid(matrix.astype(np.float64))
    _hatch(axes, np.argwhere(np.ma.getmaskarray(values)))
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=size)
    return axes.imshow(values, value_colours(), norm)


def _hatch(axes: Axes, cells: Array) -> None:
    for row, column in cells:
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.85", edgecolor="0.55", hatch="////", linewidth=0)
        )


def _write_cells(axes: Axes, matrix: Array, norm: Normalize) -> None:
    colours = value_colours()(norm(matrix))
    # Relative luminance; above 0.18 black has the higher contrast (WCAG 2).
    luminance = colours[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    for row, column in np.argwhere(np.isfinite(matrix)):
        ink = "black" if luminance[row, column] > 0.18 else "white"
        axes.text(
            column,
            row,
            f"{matrix[row, column]:.2f}",
            ha="center",
            va="center",
            color=ink,
            fontsize=SMALL,
            gid=ON_COLOUR,
            in_layout=False,  # it is within its cell, and to measure all takes most of a layout's time
        )
