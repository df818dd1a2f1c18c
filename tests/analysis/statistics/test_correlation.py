import numpy as np
import pytest
from scipy import stats

from sparsity.analysis.statistics.correlation import rank_correlations, spearman

RUNS = 9
SCORES = [0.1 * k for k in range(RUNS)]
ALONE = [str(k) for k in range(RUNS)]


def test_rank_correlation_is_scipys() -> None:
    generator = np.random.default_rng(0)
    table, scores = generator.integers(5, size=(3, 12)).astype(float), generator.normal(size=12)
    expected = [stats.spearmanr(row, scores).statistic for row in table]
    assert spearman(table, scores) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_by_hand() -> None:
    # Ranks differ by 1, 1, 0: 1 - 6 * 2 / (3 * 8) = 0.5.
    assert spearman(np.array([[2.0, 1, 3]]), np.array([10.0, 20, 30])) == pytest.approx([0.5])


def test_a_measure_that_ranks_as_the_score_has_rho_1_and_no_width() -> None:
    (up, down) = rank_correlations({"up": [k**3 for k in range(RUNS)], "down": range(RUNS, 0, -1)}, SCORES, ALONE)
    assert (up.rho, *up.interval) == pytest.approx((1, 1, 1))
    assert (down.rho, *down.interval) == pytest.approx((-1, -1, -1))
    assert up.runs == RUNS


def test_measures_of_too_few_runs_and_constant_ones_are_left_out() -> None:
    nan = float("nan")
    found = rank_correlations(
        {"constant": [1.0] * RUNS, "seven": [nan, nan, *range(RUNS - 2)], "eight": [nan, *range(RUNS - 1)]},
        SCORES,
        ALONE,
    )
    assert [(one.measure, one.runs) for one in found] == [("eight", 8)]
    assert rank_correlations({"few": range(7)}, SCORES[:7], ALONE[:7]) == []
    assert rank_correlations({"a": range(RUNS)}, [0.5] * RUNS, ALONE) == []


def test_numbers_that_rounding_alone_tells_apart_are_equal() -> None:
    scores = [float(k) for k in range(12)]
    third = [1 / 3 + k * 1e-16 for k in range(12)]  # as the mean of shares that sum to 1
    assert len(set(third)) > 1
    assert rank_correlations({"a": third}, scores, list("abcdefghijkl")) == []
    tiny = [1e-300 * (k + 1) for k in range(11)] + [float("nan")]
    (found,) = rank_correlations({"a": tiny}, scores, list("abcdefghijkl"))
    assert (found.rho, found.runs) == (pytest.approx(1), 11)


def test_the_interval_holds_the_correlation_of_independent_runs() -> None:
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(40):
        measure, scores = generator.normal(size=(2, 30))
        (found,) = rank_correlations({"x": measure.tolist()}, scores.tolist(), [str(k) for k in range(30)])
        held += found.interval.low <= 0 <= found.interval.high
    assert held >= 34  # of 95 in 100, less three standard errors: 38 - 4.1


def test_seeds_of_a_method_do_not_count_as_runs_of_their_own() -> None:
    generator = np.random.default_rng(2)
    methods = generator.normal(size=(2, 6))
    measure, scores = (np.repeat(row, 10) + generator.normal(0, 0.01, 60) for row in methods)
    groups = np.repeat(list("abcdef"), 10).tolist()
    (by_method,) = rank_correlations({"x": measure.tolist()}, scores.tolist(), groups)
    (by_run,) = rank_correlations({"x": measure.tolist()}, scores.tolist(), [str(k) for k in range(60)])
    assert (by_method.groups, by_run.groups) == (6, 60)
    width = [one.interval.high - one.interval.low for one in (by_method, by_run)]
    assert width[0] > 2 * width[1]


def test_runs_of_few_methods_are_drawn_one_by_one() -> None:
    (found,) = rank_correlations({"x": range(RUNS)}, SCORES[::-1], ["a", "b", "c"] * 3)
    assert found.groups == RUNS
