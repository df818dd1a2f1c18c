"""What a report says of differences in accuracy: with intervals and tests, and no winner without them."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

import numpy as np

from sparsity.analysis.statistics.intervals import Interval
from sparsity.analysis.statistics.power import seeds_needed
from sparsity.analysis.statistics.ranks import Ranking, ranking
from sparsity.analysis.statistics.verdict import Pair, Scores, Verdict, verdict
from sparsity.formatting import NOTHING
from sparsity.report.networks import Repeats, Setting, method_order, setting_labels
from sparsity.report.page import at, details, items, paragraph, table
from sparsity.report.tables import Table, Whose

_POINT = 0.01
_FEWEST_METHODS = 3
_FEWEST_BLOCKS = 5


def significance(settings: Mapping[Setting, Repeats]) -> list[str]:
    """Who is better than whom, with intervals, tests and the seeds that would tell; nothing of single methods."""
    labels = setting_labels(settings)
    verdicts = verdicts_of(settings)
    if not verdicts:
        return []
    tables = [
        at(setting.density, details(f"Every two methods, {labels[setting]}", table(pairs_table(found))))
        for setting, found in verdicts.items()
    ]
    return [
        items([f"At {labels[setting]}: {found.in_words()}." for setting, found in verdicts.items()]),
        paragraph(
            "A method is called better only if the intervals of both means do not overlap and the paired t test over "
            "their common seeds, by Holm's correction for all pairs of the density, is below 0.05."
        ),
        table(intervals_table(verdicts, labels)),
        paragraph(
            "p is of the paired t test, adjusted by Holm's correction; permutation is the exact test that flips signs, "
            "unadjusted, which of n seeds is never below 2 / 2^n. Seeds: how many, run with both methods, the t test "
            "needs to see a difference 4 times in 5, unadjusted: this one, and one of a point."
        ),
        *tables,
    ]


def verdicts_of(settings: Mapping[Setting, Repeats]) -> dict[Setting, Verdict]:
    """What can be said of the methods of each setting; left out are those with one method."""
    verdicts = {setting: verdict(scores(repeats)) for setting, repeats in settings.items()}
    return {setting: found for setting, found in verdicts.items() if found.pairs}


def scores(repeats: Repeats) -> Scores:
    """Test accuracies by method and seed; runs of one seed are averaged, those without one stand alone."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for method, runs in repeats.items():
        for run in runs:
            if run.accuracy is not None:
                found[method][run.source.seed or f"of {run.name}"].append(run.accuracy)
    return {method: {seed: fmean(same) for seed, same in by_seed.items()} for method, by_seed in found.items()}


def ranked(architecture: str, settings: Mapping[Setting, Repeats]) -> Ranking | None:
    """Rank the methods that all densities of an architecture have, over densities and seeds.

    Returns:
        None where there are fewer than 3 such methods, or fewer than 5 blocks, each a density and a seed that all have.
    """
    by_setting = [
        scores(repeats)
        for setting, repeats in settings.items()
        if setting.architecture == architecture and setting.density < 1
    ]
    methods = [name for name in method_order(settings) if by_setting and all(name in found for found in by_setting)]
    if len(methods) < _FEWEST_METHODS:
        return None
    blocks = [
        [found[name][seed] for name in methods]
        for found in by_setting
        for seed in found[methods[0]]
        if all(seed in found[name] for name in methods)
    ]
    return ranking(np.array(blocks), methods) if len(blocks) >= _FEWEST_BLOCKS else None


def intervals_table(verdicts: Mapping[Setting, Verdict], labels: Mapping[Setting, str]) -> Table:
    """One row per setting and method: the mean with its interval, by the setting's words."""
    rows = [
        [name, labels[setting], f"{100 * mean:.2f} %", _interval(found.intervals[name])]
        for setting, found in verdicts.items()
        for name, mean in found.means.items()
    ]
    whose = [Whose((name,), setting.density) for setting, found in verdicts.items() for name in found.means]
    caption = (
        "Mean test top-1 over seeds and where it may lie, at 95 %: by Student's t, of 20 seeds or more by the BCa "
        "bootstrap, cut at 0 and 100 %. A dash: too few seeds, or all equal."
    )
    return Table(caption, ("method", "at", "mean", "95 % interval"), rows, ("method", "at"), whose)


def pairs_table(found: Verdict) -> Table:
    """One row per pair of methods."""
    rows = [
        [
            f"{pair.a} and {pair.b}",
            str(len(pair.differences)),
            NOTHING if pair.difference is None else f"{100 * pair.difference:+.2f}",
            _p(pair.p_adjusted),
            _p(pair.p_permutation),
            "yes" if pair.apart else "no",
            *_seeds(pair),
        ]
        for pair in found.pairs
    ]
    columns = ("methods", "seeds", "difference", "p", "permutation", "told apart", "seeds for it", "seeds for 1 point")
    caption = "Difference of the first to the second in points of test top-1."
    return Table(caption, columns, rows, ("methods",), [Whose((pair.a, pair.b)) for pair in found.pairs])


def _seeds(pair: Pair) -> list[str]:
    if pair.difference is None or pair.deviation is None:
        return [NOTHING, NOTHING]
    found = [seeds_needed(difference, pair.deviation) for difference in (pair.difference, _POINT)]
    return [NOTHING if count is None else f"{count:,}" for count in found]


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{100 * max(0.0, interval.low):.2f} to {100 * min(1.0, interval.high):.2f} %"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"
