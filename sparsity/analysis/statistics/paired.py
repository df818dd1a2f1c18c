"""Differences of two methods over the seeds that both have: tests, and what is left of them after many."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import stats

from sparsity.graph.weights import FloatArray
from sparsity.seeding import derive_seed

_MOST_ENUMERATED = 16
"""More differences have too many signs to try them all."""

_DRAWS = 100_000
_EQUAL = 1e-9
"""Differences of accuracies closer than this are the same number, written with other last bits."""


def paired_t(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's paired t test (1908).

    It trusts that differences are about normal, which accuracies over seeds are, and can tell with three seeds.

    Args:
        differences: Of two methods, one per seed.

    Returns:
        In [0, 1]; 1 where all differences are 0, and None of fewer than three, or of equal ones, which say nothing of
        their spread.
    """
    array = np.asarray(differences, dtype=np.float64)
    if len(array) < 3:
        return None
    if np.ptp(array) <= _EQUAL:
        return 1.0 if abs(array).max() <= _EQUAL else None
    return float(stats.ttest_1samp(array, 0.0).pvalue)


def sign_flips(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of the permutation test that flips the signs of differences (Fisher 1935).

    Exact whatever their distribution, and unlike Wilcoxon's signed ranks it uses their sizes and minds no ties; but of
    n differences it is never below 2 / 2**n, so that five seeds cannot reach 0.05. All flips are tried of up to 16
    differences, else 100,000 drawn ones.

    Args:
        differences: Of two methods, one per seed.

    Returns:
        In (0, 1]; None of none.
    """
    array = np.asarray(differences, dtype=np.float64)
    if not len(array):
        return None
    found = abs(array.sum()) * (1 - _EQUAL)  # sums in another order differ in their last bits
    if len(array) <= _MOST_ENUMERATED:
        signs: FloatArray = np.array(list(product((-1.0, 1.0), repeat=len(array))))
        return float(np.mean(abs(signs @ array) >= found))
    generator = np.random.default_rng(derive_seed("sign flips", seed=0))
    reached = sum(
        int((abs(generator.choice((-1.0, 1.0), size=(1000, len(array))) @ array) >= found).sum())
        for _ in range(_DRAWS // 1000)
    )
    return (reached + 1) / (_DRAWS + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number (Holm 1979): the share of studies with any false discovery stays below theirs.

    Args:
        p_values: In [0, 1]; tests that were not defined are None, do not count and stay None.

    Returns:
        In the same order, in [0, 1], none below its p-value.
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[place] = largest
    return adjusted
