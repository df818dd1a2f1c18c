"""Lines over the layers of networks: densities, and any one number of a layer."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sparsity.analysis.topology.density import Densities
from sparsity.formatting import percent
from sparsity.plotting.canvas import (
    axis_scale,
    draw_cross,
    empty_mark,
    line_axes,
    log_percent,
    merged_layers,
    name_axis,
    plain_label,
    tick_percent,
    ticks_for,
    wrapped,
)
from sparsity.plotting.marks import mark_points, mark_slots, of
from sparsity.plotting.style import WIDTH, figure_in_style, looks


@figure_in_style
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
    labels = {name: f"{plain_label(name, 32)} ({percent(network.density)})" for name, network in densities.items()}
    empty = {name: network.collapsed for name, network in densities.items()}
    figure, axes = _layer_lines(values, labels, "density of the layer (kept weights)", percent, empty)
    axes.yaxis.set_major_formatter(FuncFormatter(tick_percent))
    positive = [value for layers in values.values() for value in layers.values() if value > 0]
    if axis_scale(np.array(positive)) == "log":
        axes.set_yscale("log")
        axes.set_ylim(log_percent(axes.yaxis, min(positive), max(positive)))
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
    return figure


@figure_in_style
def layer_lines_figure(values: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """One value per layer, one line per network.

    Args:
        values: By network name, then by layer name; NaN leaves a gap.
        label: What the values are, with their unit.
    """
    return _layer_lines(values, {name: plain_label(name, 48) for name in values}, label, "{:.4g}".format, {})[0]


def _layer_lines(
    values: Mapping[str, Mapping[str, float]],
    labels: Mapping[str, str],
    label: str,
    write: Callable[[float], str],
    empty: Mapping[str, Sequence[str]],
) -> tuple[Figure, Axes]:
    """Lines over the layers; a cross on the floor for those that are `empty`, by name of the line."""
    layers = merged_layers(values.values())
    ticks = ticks_for(layers, (WIDTH - 0.7) / max(1, len(layers)))
    figure, axes = line_axes(labels, [empty_mark()] if any(empty.values()) else [], ticks.room)
    for (name, found), look in zip(values.items(), looks(values), strict=True):
        places = [layers.index(layer) for layer in found]
        size = 4.0 if len(layers) <= 40 else 2.5
        axes.plot(
            places, list(found.values()), look.line, color=look.colour, marker=look.marker, markersize=size,
            gid=of(name),
        )  # fmt: skip
        for layer in empty.get(name, ()):
            draw_cross(axes, layers.index(layer), look, name)
        texts = [f"{name}, {layer}: {write(value)}" for layer, value in found.items()]
        mark_points(axes, places, list(found.values()), name, texts)
    name_axis(axes.xaxis, layers, ticks)
    mark_slots(axes, layers)
    axes.set_xlim(-0.5, max(1, len(layers)) - 0.5)
    axes.set(xlabel="layer", ylabel=wrapped(label, 2.4))
    return figure, axes
