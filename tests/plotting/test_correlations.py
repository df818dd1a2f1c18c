import pytest

from sparsity.analysis.statistics.correlation import RankCorrelation
from sparsity.analysis.statistics.intervals import Interval
from sparsity.plotting.correlations import rank_correlations_figure
from tests.plotting.drawing import drawn


def one(name: str, rho: float, low: float, high: float) -> RankCorrelation:
    return RankCorrelation(name, rho, Interval(low, high), 24, 8)


def test_rows_are_sorted_and_filled_where_the_interval_leaves_0_out() -> None:
    figure = rank_correlations_figure([one("high", 0.8, 0.5, 0.9), one("low", -0.7, -0.9, -0.2), one("no", 0.1, -1, 1)])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["low (24)", "no (24)", "high (24)"]
    points = {float(line.get_xdata()[0]): line for line in axes.lines if line.get_marker() == "o"}  # type: ignore[index]
    assert points[0.1].get_markerfacecolor() == "white"
    assert points[0.8].get_markerfacecolor() == points[-0.7].get_markerfacecolor() != "white"


@pytest.mark.parametrize("measures", [1, 60])
def test_any_number_of_measures_is_drawn(measures: int) -> None:
    figure = rank_correlations_figure([one(f"measure {k}", k / 60, -0.5, 1) for k in range(measures)])
    drawn(figure)
    assert len(figure.axes[0].get_yticks()) == min(measures, 40)
