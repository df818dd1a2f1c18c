"""The critical-difference diagram: methods on a line by their mean rank, with bars over those that hang together."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsity.analysis.statistics.ranks import Ranking
from sparsity.plotting.canvas import clean, new_figure, plain_label
from sparsity.plotting.marks import mark_points, of
from sparsity.plotting.style import FONT, SMALL, WIDTH, figure_in_style

_ROW = 0.22
"""Inches of a method's name."""

_BAR = 0.09
"""Inches between bars."""


@figure_in_style
def critical_difference_figure(ranking: Ranking) -> Figure:
    """Mean ranks on an axis, the best on the left, and bars over methods that cannot be told apart (Demsar 2006).

    Args:
        ranking: Of three methods or more.
    """
    methods = len(ranking.names)
    on_the_left = (methods + 1) // 2
    bars = _BAR * (len(ranking.cliques) + 1)
    below = bars + _ROW * on_the_left
    figure = new_figure(WIDTH, below + 0.75)
    axes = figure.subplots()
    clean(axes)
    for side in ("left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.yaxis.set_visible(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(1, methods + 1))
    margin = 0.28 * (methods - 1)  # of names, on either side
    axes.set(xlim=(1 - margin, methods + margin), ylim=(below, -0.3), xlabel="mean rank (1 is the highest accuracy)")
    axes.spines["top"].set_visible(True)
    axes.spines["top"].set_bounds(1, methods)
    for place, (name, rank) in enumerate(zip(ranking.names, ranking.ranks, strict=True)):
        is_left = place < on_the_left
        row = bars + _ROW * (0.5 + (place if is_left else methods - 1 - place))
        end = 1 - 0.02 * methods if is_left else methods + 0.02 * methods
        axes.plot([rank, rank, end], [-0.3, row, row], "-", color="0.35", linewidth=0.7, clip_on=False, gid=of(name))
        mark_points(axes, [rank], [row], name, [f"{name}: mean rank {rank:.2f}"])
        label = f"{plain_label(name, 26)} ({rank:.2f})"
        axes.annotate(
            label, (end, row), (-3 if is_left else 3, 0), textcoords="offset points", fontsize=SMALL,
            ha="right" if is_left else "left", va="center", gid=of(name)
        )  # fmt: skip
    for number, (first, last) in enumerate(ranking.cliques, start=1):
        ends = ranking.ranks[first] - 0.04, ranking.ranks[last] + 0.04
        axes.plot(ends, [_BAR * number - 0.1] * 2, "-", color="black", linewidth=3, solid_capstyle="butt")
    _draw_critical_difference(axes, ranking.critical_difference, margin, below)
    return figure


def _draw_critical_difference(axes: Axes, critical: float, margin: float, below: float) -> None:
    """How far ranks must be apart, as a bar of its length beside the axis."""
    start = 1 - margin
    axes.plot([start, start + critical], [-0.22, -0.22], "|-", color="black", linewidth=1, clip_on=False)
    axes.text(start, -0.15, f"critical difference {critical:.2f}", fontsize=FONT - 1, va="top", ha="left")
