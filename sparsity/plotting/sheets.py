"""Sheets of images: first layers, kernels, feature maps, patches of inputs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from sparsity.analysis.topology.kernels import CommonKernels
from sparsity.graph.weights import Array
from sparsity.plotting.canvas import colour_bar, new_figure, plain_label, scale_of, wrapped
from sparsity.plotting.marks import ON_COLOUR, mark, of
from sparsity.plotting.style import FONT, SIGNED, SMALL, WIDTH, figure_in_style, value_colours


@figure_in_style
def first_layer_figure(maps: Mapping[str, Array]) -> Figure:
    """First-layer sums as images on one scale, symmetric around 0; colour channels side by side.

    Args:
        maps: By network name, `[channels, height, width]` or `[height, width]`.
    """
    rows = _panels(maps)
    columns = max(map(len, rows), default=1)
    figure = new_figure(columns * 1.55 + 0.8, max(1, len(rows)) * 1.75)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = max((np.abs(array[np.isfinite(array)]).max(initial=0.0) for array in maps.values()), default=0.0) or 1.0
    norm = Normalize(-limit, limit)
    for places, row in zip(grid, rows, strict=False):
        for axes, (name, title, image) in zip(places, row, strict=False):
            axes.set_gid(of(name))
            axes.imshow(np.ma.masked_invalid(image), SIGNED, norm)
            axes.set_title(title, fontsize=SMALL)
            finite = image[np.isfinite(image)]
            if finite.size:
                height, width = image.shape
                whole = np.array([[-0.5, height - 0.5, width - 0.5, -0.5]])
                mark(axes, whole, [name], [f"{title}: sums from {finite.min():.3g} to {finite.max():.3g}"])
    colour_bar(
        figure,
        ScalarMappable(norm, SIGNED),
        list(grid.flat),
        wrapped("sum of weights over the units", len(grid) * 1.3),
    )
    return figure


@figure_in_style
def kernel_sheet(kernels: Mapping[str, CommonKernels], top: int = 12) -> Figure:
    """The most common kernel patterns, one row per network; dark where a weight is kept.

    Args:
        kernels: By network name.
        top: How many patterns of each network.
    """
    columns = max(1, min(top, 12))
    tile = (WIDTH - 0.2) / 12
    pitch = 1 + 0.35 / tile  # a pattern and two lines of text, in tiles
    rows = [max(1, math.ceil(min(top, len(common.counts)) / columns)) for common in kernels.values()] or [1]
    figure = new_figure(columns * tile + 0.2, sum(rows) * pitch * tile + 0.25 * len(rows))
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, count in zip(grid, rows, strict=True):
        axes.set_axis_off()
        axes.set(xlim=(0, columns), ylim=(count * pitch, 0), aspect="equal", anchor="NW")
    for axes, (name, common) in zip(grid, kernels.items(), strict=False):
        axes.set_gid(of(name))
        axes.set_title(f"{plain_label(name, 60)} ({common.total:,} kernels)", loc="left", fontsize=SMALL)
        for number, (pattern, count) in enumerate(zip(common.patterns[:top], common.counts, strict=False)):
            x, y = number % columns + 0.1, number // columns * pitch
            _pattern(axes, x, y, pattern)
            share = f"{100 * count / max(common.total, 1):.2f} %\n{count:,}"
            axes.text(
                x + 0.4,
                y + 0.06 + 0.8 * pattern.shape[0] / max(pattern.shape),
                share,
                ha="center",
                va="top",
                fontsize=SMALL - 1,
            )
    return figure


@figure_in_style
def feature_map_figure(maps: Array, title: str = "") -> Figure:
    """Feature maps of one layer's units on one scale, numbered.

    Args:
        maps: `[units, height, width]`.
        title: Above the sheet.
    """
    norm = scale_of(maps)
    figure, axes = _sheet(list(maps), title, value_colours(), norm)
    colour_bar(figure, ScalarMappable(norm, value_colours()), [axes], "response")
    return figure


@figure_in_style
def patch_sheet(patches: Sequence[Array], title: str = "") -> Figure:
    """The input patch that excites each unit most, numbered; all stretched alike to the range of the values.

    Args:
        patches: By unit, `[channels, height, width]` with one or three channels; sizes may differ.
        title: Above the sheet.
    """
    norm = scale_of(patches)
    images = [p[0] if len(p) == 1 else np.asarray(norm(p)).transpose(1, 2, 0) for p in patches]
    return _sheet(images, title, colormaps["gray"], norm)[0]


def _panels(maps: Mapping[str, Array]) -> list[list[tuple[str, str, Array]]]:
    """Images in rows, each with its network and a title: a network's channels in a row, or single images wrapped."""
    rows = [
        [
            (
                name,
                plain_label(name, 24) if len(image) == 1 else f"{plain_label(name, 18)}, {_channel(k, len(image))}",
                channel,
            )
            for k, channel in enumerate(image)
        ]
        for name, image in ((name, array if array.ndim == 3 else array[None]) for name, array in maps.items())
    ]
    if max(map(len, rows), default=1) > 1:
        return rows
    panels = [panel for row in rows for panel in row]
    columns = math.ceil(len(panels) / max(1, math.ceil(len(panels) / 4)))
    return [panels[k : k + columns] for k in range(0, len(panels), max(1, columns))]


def _channel(number: int, channels: int) -> str:
    return ("red", "green", "blue")[number] if channels == 3 else f"channel {number}"


def _pattern(axes: Axes, x: float, y: float, pattern: Array) -> None:
    """A kernel's 0/1 pattern as a grid, 0.8 wide or high."""
    rows, columns = pattern.shape
    cell = 0.8 / max(rows, columns)
    edges = x + cell * np.arange(columns + 1), y + cell * np.arange(rows + 1)
    axes.pcolormesh(*edges, pattern, cmap="Greys", vmin=0, vmax=1.25, edgecolors="0.6", linewidth=0.3, gid=ON_COLOUR)


def _sheet(images: Sequence[Array], title: str, colours: Colormap, norm: Normalize) -> tuple[Figure, Axes]:
    """Numbered tiles, drawn to one scale."""
    columns = max(1, min(len(images), math.ceil(math.sqrt(1.6 * len(images)))))
    rows = max(1, math.ceil(len(images) / columns))
    tile = min(0.8, (WIDTH - 0.8) / columns)
    figure = new_figure(columns * tile + 0.9, rows * tile * 1.2 + (0.4 if title else 0.15))
    axes = figure.subplots()
    axes.set_axis_off()
    size = max((max(image.shape[:2]) for image in images), default=1)
    for number, image in enumerate(images):
        x, y = (number % columns) * 1.1 * size, (number // columns) * 1.25 * size
        height, width = image.shape[:2]
        axes.imshow(image, colours, norm, extent=(x, x + width, y + height, y))
        axes.text(x, y - 0.02 * size, str(number), va="bottom", fontsize=SMALL - 1)
    axes.set(xlim=(0, columns * 1.1 * size), ylim=(rows * 1.25 * size, -0.2 * size), aspect="equal")
    axes.set_title(plain_label(title, 80), fontsize=FONT)
    return figure, axes
