"""Rank correlations of measures with a score, as points with their intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sparsity.analysis.statistics.correlation import RankCorrelation
from sparsity.plotting.canvas import clean, new_figure, plain_label
from sparsity.plotting.marks import mark
from sparsity.plotting.style import WIDTH, figure_in_style, look_of

_ROW = 0.17
"""Inches of a measure."""

_MOST = 40
"""More measures than these are not read in one figure; those with the strongest correlations are drawn."""


@figure_in_style
def rank_correlations_figure(found: Sequence[RankCorrelation]) -> Figure:
    """One row per measure, from the highest correlation to the lowest, filled where the interval leaves 0 out.

    Args:
        found: At least one; of more than 40 the strongest.
    """
    strongest = sorted(found, key=lambda one: -abs(one.rho))[:_MOST]
    rows = sorted(strongest, key=lambda one: one.rho)
    figure = new_figure(WIDTH, 0.7 + _ROW * len(rows))
    axes = figure.subplots()
    clean(axes)
    look = look_of(0)
    axes.axvline(0, color="0.6", linewidth=0.8)
    for place, one in enumerate(rows):
        axes.plot(one.interval, [place, place], "-", color=look.colour, linewidth=1)
        is_clear = not one.interval.low <= 0 <= one.interval.high
        axes.plot(one.rho, place, "o", color=look.colour, markerfacecolor=look.colour if is_clear else "white")
    ends = np.array([[*one.interval, one.rho] for one in rows])
    y = np.arange(len(rows), dtype=np.float64)
    texts = [
        f"{one.measure}: {one.rho:+.2f}, 95 % interval {one.interval.low:+.2f} to {one.interval.high:+.2f} "
        f"(n = {one.runs})"
        for one in rows
    ]
    mark(axes, np.stack([ends.min(1), y, ends.max(1), y], axis=1), [""] * len(rows), texts)
    axes.set_yticks(range(len(rows)), [f"{plain_label(one.measure, 44)} ({one.runs})" for one in rows])
    axes.set(xlim=(-1.05, 1.05), ylim=(-0.7, len(rows) - 0.3), xlabel="Spearman's rank correlation (runs in brackets)")
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    return figure
