"""Empty figures with their axes, legends, ticks and labels; nothing here knows what is drawn."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator

from sparsity.formatting import percent
from sparsity.graph.weights import Array
from sparsity.plotting.marks import LEGEND, of
from sparsity.plotting.style import DPI, FONT, SMALL, WIDTH, Look, looks

Scale = Literal["linear", "log", "symlog"]


class Ticks(NamedTuple):
    """How names fit under an axis: every `step`-th one, `rotation` degrees, `room` inches high."""

    step: int
    rotation: int
    room: float


def new_figure(width: float, height: float, handles: Sequence[Artist] = ()) -> Figure:
    """A figure with a legend above everything else, whose rows add to the height."""
    columns = max(1, int((width - 0.3) / (text_width([str(h.get_label()) for h in handles]) + 0.6))) if handles else 1
    figure = Figure(figsize=(width, height + 0.17 * math.ceil(len(handles) / columns)), dpi=DPI)
    if handles:
        legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.6)
        legend.set_gid(LEGEND)
        for handle, shown, text in zip(handles, legend.legend_handles, legend.get_texts(), strict=True):
            text.set_gid(handle.get_gid())
            if shown is not None:
                shown.set_gid(handle.get_gid())
    return figure


def line_axes(labels: Mapping[str, str], others: Sequence[Artist] = (), room: float = 0.15) -> tuple[Figure, Axes]:
    """A figure for one line per name, with a legend of their labels, which also explains `others`."""
    handles: list[Artist] = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, label=label, gid=of(name))
        for (name, label), look in zip(labels.items(), looks(labels), strict=True)
    ]
    figure = new_figure(WIDTH, 2.75 + room, [*handles, *others])
    axes = figure.subplots()
    clean(axes)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    return figure, axes


def clean(axes: Axes) -> None:
    """Small thin ticks, below what is drawn."""
    # More ticks are made when the view changes, perhaps outside our style: their looks are given here.
    axes.tick_params(labelsize=SMALL, width=0.6, length=3)
    axes.tick_params(which="minor", width=0.4, length=1.5)
    axes.set_axisbelow(True)


def name_axis(axis: Axis, names: Sequence[str], ticks: Ticks) -> None:
    """Name the places 0, 1, 2, ... of an axis."""
    shown = range(0, len(names), ticks.step)
    axis.set_ticks(shown, [plain_label(names[k]) for k in shown], rotation=ticks.rotation)
    if ticks.rotation == 45:
        for text in axis.get_ticklabels():
            text.set(horizontalalignment="right", rotation_mode="anchor")
    if ticks.step > 1:
        axis.set_ticks(range(len(names)), minor=True)


def ticks_for(names: Sequence[str], slot: float) -> Ticks:
    """How names fit under an axis with `slot` inches for each."""
    width = text_width([plain_label(name) for name in names])
    if width + 0.08 <= slot or not names:
        return Ticks(1, 0, 0.15)
    if slot >= 0.25:
        return Ticks(1, 45, 0.75 * width + 0.1)
    return Ticks(math.ceil(0.125 / slot), 90, width)


def text_width(labels: Sequence[str]) -> float:
    """Inches that the longest of some labels takes."""
    return max(map(len, labels), default=0) * 0.6 * SMALL / 72


def plain_label(name: str, longest: int = 28) -> str:
    """A name as plain text on one line: no formulas, not hidden from legends, long ones without their middle."""
    text = " ".join(name.split())
    if len(text) > longest:
        head = longest // 3
        text = f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def wrapped(label: str, room: float) -> str:
    """An axis label on as many lines as it needs."""
    fitting = max(1, int(room * 72 / (0.6 * FONT)))
    lines = math.ceil(len(label) / fitting)
    # Lines of about equal length read better than a full one and a rest.
    return textwrap.fill(label.replace("$", r"\$"), min(fitting, len(label) // max(1, lines) + 8))


def merged_layers(networks: Iterable[Iterable[str]]) -> list[str]:
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


def tick_percent(value: float, _: object = None) -> str:
    """A share in percent, as a tick label."""
    return percent(value, digits=5)


def log_percent(axis: Axis, low: float, high: float) -> tuple[float, float]:
    """Label a logarithmic axis in percent; its ends around some values, with a labelled tick between them."""
    pad = 1.3 if high > 2 * low else 1.6
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_major_formatter(FuncFormatter(tick_percent))
    axis.set_minor_formatter(NullFormatter())
    return low / pad, high * pad


def axis_scale(values: Array, typical: Array | None = None) -> Scale:
    """Which axis lets values be read that a few large ones would press against the floor of a linear one.

    It is not linear where half of what is typical of the values is less than a tenth of the largest: then
    logarithmic, or, where some values are not positive, linear below the typical ones and logarithmic above (symlog).

    Args:
        values: All that are drawn, of any shape; those not finite do not count.
        typical: What has to be read, such as the medians of samples; the lowest of the values if not given, so that
            single values far apart get a logarithmic axis, too. Only positive ones count.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "linear"
    read = np.atleast_1d(finite.min() if typical is None else typical)
    read = read[read > 0]
    if not read.size or 10 * np.median(read) >= finite.max():
        return "linear"
    return "log" if finite.min() > 0 else "symlog"


def stretch(axes: Axes, scale: Scale, lowest: float, highest: float) -> None:
    """Give an axis upwards a scale of `axis_scale`, with plain numbers at its ticks.

    Args:
        axes: Whose.
        scale: If it is linear, nothing is done.
        lowest: The lowest positive value that has to be read.
        highest: Of the values.
    """
    if scale == "linear":
        return
    subs = (1.0, 2.0, 5.0) if highest < 1000 * lowest else (1.0,)
    if scale == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
    else:
        linear_below = max(lowest, 1e-6 * highest)
        axes.set_yscale("symlog", linthresh=linear_below)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_below, subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def scale_of(arrays: Iterable[Array]) -> Normalize:
    """From the lowest to the highest finite value."""
    finite = np.concatenate([np.zeros(0), *(a[np.isfinite(a)] for a in arrays)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1.0)


def colour_bar(figure: Figure, image: ScalarMappable, axes: list[Axes], label: str) -> None:
    """A colour bar beside some axes."""
    dress_bar(figure.colorbar(image, ax=axes, shrink=0.8, aspect=25), label)


def dress_bar(bar: Colorbar, label: str) -> None:
    """Give a colour bar its label and our looks."""
    bar.set_label(label)
    bar.outline.set_visible(False)
    clean(bar.ax)


def empty_mark() -> Artist:
    """What a legend says of crosses."""
    return Line2D([], [], color="0.4", ls="", marker="x", label="empty")


def draw_cross(axes: Axes, place: float, look: Look, name: str) -> None:
    """Mark a place on the floor of the axes as empty."""
    axes.plot(place, 0.02, "x", color=look.colour, transform=axes.get_xaxis_transform(), clip_on=False, gid=of(name))
