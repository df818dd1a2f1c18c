"""Confidence intervals: by the bootstrap with many values, by Student's t with few."""

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparsity.graph.weights import FloatArray
from sparsity.seeding import derive_seed

FEWEST = 20
"""Values that a bootstrap of their mean needs: of 3 normal ones, 73 % of its intervals of 95 % hold the mean, of 8 ones
88 %, of 20 ones 92 %."""

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """A confidence interval.

    Args:
        low: Its lower end.
        high: Its upper end, at least `low`.
    """

    low: float
    high: float

    def overlaps(self, other: "Interval") -> bool:
        """Whether they have a number in common."""
        return self.low <= other.high and other.low <= self.high


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Where the mean that some values were drawn from may lie.

    Of `FEWEST` values or more, the bias-corrected and accelerated bootstrap (Efron 1987); of fewer Student's t, which
    trusts that they are about normal: a bootstrap draws from what it has seen, and few values have not seen enough.

    Args:
        values: Independent of each other; finite.
        level: Its share of such intervals holds the mean, in (0, 1).

    Returns:
        None of fewer than two values, and of fewer than `FEWEST` that are all equal, which say nothing of their spread.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or (len(array) < FEWEST and not array.std() > 0):
        return None
    if len(array) < FEWEST:
        half = float(stats.t.ppf((1 + level) / 2, len(array) - 1)) * float(array.std(ddof=1)) / sqrt(len(array))
        return Interval(float(array.mean()) - half, float(array.mean()) + half)
    replicates = np.array([array[chosen].mean() for chosen in resamples(range(len(array)), "mean")])
    jackknife = (array.sum() - array) / (len(array) - 1)
    ends = bca(array.mean(keepdims=True), replicates[:, None], jackknife[:, None], level)
    return Interval(*map(float, ends[0]))


def resamples(groups: Sequence[object], *names: object, count: int = RESAMPLES) -> Iterator[NDArray[np.intp]]:
    """Draw groups with replacement, each with all its members: the same draws for the same names.

    Args:
        groups: The group of each value; values of one group are not independent of each other.
        names: What the draws are for.
        count: How many.

    Yields:
        The numbers of the values drawn.
    """
    generator = np.random.default_rng(derive_seed("bootstrap", *names, seed=0))
    members = members_of(groups)
    for draw in generator.integers(len(members), size=(count, len(members))):
        yield np.concatenate([members[k] for k in draw])


def members_of(groups: Sequence[object]) -> list[NDArray[np.intp]]:
    """The numbers of the values in each group, in the order in which groups first appear."""
    return [np.flatnonzero([one == group for one in groups]) for group in dict.fromkeys(groups)]


def bca(estimate: FloatArray, replicates: FloatArray, jackknife: FloatArray, level: float = LEVEL) -> FloatArray:
    """Bias-corrected and accelerated bootstrap intervals (Efron 1987) of several numbers at once.

    Args:
        estimate: `[numbers]`.
        replicates: `[resamples, numbers]`, the same of every resample; those that are NaN are not defined and left out.
        jackknife: `[groups, numbers]`, the same without each group.
        level: Of confidence, in (0, 1).

    Returns:
        `[numbers, 2]`, lower and upper ends.
    """
    known = np.isfinite(replicates).sum(axis=0)
    below = ((replicates < estimate).sum(axis=0) + (replicates <= estimate).sum(axis=0)) / (2 * np.maximum(known, 1))
    bias = stats.norm.ppf(np.clip(below, 0.5 / len(replicates), 1 - 0.5 / len(replicates)))
    away = np.nanmean(jackknife, axis=0) - jackknife
    spread = np.nansum(away**2, axis=0) ** 1.5
    acceleration = np.divide(np.nansum(away**3, axis=0), 6 * spread, out=np.zeros_like(spread), where=spread > 0)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + stats.norm.ppf(tail)
        shares = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        ends.append([_quantile(column, share) for column, share in zip(replicates.T, shares, strict=True)])
    return np.array(ends, dtype=np.float64).T


def _quantile(values: FloatArray, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else float("nan")
