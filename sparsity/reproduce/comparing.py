"""Whether our runs give what was published: the difference of two means and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from scipy import stats

from sparsity.analysis.statistics.intervals import Interval
from sparsity.reproduce.targets import Target

Verdict = Literal["within", "above", "below", "one run"]


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs, in points of accuracy.

    Args:
        mean: Of our runs, less the published figure.
        interval: Where the true difference lies with 95 % confidence; None of one run, or of runs that are all equal.
    """

    mean: float
    interval: Interval | None

    @property
    def verdict(self) -> Verdict:
        """`within` if the interval holds 0, `above` or `below` if all of it does lie there."""
        if self.interval is None:
            return "one run"
        if self.interval.low > 0:
            return "above"
        return "below" if self.interval.high < 0 else "within"


def difference(ours: Sequence[float], target: Target, level: float = 0.95) -> Difference:
    """Compare our runs with a published figure by Welch's t interval.

    Of a figure whose source says the spread but not the number of runs, the degrees of freedom are those of our runs
    alone, which makes the interval longer; a figure without a spread counts as exact.

    Args:
        ours: Accuracies in percent, at least one.
        target: What was published.
        level: Of confidence, in (0, 1).
    """
    mean = fmean(ours) - target.accuracy
    if len(ours) < 2:
        return Difference(mean, None)
    own, published = stdev(ours) ** 2 / len(ours), _variance_of_mean(target)
    variance = own + published
    if variance == 0:
        return Difference(mean, None)
    freedom = float(len(ours) - 1)
    if target.runs is not None and target.runs > 1:
        freedom = variance**2 / (own**2 / (len(ours) - 1) + published**2 / (target.runs - 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * sqrt(variance)
    return Difference(mean, Interval(mean - half, mean + half))


def _variance_of_mean(target: Target) -> float:
    if target.spread is None:
        return 0.0
    if target.spread_is == "error":
        return target.spread**2
    return target.spread**2 / (target.runs or 1)
