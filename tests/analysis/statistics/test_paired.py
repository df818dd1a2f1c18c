import numpy as np
import pytest
from scipy import stats

from sparsity.analysis.statistics.paired import holm, paired_t, sign_flips


def test_the_paired_t_test_is_scipys() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 5))
    assert paired_t(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-12)


def test_the_paired_t_test_by_hand() -> None:
    # Mean 2, standard error 1 / sqrt(3): t = 3.4641; of 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2) = 0.0741799.
    assert paired_t([1.0, 2.0, 3.0]) == pytest.approx(0.0741799, abs=1e-7)


@pytest.mark.parametrize("differences", [[], [0.1, 0.2], [0.1, 0.1, 0.1], [0.3 - 0.2, 0.1, 0.2 - 0.1]])
def test_differences_that_say_nothing_of_their_spread_have_no_t_test(differences: list[float]) -> None:
    assert paired_t(differences) is None


def test_methods_without_a_difference_are_alike() -> None:
    assert paired_t([0.0, 0.0, 0.0]) == 1
    assert sign_flips([0.0, 0.0, 0.0]) == 1


@pytest.mark.parametrize(
    ("differences", "p"),
    # Of 8 sums with signs +-1 +-2 +-3, two reach 6; of +-1 +-2 +-1, six reach 2.
    [([1.0, 2.0, 3.0], 2 / 8), ([1.0, 2.0, -1.0], 6 / 8), ([1.0, -1.0], 1.0), ([0.1] * 6, 2 / 64)],
)
def test_signs_are_flipped_in_all_ways(differences: list[float], p: float) -> None:
    assert sign_flips(differences) == pytest.approx(p, abs=1e-12)


def test_the_permutation_test_is_scipys() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 7))
    theirs = stats.permutation_test((a, b), lambda x, y: np.sum(x - y), permutation_type="samples", n_resamples=1000)
    assert sign_flips(a - b) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_differences_have_drawn_flips_within_three_standard_errors_of_all() -> None:
    values = np.random.default_rng(4).normal(0.2, 1, 17)
    signs = 2.0 * (np.arange(2**17)[:, None] >> np.arange(17) & 1) - 1
    exact = np.mean(abs(signs @ values) >= abs(values.sum()) - 1e-12)
    assert abs(sign_flips(values) - exact) < 3 * np.sqrt(exact * (1 - exact) / 100_000)  # type: ignore[operator]


def test_holms_correction_by_hand() -> None:
    # In order: 4 * .005, 3 * .01, 2 * .03, and .04, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([]) == []
