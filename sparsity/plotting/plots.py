"""Figures of the analysis, for a paper or a dashboard; the only module that imports matplotlib.

Every function returns a free `Figure` that pyplot knows nothing of: no display is needed, nothing has to be closed,
and the caller's matplotlib settings neither matter nor change. Names of networks and layers become labels as they
are. Networks differ in colour (Okabe and Ito's, safe for the colour-blind) and in marker, line style or hatch, so that
nothing is lost in greyscale; for the same reason images use a map that only ever grows lighter.
"""

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from matplotlib import colormaps, style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sparsity.analysis.topology.density import Densities
from sparsity.analysis.topology.kernels import CommonKernels
from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, FloatArray

_COLOURS = ("#0072B2", "#E69F00", "#000000", "#D55E00", "#56B4E9", "#009E73", "#CC79A7")
_LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "||||", "oooo", "//..", "\\\\--", "||..")

_WIDTH = 7.0  # inches: the text of a page
_DPI = 150  # hinting makes text a little wider at some resolutions: laid out and saved at the same
_FONT = 8.0  # points
_SMALL = 7.0
_STYLE = {
    "font.size": _FONT,
    "axes.labelsize": _FONT,
    "axes.titlesize": _FONT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": _SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
}

_LONG_NUMBER = re.compile(rb"([1-9]\d*\.\d\d)\d+")  # a coordinate; scale factors begin with 0

_Kind = TypeVar("_Kind")
_P = ParamSpec("_P")


class _Look(NamedTuple):
    colour: str
    line: Literal["-", "--", "-.", ":"]
    marker: str
    hatch: str


# Lightness grows evenly from the most negative to the most positive, which keeps the sign in greyscale.
_SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    [
        (0.0, "#04123C"),
        (0.25, "#17479E"),
        (0.45, "#5D7BA8"),
        (0.5, "#8C8C8C"),
        (0.55, "#AE9C62"),
        (0.75, "#EDBB22"),
        (1.0, "#FFFBD0"),
    ],
)


class _Ticks(NamedTuple):
    """How names fit under an axis: every `step`-th one, `rotation` degrees, `room` inches high."""

    step: int
    rotation: int
    room: float


def _figure_in_style(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let a function draw in our style, and fix the layout of its figure."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style.context(["default", _STYLE]):
            figure = draw(*args, **kwargs)
            # A constrained layout starts from the last one and shifts with every drawing: lay out once.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return drawn


@_figure_in_style
def density_figure(densities: Mapping[str, Densities]) -> Figure:
    """Density of every layer, one line per network, the overall density in the legend.

    The axis is logarithmic where densities span more than a factor of ten; layers that keep nothing are marked on
    its floor.

    Args:
        densities: By network name.
    """
    values = {
        name: {layer: found.density or np.nan for layer, found in network.layers.items()}
        for name, network in densities.items()
    }
    labels = [f"{_label(name, 32)} ({_share(network.density)})" for name, network in densities.items()]
    empty = {name: network.collapsed for name, network in densities.items()}
    figure, axes = _layer_lines(values, labels, "density of the layer (kept weights)", empty)
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    positive = [value for layers in values.values() for value in layers.values() if value > 0]
    if positive and max(positive) > 10 * min(positive):
        axes.set_yscale("log")
        axes.set_ylim(_log_percent(axes.yaxis, min(positive), max(positive)))
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
    return figure


@_figure_in_style
def layer_lines_figure(values: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """One value per layer, one line per network.

    Args:
        values: By network name, then by layer name; NaN leaves a gap.
        label: What the values are, with their unit.
    """
    return _layer_lines(values, [_label(name, 48) for name in values], label, {})[0]


@_figure_in_style
def violin_figure(samples: Mapping[str, Mapping[str, Array]], label: str) -> Figure:
    """The distribution of many values per layer, the networks side by side.

    A violin spans its sample, with a bar from the lower to the upper quartile and a dot at the median; a sample of
    equal values is a line, one without finite values a cross on the floor. Many violins take several rows.

    Args:
        samples: By network name, then by layer name, values of any shape; those not finite are left out.
        label: What the values are, with their unit.
    """
    layers = _merged(samples.values())
    rows = max(1, math.ceil(len(layers) * len(samples) * 0.13 / (_WIDTH - 0.7)))
    chunks = [list(chunk) for chunk in np.array_split(np.array(layers, dtype=object), min(rows, max(1, len(layers))))]
    slot = (_WIDTH - 0.7) / max(1, max(map(len, chunks)))
    ticks = [_ticks(chunk, slot) for chunk in chunks]
    handles: list[Artist] = [
        Patch(facecolor=_tint(look.colour), edgecolor=look.colour, hatch=look.hatch, label=_label(name, 40))
        for name, look in zip(samples, _looks(), strict=False)
    ]
    if any(not np.isfinite(sample).any() for layers_of in samples.values() for sample in layers_of.values()):
        handles.append(_empty())
    room = 2.4 if len(chunks) == 1 else 1.5
    figure = _figure(_WIDTH, 0.15 + sum(room + tick.room for tick in ticks), handles)
    grid = figure.subplots(len(chunks), 1, sharey=True, squeeze=False)[:, 0]
    for axes, chunk, tick in zip(grid, chunks, ticks, strict=True):
        _clean(axes)
        _name_axis(axes.xaxis, chunk, tick)
        axes.set_xlim(-0.5, max(1, len(chunk)) - 0.5)
        axes.vlines(np.arange(1, len(chunk)) - 0.5, 0, 1, transform=axes.get_xaxis_transform(), color="0.9", lw=0.6)
        for number, (values, look) in enumerate(zip(samples.values(), _looks(), strict=False)):
            for place, layer in enumerate(chunk):
                if layer in values:
                    width = 0.84 / len(samples)
                    _violin(axes, values[layer], place - 0.42 + (number + 0.5) * width, 0.9 * width, look)
        axes.set_ylabel(_wrapped(label, room))
    grid[-1].set_xlabel("layer")
    return figure


@_figure_in_style
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
    n = len(names)
    if n == 0 or matrix.shape != (n, n):
        raise SparsityError(f"a labelled matrix has one name per row and column, not {n} for {list(matrix.shape)}")
    side = min(max(0.45 * n, 1.8), 6.0)
    slot = side / n
    ticks = _ticks(names, slot)
    figure = _figure(
        side + _text_width([_label(name) for name in names]) + 1.1, side + ticks.room + (0.6 if title else 0.3)
    )
    axes = figure.subplots()
    _clean(axes)
    values = np.ma.masked_invalid(matrix.astype(np.float64))
    norm = Normalize(*value_range) if value_range else _scale([matrix])
    image = axes.imshow(values, _colours(), norm)
    _name_axis(axes.xaxis, names, ticks)
    _name_axis(axes.yaxis, names, ticks._replace(rotation=0))
    _hatch(axes, np.argwhere(np.ma.getmaskarray(values)))
    if slot > 0.36:
        _write_cells(axes, values, norm)
    axes.spines[:].set_visible(False)
    axes.set_title(_label(title, 80))
    _colour_bar(figure, image, [axes], _wrapped(label, 0.8 * side))
    return figure


@_figure_in_style
def first_layer_figure(maps: Mapping[str, Array]) -> Figure:
    """First-layer sums as images on one scale, symmetric around 0; colour channels side by side.

    Args:
        maps: By network name, `[channels, height, width]` or `[height, width]`.
    """
    rows = _panels(maps)
    columns = max(map(len, rows), default=1)
    figure = _figure(columns * 1.55 + 0.8, max(1, len(rows)) * 1.75)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    limit = max((np.abs(array[np.isfinite(array)]).max(initial=0.0) for array in maps.values()), default=0.0) or 1.0
    norm = Normalize(-limit, limit)
    for places, row in zip(grid, rows, strict=False):
        for axes, (title, image) in zip(places, row, strict=False):
            axes.imshow(np.ma.masked_invalid(image), _SIGNED, norm)
            axes.set_title(title, fontsize=_SMALL)
    _colour_bar(
        figure,
        ScalarMappable(norm, _SIGNED),
        list(grid.flat),
        _wrapped("sum of weights over the units", len(grid) * 1.3),
    )
    return figure


@_figure_in_style
def kernel_sheet(kernels: Mapping[str, CommonKernels], top: int = 12) -> Figure:
    """The most common kernel patterns, one row per network; dark where a weight is kept.

    Args:
        kernels: By network name.
        top: How many patterns of each network.
    """
    columns = max(1, min(top, 12))
    tile = (_WIDTH - 0.2) / 12
    pitch = 1 + 0.35 / tile  # a pattern and two lines of text, in tiles
    rows = [max(1, math.ceil(min(top, len(common.counts)) / columns)) for common in kernels.values()] or [1]
    figure = _figure(columns * tile + 0.2, sum(rows) * pitch * tile + 0.25 * len(rows))
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, count in zip(grid, rows, strict=True):
        axes.set_axis_off()
        axes.set(xlim=(0, columns), ylim=(count * pitch, 0), aspect="equal", anchor="NW")
    for axes, (name, common) in zip(grid, kernels.items(), strict=False):
        axes.set_title(f"{_label(name, 60)} ({common.total:,} kernels)", loc="left", fontsize=_SMALL)
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
                fontsize=_SMALL - 1,
            )
    return figure


@_figure_in_style
def learning_curves_figure(curves: Mapping[str, Sequence[Mapping[int, float]]], label: str) -> Figure:
    """Values against epochs for several runs of each method: thin lines for the runs, a thick one for their mean.

    The axis is logarithmic where values are positive and span more than a factor of ten; the mean covers the epochs
    that all runs of the method have.

    Args:
        curves: By method, of each of its runs the values by epoch; those not finite leave gaps.
        label: What the values are; percent if they are an accuracy in [0, 1].
    """
    figure, axes = _lines([_label(name, 48) for name in curves])
    for number, (runs, look) in enumerate(zip(curves.values(), _looks(), strict=False)):
        shared = [epoch for epoch in (runs[0] if runs else ()) if all(epoch in run for run in runs)]
        every = max(1, len(shared) // 10)
        # Markers of different methods at different epochs, or they would hide each other.
        markers = (number * every // len(curves), every)
        axes.plot(
            shared,
            [np.mean([run[epoch] for run in runs]) for epoch in shared],
            look.line,
            color=look.colour,
            marker=look.marker,
            markevery=markers,
        )
        for run in runs if len(runs) > 1 else ():
            axes.plot(list(run), list(run.values()), "-", color=look.colour, linewidth=0.5, alpha=0.45)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    found = [value for runs in curves.values() for run in runs for value in run.values() if math.isfinite(value)]
    if "accuracy" in label:
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    elif found and 0 < 10 * min(found) < max(found):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="epoch", ylabel=_wrapped(label, 2.4))
    return figure


@_figure_in_style
def accuracy_density_figure(points: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Accuracy against density, one line per method: means over runs of equal density, with standard deviations.

    Densities within one percent of each other count as equal: methods may keep a few weights more or fewer.

    Args:
        points: By method, pairs of density and accuracy, both in [0, 1], in any order; density 0 has no place on a
            logarithmic axis and is left out, as are accuracies that are not finite.
    """
    figure, axes = _lines([_label(name, 48) for name in points])
    drawn = [_equal_densities(pairs) for pairs in points.values()]
    for groups, look in zip(drawn, _looks(), strict=False):
        density, accuracy = ([group[:, k].mean() for group in groups] for k in (0, 1))
        spread = [group[:, 1].std(ddof=1) if len(group) > 1 else np.nan for group in groups]
        axes.errorbar(
            density, accuracy, spread, fmt=look.marker + look.line, color=look.colour, capsize=2, elinewidth=0.8
        )
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.set(xlabel="density (kept weights)", ylabel="accuracy (mean ± standard deviation)")
    found = [density for groups in drawn for group in groups for density in group[:, 0]]
    if found:
        axes.set_xscale("log")
        axes.set_xlim(_log_percent(axes.xaxis, min(found), max(found)))
    return figure


@_figure_in_style
def feature_map_figure(maps: Array, title: str = "") -> Figure:
    """Feature maps of one layer's units on one scale, numbered.

    Args:
        maps: `[units, height, width]`.
        title: Above the sheet.
    """
    norm = _scale(maps)
    figure, axes = _sheet(list(maps), title, _colours(), norm)
    _colour_bar(figure, ScalarMappable(norm, _colours()), [axes], "response")
    return figure


@_figure_in_style
def patch_sheet(patches: Sequence[Array], title: str = "") -> Figure:
    """The input patch that excites each unit most, numbered; all stretched alike to the range of the values.

    Args:
        patches: By unit, `[channels, height, width]` with one or three channels; sizes may differ.
        title: Above the sheet.
    """
    norm = _scale(patches)
    images = [p[0] if len(p) == 1 else np.asarray(norm(p)).transpose(1, 2, 0) for p in patches]
    return _sheet(images, title, colormaps["gray"], norm)[0]


def save_figure(figure: Figure, path: Path) -> None:
    """Write `path` + `.png` (150 dpi) and `.pdf` (vectors, text as text); the same figure gives the same bytes.

    Args:
        figure: Any figure.
        path: Without suffix; its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "pdf"):
        path.with_name(f"{path.name}.{kind}").write_bytes(figure_bytes(figure, kind))


def figure_bytes(figure: Figure, kind: Literal["png", "pdf", "svg"]) -> bytes:
    """A figure as a file's content: PNG (150 dpi), PDF (text as text) or SVG (text as shapes, no fonts needed).

    The same figure gives the same bytes.

    Args:
        figure: Any figure.
        kind: Of file.
    """
    metadata: dict[str, dict[str, str | None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    content = io.BytesIO()
    with style.context(["default", _STYLE, {"svg.hashsalt": "sparsity"}]):
        figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata[kind])
    if kind == "svg":  # a hundredth of a point is finer than any screen
        return _LONG_NUMBER.sub(rb"\1", content.getvalue())
    return content.getvalue()


def _layer_lines(
    values: Mapping[str, Mapping[str, float]], labels: Sequence[str], label: str, empty: Mapping[str, Sequence[str]]
) -> tuple[Figure, Axes]:
    """Lines over the layers; a cross on the floor for those that are `empty`, by name of the line."""
    layers = _merged(values.values())
    ticks = _ticks(layers, (_WIDTH - 0.7) / max(1, len(layers)))
    figure, axes = _lines(labels, [_empty()] if any(empty.values()) else [], ticks.room)
    for (name, found), look in zip(values.items(), _looks(), strict=False):
        places = [layers.index(layer) for layer in found]
        size = 4.0 if len(layers) <= 40 else 2.5
        axes.plot(places, list(found.values()), look.line, color=look.colour, marker=look.marker, markersize=size)
        for layer in empty.get(name, ()):
            _cross(axes, layers.index(layer), look)
    _name_axis(axes.xaxis, layers, ticks)
    axes.set_xlim(-0.5, max(1, len(layers)) - 0.5)
    axes.set(xlabel="layer", ylabel=_wrapped(label, 2.4))
    return figure, axes


def _lines(labels: Sequence[str], others: Sequence[Artist] = (), room: float = 0.15) -> tuple[Figure, Axes]:
    """A figure for one line per label, with their legend, which also explains `others`."""
    handles: list[Artist] = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, label=label)
        for label, look in zip(labels, _looks(), strict=False)
    ]
    figure = _figure(_WIDTH, 2.75 + room, [*handles, *others])
    axes = figure.subplots()
    _clean(axes)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    return figure, axes


def _figure(width: float, height: float, handles: Sequence[Artist] = ()) -> Figure:
    """A figure with a legend above everything else, whose rows add to the height."""
    columns = max(1, int((width - 0.3) / (_text_width([str(h.get_label()) for h in handles]) + 0.6))) if handles else 1
    # The engine underestimates long tick labels by a few pixels; its default padding would not absorb that.
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(width, height + 0.17 * math.ceil(len(handles) / columns)), layout=layout, dpi=_DPI)
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.6)
    return figure


def _clean(axes: Axes) -> None:
    # More ticks are made when the view changes, perhaps outside our style: their looks are given here.
    axes.tick_params(labelsize=_SMALL, width=0.6, length=3)
    axes.tick_params(which="minor", width=0.4, length=1.5)
    axes.set_axisbelow(True)


def _name_axis(axis: Axis, names: Sequence[str], ticks: _Ticks) -> None:
    shown = range(0, len(names), ticks.step)
    axis.set_ticks(shown, [_label(names[k]) for k in shown], rotation=ticks.rotation)
    if ticks.rotation == 45:
        for text in axis.get_ticklabels():
            text.set(horizontalalignment="right", rotation_mode="anchor")
    axis.set_ticks(range(len(names)), minor=True)


def _ticks(names: Sequence[str], slot: float) -> _Ticks:
    width = _text_width([_label(name) for name in names])
    if width + 0.08 <= slot or not names:
        return _Ticks(1, 0, 0.15)
    if slot >= 0.25:
        return _Ticks(1, 45, 0.75 * width + 0.1)
    return _Ticks(math.ceil(0.125 / slot), 90, width)


def _text_width(labels: Sequence[str]) -> float:
    """Inches that the longest of some labels takes."""
    return max(map(len, labels), default=0) * 0.6 * _SMALL / 72


def _label(name: str, longest: int = 28) -> str:
    """A name as plain text on one line: no formulas, not hidden from legends, long ones without their middle."""
    text = " ".join(name.split())
    if len(text) > longest:
        head = longest // 3
        text = f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _wrapped(label: str, room: float) -> str:
    """An axis label on as many lines as it needs."""
    fitting = max(1, int(room * 72 / (0.6 * _FONT)))
    lines = math.ceil(len(label) / fitting)
    # Lines of about equal length read better than a full one and a rest.
    return textwrap.fill(label.replace("$", r"\$"), min(fitting, len(label) // max(1, lines) + 8))


def _merged(networks: Iterable[Iterable[str]]) -> list[str]:
    """All layers of some networks in forward order, as far as they agree on one."""
    names: list[str] = []
    for layers in (list(layers) for layers in networks):
        place = 0 if set(layers) & set(names) else len(names)
        for layer in layers:
            if layer in names:
                place = names.index(layer)
            else:
                names.insert(place, layer)
            place += 1
    return names


def _looks() -> Iterator[_Look]:
    number = 0
    while True:
        yield _Look(_nth(_COLOURS, number), _nth(_LINES, number), _nth(_MARKERS, number), _nth(_HATCHES, number))
        number += 1


def _nth(kinds: tuple[_Kind, ...], number: int) -> _Kind:
    return kinds[number % len(kinds)]


def _tint(colour: str) -> tuple[float, float, float]:
    # Mixed with white instead of translucent: SVG files would lose the hatches.
    red, green, blue = (1 - 0.35 * (1 - int(colour[k : k + 2], 16) / 255) for k in (1, 3, 5))
    return red, green, blue


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.5g} %"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _log_percent(axis: Axis, low: float, high: float) -> tuple[float, float]:
    """Label a logarithmic axis in percent; its ends around some values, with a labelled tick between them."""
    pad = 1.3 if high > 2 * low else 1.6
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_major_formatter(FuncFormatter(_percent))
    axis.set_minor_formatter(NullFormatter())
    return low / pad, high * pad


def _equal_densities(pairs: Sequence[tuple[float, float]]) -> list[FloatArray]:
    shown = sorted(pair for pair in pairs if pair[0] > 0 and math.isfinite(pair[1]))
    ordered = np.array(shown, dtype=np.float64).reshape(-1, 2)
    jumps = [k + 1 for k, (a, b) in enumerate(pairwise(ordered[:, 0])) if b > 1.01 * a]
    return [group for group in np.split(ordered, jumps) if len(group)]


def _violin(axes: Axes, sample: Array, place: float, width: float, look: _Look) -> None:
    values = np.asarray(sample, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        _cross(axes, place, look)
        return
    if np.ptp(values) <= max(1e-9 * np.abs(values).max(), 1e-100):  # too alike for a density estimate
        axes.hlines(values[0], place - width / 2, place + width / 2, color=look.colour, linewidth=1.2)
        return
    bodies = cast(list[Collection], axes.violinplot([values], [place], widths=width, showextrema=False)["bodies"])
    bodies[0].set(facecolor=_tint(look.colour), edgecolor=look.colour, linewidth=0.6, hatch=look.hatch, alpha=None)
    low, median, high = np.percentile(values, [25, 50, 75])
    axes.vlines(place, low, high, color="black", linewidth=1.0)
    axes.plot(place, median, "o", color="white", markeredgecolor="black", markeredgewidth=0.5, markersize=2.5)


def _scale(arrays: Iterable[Array]) -> Normalize:
    """From the lowest to the highest finite value."""
    finite = np.concatenate([np.zeros(0), *(a[np.isfinite(a)] for a in arrays)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1.0)


def _empty() -> Artist:
    """What a legend says of crosses."""
    return Line2D([], [], color="0.4", ls="", marker="x", label="empty")


def _cross(axes: Axes, place: float, look: _Look) -> None:
    axes.plot(place, 0.02, "x", color=look.colour, transform=axes.get_xaxis_transform(), clip_on=False)


def _colours() -> Colormap:
    return colormaps["cividis"].with_extremes(bad="0.85")


def _colour_bar(figure: Figure, image: ScalarMappable, axes: list[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=axes, label=label, shrink=0.8, aspect=25)
    bar.outline.set_visible(False)
    _clean(bar.ax)


def _hatch(axes: Axes, cells: Array) -> None:
    for row, column in cells:
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.85", edgecolor="0.55", hatch="////", linewidth=0)
        )


def _write_cells(axes: Axes, values: Any, norm: Normalize) -> None:
    colours = _colours()(norm(values))
    # Relative luminance; above 0.18 black has the higher contrast (WCAG 2).
    luminance = colours[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    for row, column in np.argwhere(~np.ma.getmaskarray(values)):
        ink = "black" if luminance[row, column] > 0.18 else "white"
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=ink, fontsize=_SMALL)


def _panels(maps: Mapping[str, Array]) -> list[list[tuple[str, Array]]]:
    """Titled images in rows: a network's channels in one row, or single images wrapped."""
    rows = [
        [
            (_label(name, 24) if len(image) == 1 else f"{_label(name, 18)}, {_channel(k, len(image))}", channel)
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
    axes.pcolormesh(*edges, pattern, cmap="Greys", vmin=0, vmax=1.25, edgecolors="0.6", linewidth=0.3)


def _sheet(images: Sequence[Array], title: str, colours: Colormap, norm: Normalize) -> tuple[Figure, Axes]:
    """Numbered tiles, drawn to one scale."""
    columns = max(1, min(len(images), math.ceil(math.sqrt(1.6 * len(images)))))
    rows = max(1, math.ceil(len(images) / columns))
    tile = min(0.8, (_WIDTH - 0.8) / columns)
    figure = _figure(columns * tile + 0.9, rows * tile * 1.2 + (0.4 if title else 0.15))
    axes = figure.subplots()
    axes.set_axis_off()
    size = max((max(image.shape[:2]) for image in images), default=1)
    for number, image in enumerate(images):
        x, y = (number % columns) * 1.1 * size, (number // columns) * 1.25 * size
        height, width = image.shape[:2]
        axes.imshow(image, colours, norm, extent=(x, x + width, y + height, y))
        axes.text(x, y - 0.02 * size, str(number), va="bottom", fontsize=_SMALL - 1)
    axes.set(xlim=(0, columns * 1.1 * size), ylim=(rows * 1.25 * size, -0.2 * size), aspect="equal")
    axes.set_title(_label(title, 80), fontsize=_FONT)
    return figure, axes
