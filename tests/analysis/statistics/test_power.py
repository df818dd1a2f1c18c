import numpy as np
import pytest
from scipy import stats

from sparsity.analysis.statistics.power import seeds_needed, t_test_power


@pytest.mark.parametrize(("effect", "count"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_seeds_are_those_of_the_tables(effect: float, count: int) -> None:
    """As G*Power and statsmodels' `TTestPower` have them at 80 % power."""
    assert seeds_needed(effect * 0.3, 0.3) == count
    assert seeds_needed(-effect * 0.3, 0.3) == count


def test_power_is_how_often_the_test_sees_the_difference() -> None:
    samples = np.random.default_rng(0).normal(1.0, 1, (4000, 8))
    seen = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    power = t_test_power(1.0, 8)
    assert abs(seen - power) < 3 * np.sqrt(power * (1 - power) / 4000)


def test_power_is_that_of_statsmodels() -> None:
    theirs = pytest.importorskip("statsmodels.stats.power", reason="statsmodels comes with scikit-posthocs").TTestPower
    assert t_test_power(0.7, 9) == pytest.approx(theirs().power(0.7, 9, 0.05), abs=1e-9)


def test_large_effects_need_three_seeds_and_none_has_no_number() -> None:
    assert seeds_needed(1.0, 0.01) == 3
    assert seeds_needed(0.0, 0.1) is None
    assert seeds_needed(1e-9, 0.1) is None
    assert seeds_needed(0.1, 0.0) is None
