"""Methods by their ranks over many blocks: Friedman's test, Nemenyi's critical difference, and who hangs together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
from scipy import stats

from sparsity.errors import SparsityError
from sparsity.graph.weights import FloatArray


@dataclass(frozen=True)
class Ranking:
    """How methods rank (Demsar 2006).

    Args:
        names: Of the methods, from the lowest mean rank, which is the best, to the highest.
        ranks: Their mean ranks, in [1, methods], in that order.
        blocks: Over which they were ranked.
        friedman: The p-value of Friedman's test that all methods are alike; 1 if they tie in all blocks.
        critical_difference: Two mean ranks that are closer cannot be told apart (Nemenyi's test, by its level).
        cliques: Methods of which no two can be told apart, as first and last place among `names`; only those that are
            in no larger one. If Friedman's test sees nothing, it is one with all.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    friedman: float
    critical_difference: float
    cliques: tuple[tuple[int, int], ...]


def ranking(scores: FloatArray, names: Sequence[str], level: float = 0.05) -> Ranking:
    """Rank methods in every block, by Friedman's test (1937) and Nemenyi's (1963) after it.

    Args:
        scores: `[blocks, methods]`, of which more is better; equal ones share their ranks.
        names: Of the methods.
        level: The p-value that is called significant, in (0, 1).

    Raises:
        SparsityError: Of fewer than three methods or two blocks, or scores that are not finite.
    """
    blocks, methods = scores.shape
    if methods < 3 or blocks < 2 or not np.isfinite(scores).all():
        raise SparsityError(f"ranks need finite scores of 3 methods in 2 blocks at least, not of {methods} in {blocks}")
    ranks = stats.rankdata(-scores, axis=1)
    friedman = 1.0 if not np.ptp(ranks, axis=1).any() else float(stats.friedmanchisquare(*scores.T).pvalue)
    means = ranks.mean(axis=0)
    order = np.argsort(means, kind="stable")
    critical = critical_difference(methods, blocks, level)
    ordered = [float(means[k]) for k in order]
    cliques = _cliques(ordered, critical) if friedman < level else ((0, methods - 1),)
    return Ranking(tuple(names[k] for k in order), tuple(ordered), blocks, friedman, critical, cliques)


def critical_difference(methods: int, blocks: int, level: float = 0.05) -> float:
    """How far apart two mean ranks must be (Nemenyi 1963).

    Args:
        methods: Of which each two are compared, at least 2.
        blocks: Over which they were ranked, at least 1.
        level: The p-value that is called significant, in (0, 1).
    """
    studentized = float(stats.studentized_range.ppf(1 - level, methods, np.inf))
    return studentized / sqrt(2) * sqrt(methods * (methods + 1) / (6 * blocks))


def _cliques(ordered: Sequence[float], critical: float) -> tuple[tuple[int, int], ...]:
    close = [(a, b) for a, b in combinations(range(len(ordered)), 2) if ordered[b] - ordered[a] < critical]
    return tuple(
        (a, b) for a, b in close if not any((c, d) != (a, b) and c <= a and b <= d for c, d in close)
    )  # fmt: skip
