"""Networks as pictures: units as dots in columns, kept weights as lines."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from sparsity.formatting import percent
from sparsity.graph.weights import FloatArray, IntArray
from sparsity.plotting.files import small_png
from sparsity.plotting.style import FONT, SMALL, WIDTH, figure_in_style
from sparsity.viewer.picture import DEAD, NEGATIVE, OFF_PATH, POSITIVE, Column, Picture

_GAP = 0.5  # inches, here and below: between columns at least
_GRID = 1.3
_HEIGHT = 3.2
_HEAD, _LEGEND = 0.5, 0.3
_WIDEST_LABEL = 28
_LETTER = 0.056  # inches of a letter, about
_UNIT, _DEAD, _OFF_PATH, _TIE, _CELL = "#3a444e", "#b9c0c7", "#a3abb3", "#8a949e", "#e8ebee"


def networks_png(pictures: Mapping[str, Picture]) -> bytes:
    """One network as a PNG, or two below each other.

    Args:
        pictures: By the networks' names, as of `sparsity.viewer.build.pictures`.

    Returns:
        The file, in some fifty colours: of thousands of thin lines, a fifth of the size that it would have in all.
    """
    return small_png(networks_figure(pictures), _palette())


def _palette() -> Image.Image:
    """Black, white, and between white and each colour that is drawn twelve shades; half of them where signs meet."""
    positive, negative, unit = (np.array(to_rgb(colour)) for colour in (POSITIVE, NEGATIVE, _UNIT))
    meeting = [share * positive + (1 - share) * negative for share in (0.25, 0.5, 0.75)]
    steps = np.linspace(0, 1, 13)[1:, None]
    shades = [1 - steps * (1 - colour) for colour in (positive, negative, unit)]
    shades += [1 - steps[1::2] * (1 - colour) for colour in meeting]
    colours = np.concatenate([np.zeros((1, 3)), np.ones((1, 3)), *shades])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * colours).astype(int).flatten().tolist())
    return palette


@figure_in_style
def networks_figure(pictures: Mapping[str, Picture]) -> Figure:
    """Draw one network, or two below each other.

    Args:
        pictures: By the networks' names, as of `sparsity.viewer.build.pictures`.
    """
    columns = next(iter(pictures.values())).columns
    grids = sum(_GRID for column in columns if column.grid)
    gaps = max(len(columns) - 1, 1)
    width = max(WIDTH, grids + _GAP * (gaps + 2))
    gap = (width - 1 - grids) / gaps
    labels = {name: _labels(picture) for name, picture in pictures.items()}
    longest = max(len(line) for lines in labels.values() for label in lines for line in label) * _LETTER
    is_upright = longest > gap
    foot = 0.2 + (longest if is_upright else 3 * 1.3 * SMALL / 72)
    each = _HEAD + _HEIGHT + foot
    whole = each * len(pictures) + _LEGEND
    figure = Figure(figsize=(width, whole))
    for number, (name, picture) in enumerate(pictures.items()):
        bottom = whole - each * (number + 1) + foot
        axes = figure.add_axes((0, bottom / whole, 1, _HEIGHT / whole), xlim=(0, width), ylim=(0, _HEIGHT))
        axes.axis("off")
        places, centres, steps = _places(picture, gap)
        _draw_edges(axes, picture, places)
        for column, step in zip(picture.columns, steps, strict=True):
            _draw_dots(axes, picture, column, places, step)
        for centre, label in zip(centres, labels[name], strict=True):
            axes.text(centre, -0.08, "\n".join(label), fontsize=SMALL, ha="center", va="top",
                      rotation=90 if is_upright else 0, parse_math=False)  # fmt: skip
        top = _HEIGHT + _HEAD - 0.12
        axes.text(0.15, top, name, fontsize=FONT + 1, fontweight="bold", va="top", parse_math=False)
        axes.text(0.15, top - 0.19, picture.summary(), fontsize=SMALL, va="top", color="0.35")
    has_ties = any(picture.ties.size for picture in pictures.values())
    figure.legend(handles=_legend(has_ties), loc="lower center", ncols=6, fontsize=SMALL, columnspacing=1.2)
    return figure


def _draw_edges(axes: Axes, picture: Picture, places: FloatArray) -> None:
    edges, levels = picture.edges, picture.levels()
    _add_lines(axes, places, picture.ties[0], picture.ties[1], colors=_TIE, linewidths=0.5, linestyles=(0, (1, 3)))
    off = edges.take(~edges.on_path)
    _add_lines(axes, places, off.source, off.target, colors=_OFF_PATH, linewidths=0.25, alpha=0.5)
    order = np.argsort(levels, kind="stable")  # strong ones are drawn over weak ones
    order = order[edges.on_path[order]]
    on, level = edges.take(order), levels[order]
    signs = np.where((on.value < 0)[:, None], to_rgb(NEGATIVE), to_rgb(POSITIVE))
    haze = min(1, (3000 / max(len(edges), 1)) ** 0.5)
    colours = np.column_stack([signs, haze * (0.15 + 0.8 * level)])
    _add_lines(axes, places, on.source, on.target, colors=colours, linewidths=0.25 + 1.3 * level**2)


def _add_lines(axes: Axes, places: FloatArray, source: IntArray, target: IntArray, **look: Any) -> None:
    axes.add_collection(LineCollection(list(np.stack([places[source], places[target]], axis=1)), **look))


def _draw_dots(axes: Axes, picture: Picture, column: Column, places: FloatArray, step: float) -> None:
    dots = slice(column.first, column.first + column.dots)
    states, (x, y) = picture.state[dots], places[dots].T
    if column.grid:
        read = picture.fan_out[dots] / max(picture.fan_out[dots].max(), 1)
        shades = to_rgb(_CELL) + (0.15 + 0.85 * read[:, None]) * (np.array(to_rgb(_UNIT)) - to_rgb(_CELL))
        shades[states == DEAD] = to_rgb(_CELL)
        extent = (x[0] - step / 2, x[-1] + step / 2, y[-1] - step / 2, y[0] + step / 2)
        axes.imshow(shades.reshape(*column.grid, 3), extent=extent, aspect="auto", zorder=3, interpolation="nearest")
        axes.set(xlim=(0, axes.get_xlim()[1]), ylim=(0, _HEIGHT))
        return
    fill = np.select([states == DEAD, states == OFF_PATH], ["white", _OFF_PATH], _UNIT).tolist()
    rim = np.where(states == DEAD, _DEAD, "none").tolist()
    axes.scatter(x, y, s=min((72 * 0.7 * step) ** 2, 30), c=fill, edgecolors=rim, linewidths=0.5, zorder=3)


def _labels(picture: Picture) -> list[list[str]]:
    """Below each column, a text a line."""
    found = []
    for column in picture.columns:
        name = column.name if len(column.name) <= _WIDEST_LABEL else f"\u2026{column.name[1 - _WIDEST_LABEL :]}"
        counts = picture.layers.get(column.name) if column.is_layer else None
        found.append([name])
        if counts is not None:
            found[-1] += [percent(counts.density), f"{counts.alive:,} of {counts.units:,}"]
    return found


def _places(picture: Picture, gap: float) -> tuple[FloatArray, list[float], list[float]]:
    """Where the dots are, `[dots, 2]`; by column its centre, and how far its dots are apart."""
    places, centres, steps = [], [], []
    left = 0.5
    for column in picture.columns:
        numbers = np.arange(column.dots)
        rows, across = column.grid or (column.dots, 1)
        width = _GRID if column.grid else 0.0
        step = _GRID / max(rows, across) if column.grid else min(0.11, (_HEIGHT - 0.1) / column.dots)
        centre = left + width / 2
        x = centre + (numbers % across - (across - 1) / 2) * step
        y = _HEIGHT / 2 - (numbers // across - (rows - 1) / 2) * step
        places.append(np.column_stack([x, y]))
        centres.append(centre)
        steps.append(step)
        left += width + gap
    return np.concatenate(places), centres, steps


def _legend(has_ties: bool) -> list[Line2D]:
    lines = [
        Line2D([], [], color=POSITIVE, label="positive weight"),
        Line2D([], [], color=NEGATIVE, label="negative, the stronger the wider"),
        Line2D([], [], color=_OFF_PATH, linewidth=0.7, label="on no path from input to output"),
        Line2D([], [], color=_UNIT, marker="o", linestyle="", label="unit"),
        Line2D([], [], color=_DEAD, marker="o", markerfacecolor="white", linestyle="", label="dead unit"),
    ]
    tie = Line2D([], [], color=_TIE, linewidth=0.7, linestyle=(0, (1, 3)), label="one unit in several layers")
    return [*lines, tie] if has_ties else lines
