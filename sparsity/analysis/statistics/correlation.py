"""Which numbers rank networks as their accuracy does."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparsity.analysis.statistics.intervals import Interval, bca, members_of, resamples
from sparsity.graph.weights import FloatArray

FEWEST_RUNS = 8
"""Fewer runs do not tell any rank correlation."""

_AT_ONCE = 250
"""Resamples whose ranks are in memory together."""

FEWEST_GROUPS = 5
"""Fewer groups than these cannot be drawn with replacement; their runs are drawn instead."""


@dataclass(frozen=True)
class RankCorrelation:
    """How alike a measure and a score rank runs.

    Args:
        measure: Its name.
        rho: Spearman's rank correlation, in [-1, 1].
        interval: Where it may lie, at 95 %.
        runs: So many stand behind it.
        groups: So many they were drawn in: methods, or single runs where there are few methods.
    """

    measure: str
    rho: float
    interval: Interval
    runs: int
    groups: int


def rank_correlations(
    measures: Mapping[str, Sequence[float]], scores: Sequence[float], groups: Sequence[str]
) -> list[RankCorrelation]:
    """Rank correlation of every measure with a score, with BCa bootstrap intervals.

    Runs of one group (a method) are more alike than others, so groups are drawn whole; intervals are then as wide as
    few methods make them, however many seeds there are.

    Args:
        measures: By name, one number per run; NaN where the run does not have it.
        scores: One per run, finite.
        groups: The group of each run.

    Returns:
        In the order of the measures, without those that fewer than `FEWEST_RUNS` runs have, or that are all equal.
    """
    alike: dict[bytes, list[str]] = defaultdict(list)
    arrays = {name: _without_rounding(values) for name, values in measures.items()}
    for name, values in arrays.items():
        alike[np.isfinite(values).tobytes()].append(name)
    found: dict[str, RankCorrelation] = {}
    for names in alike.values():
        known = np.flatnonzero(np.isfinite(arrays[names[0]]))
        varying = [name for name in names if np.ptp(arrays[name][known]) > 0] if len(known) >= FEWEST_RUNS else []
        target = np.asarray(scores, dtype=np.float64)[known]
        if varying and np.ptp(target) > 0:
            table = np.stack([arrays[name][known] for name in varying])
            for one in _correlations(varying, table, target, [groups[int(k)] for k in known]):
                found[one.measure] = one
    return [found[name] for name in measures if name in found]


def _without_rounding(values: Sequence[float]) -> FloatArray:
    """To 10 significant digits: what sums leave of equal numbers must not rank them."""
    return np.array([float(f"{value:.10g}") for value in values])


def _correlations(
    names: Sequence[str], table: FloatArray, scores: FloatArray, groups: Sequence[str]
) -> list[RankCorrelation]:
    drawn: Sequence[object] = groups if len(set(groups)) >= FEWEST_GROUPS else range(len(groups))
    members = members_of(drawn)
    everything = np.arange(len(scores))
    estimate = spearman(table, scores)
    replicates = _of_each(list(resamples(drawn, "spearman")), table, scores)
    without = [np.setdiff1d(everything, group) for group in members]
    jackknife = np.stack([spearman(table[:, rest], scores[rest]) for rest in without])
    ends = bca(estimate, replicates, jackknife)
    return [
        RankCorrelation(name, float(rho), Interval(float(low), float(high)), len(scores), len(members))
        for name, rho, (low, high) in zip(names, estimate, ends, strict=True)
    ]


def _of_each(draws: Sequence[NDArray[np.intp]], table: FloatArray, scores: FloatArray) -> FloatArray:
    """Spearman's correlations of resamples, `[resamples, measures]`."""
    found = np.empty((len(draws), len(table)))
    of_length: dict[int, list[int]] = defaultdict(list)  # groups that are drawn whole may differ in size
    for number, draw in enumerate(draws):
        of_length[len(draw)].append(number)
    for numbers in of_length.values():
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            chosen = np.stack([draws[number] for number in some])
            found[some] = spearman(table[:, chosen].swapaxes(0, 1), scores[chosen])
    return found


def spearman(table: FloatArray, scores: FloatArray) -> FloatArray:
    """Spearman's rank correlation (1904) of each row with some scores; equal numbers share their ranks.

    Args:
        table: `[..., measures, runs]`.
        scores: `[..., runs]`.

    Returns:
        `[..., measures]`, in [-1, 1]; NaN where a row or the scores are all equal.
    """
    ranks = stats.rankdata(np.concatenate([table, scores[..., None, :]], axis=-2), axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=-1))
    lengths[lengths == 0] = np.nan
    products = (ranks[..., :-1, :] * ranks[..., -1:, :]).sum(axis=-1)
    rho: FloatArray = np.clip(products / (lengths[..., :-1] * lengths[..., -1:]), -1, 1)
    return rho
