from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from sparsity.analysis.statistics.intervals import FEWEST, Interval, bca, mean_interval, resamples


def test_intervals_that_share_one_number_overlap() -> None:
    assert Interval(0, 1).overlaps(Interval(1, 2))
    assert Interval(0, 3).overlaps(Interval(1, 2))
    assert not Interval(0, 1).overlaps(Interval(1.1, 2))
    assert not Interval(1.1, 2).overlaps(Interval(0, 1))


def test_few_values_have_students_interval() -> None:
    # Mean 2, deviation 1, t of 2 degrees of freedom 4.302653: 2 ± 4.302653 / sqrt(3).
    found = mean_interval([1.0, 2.0, 3.0])
    assert found == pytest.approx((2 - 2.4841377, 2 + 2.4841377), abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.9], [0.9, 0.9, 0.9]])
def test_values_that_say_nothing_of_their_spread_have_no_interval(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_many_values_have_the_bootstraps_interval_as_scipy_computes_it() -> None:
    values = np.random.default_rng(3).exponential(size=FEWEST + 5)  # skewed, so that both corrections matter
    draws = np.array([values[chosen].mean() for chosen in resamples(range(len(values)), "mean")])
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        method="BCa",
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=draws),
    ).confidence_interval
    assert mean_interval(values.tolist()) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert mean_interval(values.tolist()) == mean_interval(values.tolist())


def test_students_interval_holds_the_mean_of_three_normal_values_95_times_in_100() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 3))
    found = [mean_interval(row.tolist()) for row in values]
    share = np.mean([interval is not None and interval.low <= 0 <= interval.high for interval in found])
    assert abs(share - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_groups_are_drawn_whole() -> None:
    groups = ["a", "b", "a", "c"]
    for chosen in resamples(groups, "test", count=50):
        assert np.count_nonzero(chosen == 0) == np.count_nonzero(chosen == 2)
        assert sum(chosen == 0) + sum(chosen == 1) + sum(chosen == 3) == 3


def test_a_number_that_no_resample_changes_has_an_interval_of_no_width() -> None:
    assert bca(np.ones(1), np.ones((50, 1)), np.ones((4, 1))).tolist() == [[1.0, 1.0]]


def test_resamples_that_are_not_defined_are_left_out() -> None:
    draws = np.linspace(-1, 1, 201)
    both = np.concatenate([draws, np.full(40, np.nan)])
    jackknife = np.array([[-0.1], [0.0], [0.1]])
    expected = bca(np.zeros(1), draws[:, None], jackknife)
    assert bca(np.zeros(1), both[:, None], jackknife) == pytest.approx(expected, abs=1e-12)
