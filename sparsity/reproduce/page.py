"""The page of published figures beside ours, in Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from sparsity.formatting import NOTHING, markdown_table, percent
from sparsity.reproduce.comparing import Difference, difference
from sparsity.reproduce.targets import Target

_HEAD = """# Published figures, and ours

Written by

    python -m sparsity reproduce

which runs what has not been run, group by group, and compares; `--budget 10` takes what fits in ten minutes, and
`--budget 0` only writes this page. The figures are in `reproduce/targets.csv`, each with its source, the runs' results
in `reproduce/results/`, and the settings in `configs/studies/`, a study of each group.

Accuracies are in percent of the test images. The difference is ours minus theirs with its 95 % interval (Welch's t; a
published spread counts where there is one, and a figure without one as exact). **within**: the interval holds 0;
**above**, **below**: all of it lies on that side. `~` marks figures of a method that is not here, beside the nearest
one that is.

"""
_COLUMNS = ("network, data", "published", "density", "epochs", "theirs", "ours", "difference", "verdict", "hardware")


@dataclass(frozen=True)
class Row:
    """A figure and the runs that stand for it.

    Args:
        target: What was published.
        runs: Rows of results, as many as have been run.
        planned: How many there are to be.
    """

    target: Target
    runs: Sequence[Mapping[str, str]]
    planned: int

    @property
    def accuracies(self) -> list[float]:
        """Ours, in percent."""
        return [float(run[self.target.epoch]) for run in self.runs if run[self.target.epoch]]

    @property
    def difference(self) -> Difference | None:
        """Ours and theirs; None before all runs are done."""
        done = self.accuracies
        return difference(done, self.target) if done and len(done) == self.planned else None


def page_of(rows: Sequence[Row]) -> str:
    """The page of all figures, a section of each group."""
    groups = list(dict.fromkeys(row.target.group for row in rows))
    verdicts = Counter("not run" if (d := row.difference) is None else d.verdict for row in rows)
    said = ", ".join(f"{count} {name}" for name, count in verdicts.items())
    sections = [_section(group, [row for row in rows if row.target.group == group]) for group in groups]
    return f"{_HEAD}Of {len(rows)} figures: {said}.\n" + "".join(sections)


def _section(group: str, rows: Sequence[Row]) -> str:
    table = markdown_table(_COLUMNS, [_cells(row) for row in rows])
    sources = list(dict.fromkeys(row.target.source for row in rows))
    notes = {row.target.note: [other for other in rows if other.target.note == row.target.note] for row in rows}
    lines = [f"- {_which(same, rows)}{note}" for note, same in notes.items() if note]
    return (
        f"\n## {group}\n\n    python -m sparsity reproduce {group}\n\n{table}\n"
        + "".join(f"- Source: {source}\n" for source in sources)
        + "".join(f"{line}\n" for line in lines)
    )


def _which(some: Sequence[Row], rows: Sequence[Row]) -> str:
    """Which rows a note is about; nothing if it is about all."""
    if len(some) == len(rows):
        return ""
    methods = dict.fromkeys(row.target.method for row in some)
    every = Counter(row.target.method for row in rows)
    named = [
        method
        if every[method] == sum(row.target.method == method for row in some)
        else f"{method} at {', '.join(percent(row.target.density) for row in some if row.target.method == method)}"
        for method in methods
    ]
    return f"{'; '.join(named)}: "


def _cells(row: Row) -> list[str]:
    target, found = row.target, row.difference
    return [
        f"{target.network}, {target.data}",
        f"{target.method}{' ~' if target.kind == 'near' else ''}",
        percent(target.density),
        target.epochs,
        _published(target),
        _ours(row),
        NOTHING if found is None else _difference(found),
        f"not run: needs about {_minutes(row)} GPU minutes" if found is None else f"**{found.verdict}**",
        ", ".join(dict.fromkeys(run["hardware"] for run in row.runs)) or NOTHING,
    ]


def _published(target: Target) -> str:
    spread = "" if target.spread is None else f" ± {target.spread:.2g}"
    kind = " (standard error)" if target.spread_is == "error" else ""
    runs = "" if target.runs is None else f", {target.runs:.0f} runs"
    return f"{target.accuracy:.2f}{spread}{kind}{runs}"


def _ours(row: Row) -> str:
    done, settings = row.accuracies, ", ".join(row.target.select.values())
    if not done:
        return settings
    spread = f" ± {stdev(done):.2f}" if len(done) > 1 else ""
    partly = "" if len(done) == row.planned else f" of {row.planned}"
    return f"{settings}: {fmean(done):.2f}{spread}, {len(done)}{partly} runs"


def _difference(found: Difference) -> str:
    if found.interval is None:
        return f"{found.mean:+.2f}"
    return f"{found.mean:+.2f} [{found.interval.low:+.2f}, {found.interval.high:+.2f}]"


def _minutes(row: Row) -> str:
    return f"{max(1, row.target.gpu_minutes * (row.planned - len(row.accuracies))):.0f}"
