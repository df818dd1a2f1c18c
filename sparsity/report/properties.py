"""Which property of networks tells their accuracy, over all runs of one architecture and density."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from math import nan

from sparsity.analysis.statistics.correlation import FEWEST_GROUPS, FEWEST_RUNS, RankCorrelation, rank_correlations
from sparsity.analysis.topology.network import measures
from sparsity.forks import in_forks
from sparsity.report.networks import Repeats, Setting, TrainedNetwork, setting_labels
from sparsity.report.page import at, details, paragraph, table
from sparsity.report.tables import Table

Properties = Mapping[Setting, Sequence[RankCorrelation]]
"""By setting, of every measure that its runs differ in."""

_AT_START = " (at start)"
_MOST_IN_SIGHT = 20


def properties_of(settings: Mapping[Setting, Repeats]) -> dict[Setting, list[RankCorrelation]]:
    """Correlate every measure of networks with their test accuracy, the density being fixed.

    Measures before the first step are those that runs have noted, those after training are counted in the networks.
    """
    tasks = {
        setting: partial(_correlations, [run for run in chain(*repeats.values()) if run.accuracy is not None])
        for setting, repeats in settings.items()
        if setting.density < 1
    }
    found = dict(zip(tasks, in_forks(list(tasks.values())), strict=True))
    return {setting: told for setting, told in found.items() if told}


def _correlations(runs: Sequence[TrainedNetwork]) -> list[RankCorrelation]:
    if len(runs) < FEWEST_RUNS:
        return []
    known = [_measures(run) for run in runs]
    names = sorted(dict.fromkeys(name for one in known for name in one), key=lambda name: "/" in name)
    table = {name: [one.get(name, nan) for one in known] for name in names}
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    return rank_correlations(table, accuracies, [run.method for run in runs])


def of_whole_networks(found: Sequence[RankCorrelation]) -> list[RankCorrelation]:
    """Without the measures of single layers."""
    return [one for one in found if "/" not in one.measure]


def properties(found: Properties, settings: Mapping[Setting, Repeats]) -> list[str]:
    """The measures of each setting by the strength of their correlation; nothing where there are too few runs."""
    labels = setting_labels(settings)
    if not found:
        return []
    blocks = [
        paragraph(
            "Spearman's rank correlation of a measure with test top-1, over all runs of one density with 95 % BCa "
            f"bootstrap intervals. Runs of a method are drawn together where there are {FEWEST_GROUPS} methods or "
            f"more, else one by one. Measures that fewer than {FEWEST_RUNS} runs have, or that are equal in all, are "
            "left out. Each interval is its own: of twenty measures that say nothing, one leaves out 0 by chance. "
            '"At start" is before the first step, of runs that had their density then; the others are of the trained '
            "network. A correlation is no cause: methods differ in more than what is measured."
        )
    ]
    for setting, told in found.items():
        ordered = sorted(told, key=lambda one: -abs(one.rho))
        whole = of_whole_networks(ordered)
        first, others = whole[:_MOST_IN_SIGHT], [one for one in ordered if one not in whole[:_MOST_IN_SIGHT]]
        shown = [table(properties_table(first, labels[setting]))]
        if others:
            shown.append(details(f"All others, {labels[setting]}", table(properties_table(others, labels[setting]))))
        blocks.append(at(setting.density, *shown))
    return blocks


def properties_table(found: Sequence[RankCorrelation], label: str) -> Table:
    """One row per measure.

    Args:
        found: In order.
        label: What to call the setting.
    """
    rows = [
        [
            one.measure,
            f"{one.rho:+.2f}",
            f"{one.interval.low:+.2f} to {one.interval.high:+.2f}",
            str(one.runs),
            str(one.groups),
        ]
        for one in found
    ]
    return Table(
        label, ("measure", "correlation", "95 % interval", "runs", "drawn in groups"), rows, words=("measure",)
    )


def _measures(run: TrainedNetwork) -> dict[str, float]:
    at_start = {} if run.source.summary is None else run.source.summary.measures_at_start
    return {**measures(run.topology), **{f"{name}{_AT_START}": float(value) for name, value in at_start.items()}}
