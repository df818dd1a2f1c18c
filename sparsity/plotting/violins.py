"""Distributions by layer, of several networks side by side."""

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sparsity.graph.weights import Array, FloatArray
from sparsity.plotting.canvas import (
    clean,
    draw_cross,
    empty_mark,
    merged_layers,
    name_axis,
    new_figure,
    plain_label,
    ticks_for,
    wrapped,
)
from sparsity.plotting.style import WIDTH, Look, figure_in_style, looks, tint


@figure_in_style
def violin_figure(samples: Mapping[str, Mapping[str, Array]], label: str) -> Figure:
    """The distribution of many values per layer, the networks side by side.

    A violin spans its sample, with a bar from the lower to the upper quartile and a dot at the median; a sample of
    equal values is a line, one without finite values a cross on the floor. Many violins take several rows.

    Args:
        samples: By network name, then by layer name, values of any shape; those not finite are left out.
        label: What the values are, with their unit.
    """
    layers = merged_layers(samples.values())
    rows = max(1, math.ceil(len(layers) * len(samples) * 0.13 / (WIDTH - 0.7)))
    chunks = [list(chunk) for chunk in np.array_split(np.array(layers, dtype=object), min(rows, max(1, len(layers))))]
    slot = (WIDTH - 0.7) / max(1, max(map(len, chunks)))
    ticks = [ticks_for(chunk, slot) for chunk in chunks]
    handles: list[Artist] = [
        Patch(facecolor=tint(look.colour), edgecolor=look.colour, hatch=look.hatch, label=plain_label(name, 40))
        for name, look in zip(samples, looks(), strict=False)
    ]
    if any(not np.isfinite(sample).any() for layers_of in samples.values() for sample in layers_of.values()):
        handles.append(empty_mark())
    room = 2.4 if len(chunks) == 1 else 1.5
    figure = new_figure(WIDTH, 0.15 + sum(room + tick.room for tick in ticks), handles)
    grid = figure.subplots(len(chunks), 1, sharey=True, squeeze=False)[:, 0]
    for axes, chunk, tick in zip(grid, chunks, ticks, strict=True):
        clean(axes)
        name_axis(axes.xaxis, chunk, tick)
        axes.set_xlim(-0.5, max(1, len(chunk)) - 0.5)
        axes.vlines(np.arange(1, len(chunk)) - 0.5, 0, 1, transform=axes.get_xaxis_transform(), color="0.9", lw=0.6)
        for number, (values, look) in enumerate(zip(samples.values(), looks(), strict=False)):
            width = 0.84 / len(samples)
            left = -0.42 + (number + 0.5) * width
            found = {place + left: values[layer] for place, layer in enumerate(chunk) if layer in values}
            _draw_violins(axes, found, 0.9 * width, look)
        axes.set_ylabel(wrapped(label, room))
    grid[-1].set_xlabel("layer")
    return figure


def _draw_violins(axes: Axes, samples: Mapping[float, Array], width: float, look: Look) -> None:
    """One network's samples, by their places."""
    spread: dict[float, FloatArray] = {}
    for place, sample in samples.items():
        values = np.asarray(sample, dtype=np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            draw_cross(axes, place, look)
        elif np.ptp(values) <= max(1e-9 * np.abs(values).max(), 1e-100):  # too alike for a density estimate
            axes.hlines(values[0], place - width / 2, place + width / 2, color=look.colour, linewidth=1.2)
        else:
            spread[place] = values
    if not spread:
        return
    places = list(spread)
    violins = axes.violinplot(list(spread.values()), places, widths=width, showextrema=False)
    for body in cast(list[Collection], violins["bodies"]):
        body.set(facecolor=tint(look.colour), edgecolor=look.colour, linewidth=0.6, hatch=look.hatch, alpha=None)
    low, median, high = np.array([np.percentile(values, [25, 50, 75]) for values in spread.values()]).T
    axes.vlines(places, low, high, color="black", linewidth=1.0)
    for place, middle in zip(places, median, strict=True):
        axes.plot(place, middle, "o", color="white", markeredgecolor="black", markeredgewidth=0.5, markersize=2.5)
