"""The one place that says that a method is better than another: nobody else may."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import fmean, stdev

from sparsity.analysis.statistics.intervals import Interval, mean_interval
from sparsity.analysis.statistics.paired import holm, paired_t, sign_flips

LEVEL = 0.05

Scores = Mapping[str, Mapping[str, float]]
"""By method, its score by seed; more is better."""


@dataclass(frozen=True)
class Pair:
    """Two methods over the seeds that both have.

    Args:
        a: One.
        b: The other.
        differences: Scores of `a` minus those of `b`, one per seed.
        p: Of the paired t test; None where it is not defined.
        p_adjusted: The same by Holm's correction over all pairs of the setting.
        p_permutation: Of the test that flips signs, unadjusted; None without a common seed.
        apart: Whether one is better: the intervals of both do not overlap, and `p_adjusted` is below 0.05.
    """

    a: str
    b: str
    differences: tuple[float, ...]
    p: float | None
    p_adjusted: float | None
    p_permutation: float | None
    apart: bool

    @property
    def difference(self) -> float | None:
        """The mean over the seeds."""
        return fmean(self.differences) if self.differences else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a single seed's difference (with n - 1)."""
        return stdev(self.differences) if len(self.differences) > 1 else None


@dataclass(frozen=True)
class Verdict:
    """What can be said of some methods.

    Args:
        means: By method, over its seeds.
        intervals: Of the means, at 95 %; None where there are too few seeds.
        pairs: Every two methods.
    """

    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    pairs: Sequence[Pair]

    @property
    def highest(self) -> str:
        """The method with the highest mean, which says nothing of being better."""
        return max(self.means, key=self.means.__getitem__)

    def not_told_from(self, method: str) -> list[str]:
        """The methods that may be as good as it."""
        others = [(pair, pair.b if pair.a == method else pair.a) for pair in self.pairs if method in (pair.a, pair.b)]
        return [other for pair, other in others if not pair.apart]

    def in_words(self) -> str:
        """Who is best, as a clause; nobody is where intervals overlap or tests do not tell."""
        if len(self.means) < 2:
            return "there is one method only, and nothing to compare it with"
        first = self.highest
        alike = self.not_told_from(first)
        if not alike:
            return f"{first} is better than all others"
        others = ", ".join(alike)
        return f"no method is better than all others; {first} has the highest mean and cannot be told from {others}"


def verdict(scores: Scores) -> Verdict:
    """Compare methods pair by pair over their seeds.

    Args:
        scores: Of one setting; those that are not finite are left out, and methods without any.
    """
    finite = {name: {seed: x for seed, x in found.items() if isfinite(x)} for name, found in scores.items()}
    finite = {name: found for name, found in finite.items() if found}
    intervals = {name: mean_interval(list(found.values())) for name, found in finite.items()}
    names = list(combinations(finite, 2))
    differences = [
        tuple(finite[a][seed] - finite[b][seed] for seed in finite[a] if seed in finite[b]) for a, b in names
    ]
    p_values = [paired_t(found) for found in differences]
    pairs = [
        Pair(a, b, found, p, adjusted, sign_flips(found), _apart(intervals[a], intervals[b], adjusted))
        for (a, b), found, p, adjusted in zip(names, differences, p_values, holm(p_values), strict=True)
    ]
    return Verdict({name: fmean(found.values()) for name, found in finite.items()}, intervals, pairs)


def _apart(a: Interval | None, b: Interval | None, p_adjusted: float | None) -> bool:
    if a is None or b is None or p_adjusted is None:
        return False
    return not a.overlaps(b) and p_adjusted < LEVEL
