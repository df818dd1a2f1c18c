"""What the runs show, in three sentences: who is better, what cannot be told apart, and what went wrong.

Who is better is said by `sparsity.analysis.statistics.verdict` alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparsity.analysis.statistics.verdict import Verdict
from sparsity.formatting import listed, percent
from sparsity.report.networks import Repeats, Setting, setting_labels
from sparsity.report.significance import verdicts_of
from sparsity.runs.summary import is_reached


class Failure(NamedTuple):
    """What went wrong with a run.

    Args:
        method: Who chose its weights.
        where: The setting in words.
        what: For example `kept 2.94 %`.
    """

    method: str
    where: str
    what: str


def summary(settings: Mapping[Setting, Repeats]) -> list[str]:
    """Three sentences on some runs."""
    labels = setting_labels(settings)
    verdicts = {labels[setting]: found for setting, found in verdicts_of(settings).items()}
    return [better(verdicts), alike(verdicts), failed(failures(settings))]


def better(verdicts: Mapping[str, Verdict]) -> str:
    """Where which method is better than all others.

    Args:
        verdicts: By setting, in words; each of two methods or more.
    """
    if not verdicts:
        return "At no density are there two methods with test accuracies, so nothing can be said to be better."
    where: dict[str, list[str]] = defaultdict(list)
    for label, found in verdicts.items():
        where["" if found.not_told_from(found.highest) else found.highest].append(label)
    undecided = where.pop("", [])
    if not where:
        return "Nothing is significant: at no density is one method better in test top-1 than all others."
    said = [f"{method} is better than all others at {listed(labels)}" for method, labels in where.items()]
    said += [f"no method is at {listed(undecided)}"] * bool(undecided)
    return f"In test top-1, {'; '.join(said)}."


def alike(verdicts: Mapping[str, Verdict]) -> str:
    """What cannot be told apart: pairs in number, and by name those with the highest mean.

    Args:
        verdicts: By setting, in words; each of two methods or more.
    """
    pairs = [pair for found in verdicts.values() for pair in found.pairs]
    if not pairs:
        return "There are no pairs of methods to tell apart."
    apart = sum(pair.apart for pair in pairs)
    ties = [
        f"{found.highest} from {listed(others)} at {label}"
        for label, found in verdicts.items()
        if (others := found.not_told_from(found.highest))
    ]
    rest = f"; of those with the highest mean, {'; '.join(ties)} cannot" if ties else ""
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of methods at one density"
    return f"Of {count}, {apart or 'none'} can be told apart{rest}."


def failed(found: Sequence[Failure]) -> str:
    """What went wrong, runs with the same trouble together."""
    if not found:
        return "All runs kept the density of their group, and none has a layer without weights."
    runs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in found:
        runs[failure.method, failure.where].append(failure.what)
    said = [f"{method} at {where} ({listed(list(dict.fromkeys(what)))})" for (method, where), what in runs.items()]
    return f"What went wrong: {'; '.join(said)}."


def failures(settings: Mapping[Setting, Repeats]) -> list[Failure]:
    """Runs that kept another density than was asked for, of bare files than others of their group, and empty layers."""
    labels = setting_labels(settings)
    found = []
    for setting, repeats in settings.items():
        for method, runs in repeats.items():
            for run in runs:
                densities = run.topology.densities
                if not is_reached(densities.density, run.source.asked or setting.density):
                    found.append(Failure(method, labels[setting], f"kept {percent(densities.density)}"))
                if densities.collapsed:
                    found.append(Failure(method, labels[setting], f"nothing in {listed(densities.collapsed)}"))
    return found
