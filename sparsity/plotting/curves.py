"""Accuracy against density, and values against epochs, of the runs of several methods."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparsity.analysis.landscape.linear_path import LinearPath
from sparsity.formatting import mean_and_deviation, percent
from sparsity.graph.weights import FloatArray
from sparsity.plotting.canvas import (
    axis_scale,
    line_axes,
    log_percent,
    plain_label,
    stretch,
    tick_percent,
    wrapped,
)
from sparsity.plotting.marks import mark_points, of
from sparsity.plotting.style import figure_in_style, looks


@figure_in_style
def learning_curves_figure(curves: Mapping[str, Sequence[Mapping[int, float]]], label: str) -> Figure:
    """Values against epochs for several runs of each method: thin lines for the runs, a thick one for their mean.

    The axis is logarithmic where `axis_scale` says so; the mean covers the epochs that all runs of the method have.

    Args:
        curves: By method, of each of its runs the values by epoch; those not finite leave gaps.
        label: What the values are; percent if they are an accuracy in [0, 1].
    """
    figure, axes = line_axes({name: plain_label(name, 48) for name in curves})
    write = "{:.2%}".format if "accuracy" in label else "{:.4g}".format
    for number, ((name, runs), look) in enumerate(zip(curves.items(), looks(curves), strict=True)):
        shared = [epoch for epoch in (runs[0] if runs else ()) if all(epoch in run for run in runs)]
        every = max(1, len(shared) // 10)
        # Markers of different methods at different epochs, or they would hide each other.
        markers = (number * every // len(curves), every)
        means = [float(np.mean([run[epoch] for run in runs])) for epoch in shared]
        axes.plot(shared, means, look.line, color=look.colour, marker=look.marker, markevery=markers, gid=of(name))
        for run in runs if len(runs) > 1 else ():
            axes.plot(list(run), list(run.values()), "-", color=look.colour, linewidth=0.5, alpha=0.45, gid=of(name))
        marked = {
            epoch: mean for epoch, mean in zip(shared[markers[0] :: every], means[markers[0] :: every], strict=True)
            if math.isfinite(mean)
        }  # fmt: skip
        spread = [mean_and_deviation([run[epoch] for run in runs], write) for epoch in marked]
        texts = [f"{name}, epoch {epoch}: {text} (n = {len(runs)})" for epoch, text in zip(marked, spread, strict=True)]
        mark_points(axes, list(marked), list(marked.values()), name, texts)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    found = np.array([value for runs in curves.values() for run in runs for value in run.values()])
    if "accuracy" in label:
        axes.yaxis.set_major_formatter(FuncFormatter(tick_percent))
    else:
        found = found[np.isfinite(found)]
        stretch(axes, axis_scale(found), found[found > 0].min(initial=np.inf), found.max(initial=0))
    axes.set(xlabel="epoch", ylabel=wrapped(label, 2.4))
    return figure


@figure_in_style
def linear_paths_figure(paths: Mapping[str, LinearPath]) -> Figure:
    """Accuracy against the place on the straight line between two networks.

    Args:
        paths: By what was done to the second network.
    """
    figure, axes = line_axes({name: plain_label(name, 48) for name in paths})
    for path, look in zip(paths.values(), looks(paths), strict=True):
        every = max(1, len(path.positions) // 10)
        axes.plot(path.positions, path.accuracies, look.line, color=look.colour, marker=look.marker, markevery=every)
    axes.yaxis.set_major_formatter(FuncFormatter(tick_percent))
    axes.set(xlabel="share of the second network's weights", ylabel="test accuracy")
    return figure


@figure_in_style
def accuracy_density_figure(
    points: Mapping[str, Sequence[tuple[float, float]]], label: str = "density (kept weights)"
) -> Figure:
    """Accuracy against density, one line per method: means over runs of equal density, with standard deviations.

    Densities within one percent of each other count as equal: methods may keep a few weights more or fewer.

    Args:
        points: By method, pairs of density and accuracy, both in [0, 1], in any order; density 0 has no place on a
            logarithmic axis and is left out, as are accuracies that are not finite.
        label: What stands in the place of density, if it is another share.
    """
    figure, axes = line_axes({name: plain_label(name, 48) for name in points})
    drawn = [_equal_densities(pairs) for pairs in points.values()]
    for name, groups, look in zip(points, drawn, looks(points), strict=True):
        density, accuracy = ([group[:, k].mean() for group in groups] for k in (0, 1))
        spread = [group[:, 1].std(ddof=1) if len(group) > 1 else np.nan for group in groups]
        bars = axes.errorbar(
            density, accuracy, spread, fmt=look.marker + look.line, color=look.colour, capsize=2, elinewidth=0.8
        )
        for artist in bars.get_children():
            artist.set_gid(of(name))
        texts = [
            f"{name} at {percent(share)}: {mean_and_deviation((100 * group[:, 1]).tolist(), '{:.2f}'.format, ' %')} "
            f"(n = {len(group)})"
            for share, group in zip(density, groups, strict=True)
        ]
        mark_points(axes, density, accuracy, name, texts)
    axes.yaxis.set_major_formatter(FuncFormatter(tick_percent))
    axes.set(xlabel=label, ylabel="accuracy (mean ± standard deviation)")
    found = [density for groups in drawn for group in groups for density in group[:, 0]]
    if found:
        axes.set_xscale("log")
        axes.set_xlim(log_percent(axes.xaxis, min(found), max(found)))
    return figure


def _equal_densities(pairs: Sequence[tuple[float, float]]) -> list[FloatArray]:
    shown = sorted(pair for pair in pairs if pair[0] > 0 and math.isfinite(pair[1]))
    ordered = np.array(shown, dtype=np.float64).reshape(-1, 2)
    jumps = [k + 1 for k, (a, b) in enumerate(pairwise(ordered[:, 0])) if b > 1.01 * a]
    return [group for group in np.split(ordered, jumps) if len(group)]
