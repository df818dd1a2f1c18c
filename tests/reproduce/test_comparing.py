from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsity.reproduce.comparing import difference
from sparsity.reproduce.targets import Target


def target(accuracy: float, spread: float | None = None, spread_is: Any = "", runs: float | None = None) -> Target:
    return Target(
        group="g", network="FC", data="MNIST", method="RigL", kind="same", density=0.1, accuracy=accuracy,
        spread=spread, spread_is=spread_is, runs=runs, epochs="1", source="here", select={"pruner": "RigL"},
        epoch="last", cpu_minutes=1, gpu_minutes=1, note="",
    )  # fmt: skip


@pytest.mark.parametrize(("theirs", "verdict"), [(90.0, "above"), (91.9, "within"), (94.0, "below")])
def test_three_runs_against_a_figure_without_spread(theirs: float, verdict: str) -> None:
    # Mean 92, deviation 1: t of two degrees of freedom is 4.303, so the half width is 4.303 / sqrt 3.
    found = difference([91.0, 92.0, 93.0], target(theirs), level=0.5 if theirs != 91.9 else 0.95)
    assert found.mean == pytest.approx(92 - theirs)
    assert found.verdict == verdict
    assert found.interval is not None
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx((4.302653 if theirs == 91.9 else 0.816497) / 3**0.5, rel=1e-6)


@given(
    ours=st.lists(st.floats(80, 99), min_size=2, max_size=6).filter(lambda v: np.std(v) > 1e-3),
    theirs=st.lists(st.floats(80, 99), min_size=2, max_size=6).filter(lambda v: np.std(v) > 1e-3),
)
def test_the_interval_is_that_of_welchs_test(ours: list[float], theirs: list[float]) -> None:
    published = target(float(np.mean(theirs)), float(np.std(theirs, ddof=1)), "deviation", len(theirs))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = difference(ours, published).interval
    assert found is not None
    assert found == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


def test_a_standard_error_is_that_of_the_published_mean() -> None:
    ours = [91.0, 92.0, 93.0]
    by_error = difference(ours, target(92, 0.5, "error", 4)).interval
    by_deviation = difference(ours, target(92, 1.0, "deviation", 4)).interval
    assert by_error == pytest.approx(by_deviation)


def test_a_spread_of_unknown_many_runs_makes_the_interval_no_shorter_than_ours_alone() -> None:
    ours = [91.0, 92.0, 93.0]
    alone, both = (difference(ours, target(92, *spread)).interval for spread in ((None, ""), (0.2, "error")))
    assert alone is not None
    assert both is not None
    assert both.low < alone.low < alone.high < both.high


def test_one_run_or_equal_ones_have_a_difference_and_no_verdict() -> None:
    for ours in ([92.5], [92.5, 92.5]):
        found = difference(ours, target(92))
        assert (found.mean, found.interval, found.verdict) == (0.5, None, "one run")
