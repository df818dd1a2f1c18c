"""Distributions by layer, of several networks side by side."""

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cbook import violin_stats
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.mlab import GaussianKDE
from matplotlib.patches import Patch

from sparsity.graph.weights import Array, FloatArray
from sparsity.plotting.canvas import (
    axis_scale,
    clean,
    draw_cross,
    empty_mark,
    merged_layers,
    name_axis,
    new_figure,
    plain_label,
    stretch,
    ticks_for,
    wrapped,
)
from sparsity.plotting.marks import mark, mark_slots, of
from sparsity.plotting.style import WIDTH, Look, figure_in_style, looks, tint

_POINTS = 40
"""Of an outline; more are not seen, and make files large."""


@figure_in_style
def violin_figure(samples: Mapping[str, Mapping[str, Array]], label: str) -> Figure:
    """The distribution of many values per layer, the networks side by side.

    A violin spans its sample, with a bar from the lower to the upper quartile and a dot at the median; a sample of
    equal values is a line, one without finite values a cross on the floor. Many violins take several rows. The axis is
    the one that `axis_scale` says of all values and the medians.

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
        Patch(
            facecolor=tint(look.colour), edgecolor=look.colour, hatch=look.hatch, label=plain_label(name, 40),
            gid=of(name),
        )
        for name, look in zip(samples, looks(samples), strict=True)
    ]  # fmt: skip
    finite = {name: {layer: _finite(sample) for layer, sample in found.items()} for name, found in samples.items()}
    drawn = [sample for found in finite.values() for sample in found.values()]
    if any(not sample.size for sample in drawn):
        handles.append(empty_mark())
    room = 2.4 if len(chunks) == 1 else 1.5
    figure = new_figure(WIDTH, 0.15 + sum(room + tick.room for tick in ticks), handles)
    grid = figure.subplots(len(chunks), 1, sharey=True, squeeze=False)[:, 0]
    for axes, chunk, tick in zip(grid, chunks, ticks, strict=True):
        clean(axes)
        name_axis(axes.xaxis, chunk, tick)
        axes.set_xlim(-0.5, max(1, len(chunk)) - 0.5)
        axes.vlines(np.arange(1, len(chunk)) - 0.5, 0, 1, transform=axes.get_xaxis_transform(), color="0.9", lw=0.6)
        axes.set_ylabel(wrapped(label, room))
        _stretch(axes, drawn)
        mark_slots(axes, chunk)
        for number, ((name, values), look) in enumerate(zip(finite.items(), looks(finite), strict=True)):
            width = 0.84 / len(samples)
            left = -0.42 + (number + 0.5) * width
            places = {layer: place + left for place, layer in enumerate(chunk) if layer in values}
            _draw_violins(axes, name, {layer: values[layer] for layer in places}, places, 0.9 * width, look)
    grid[-1].set_xlabel("layer")
    return figure


def _finite(sample: Array) -> FloatArray:
    values = np.asarray(sample, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def _stretch(axes: Axes, samples: list[FloatArray]) -> None:
    values = np.concatenate([np.zeros(0), *samples])
    medians = np.array([np.median(sample) for sample in samples if sample.size])
    stretch(axes, axis_scale(values, medians), medians[medians > 0].min(initial=np.inf), values.max(initial=0))


def _draw_violins(
    axes: Axes,
    name: str,
    samples: Mapping[str, FloatArray],
    places: Mapping[str, float],
    width: float,
    look: Look,
) -> None:
    """One network's samples, by layer."""
    spread: list[str] = []
    for layer, values in samples.items():
        place = places[layer]
        if not values.size:
            draw_cross(axes, place, look, name)
        elif np.ptp(values) <= max(1e-9 * np.abs(values).max(), 1e-100):  # too alike for a density estimate
            axes.hlines(values[0], place - width / 2, place + width / 2, color=look.colour, linewidth=1.2, gid=of(name))
        else:
            spread.append(layer)
    full = [layer for layer, values in samples.items() if values.size]
    if not full:
        return
    # Low, quartiles and high of each sample.
    numbers = np.array([np.percentile(samples[layer], [0, 25, 50, 75, 100]) for layer in full])
    x = np.array([places[layer] for layer in full])
    boxes = np.stack([x - width / 2, numbers[:, 0], x + width / 2, numbers[:, 4]], axis=1)
    texts = [
        f"{name}, {layer}: median {median:.4g}, middle half {lower:.4g} to {upper:.4g}, all {low:.4g} to {high:.4g} "
        f"(n = {samples[layer].size:,})"
        for layer, (low, lower, median, upper, high) in zip(full, numbers, strict=True)
    ]
    mark(axes, boxes, [name] * len(full), texts)
    if not spread:
        return
    inner = numbers[np.isin(full, spread)]
    x = x[np.isin(full, spread)]
    violins = axes.violin(_outlines(axes, [samples[layer] for layer in spread]), x, widths=width, showextrema=False)
    for body in cast(list[Collection], violins["bodies"]):
        body.set(
            facecolor=tint(look.colour), edgecolor=look.colour, linewidth=0.6, hatch=look.hatch, alpha=None,
            gid=of(name),
        )  # fmt: skip
    axes.vlines(x, inner[:, 1], inner[:, 3], color="black", linewidth=1.0, gid=of(name))
    for place, median in zip(x, inner[:, 2], strict=True):
        axes.plot(
            place, median, "o", color="white", markeredgecolor="black", markeredgewidth=0.5, markersize=2.5,
            gid=of(name),
        )  # fmt: skip


def _outlines(axes: Axes, samples: list[FloatArray]) -> list[dict[str, FloatArray]]:
    """Densities as the axis shows them: estimated on its own scale, or a logarithmic one would bend them."""
    scale = axes.yaxis.get_transform()
    seen = [scale.transform(values) for values in samples]
    found = violin_stats(seen, lambda values, at: GaussianKDE(values).evaluate(at), points=_POINTS)
    back = scale.inverted()
    for one, values in zip(found, samples, strict=True):
        one["coords"] = back.transform(one["coords"])
        one |= {"min": values.min(), "max": values.max()}
    return found
