"""What the runs of a search came to: a row per run, the best of each search, and a study that repeats those."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from sparsity.atomic import write_atomically
from sparsity.formatting import NOTHING, csv_table, markdown_table
from sparsity.study.results import COLUMNS, SEED, Row, run_row
from sparsity.study.running import Run
from sparsity.study.trials import Search

SEEDS = (1, 2, 3)
"""Of the study that repeats the best."""

_ACCURACIES = ("val_accuracy", "test_accuracy_best", "test_accuracy_last")


@dataclass(frozen=True)
class Outcome:
    """What a run of a search came to.

    Args:
        search: Its name.
        run: The run.
        values: That were drawn for it, by dotted key.
        state: `ended early` if it was given up or diverged, `failed` if it is to be tried again.
        accuracy: On the validation images, of `best.ckpt`; None unless it finished.
        reason: Why it did not finish, if so.
    """

    search: str
    run: Run
    values: Mapping[str, Any]
    state: Literal["finished", "ended early", "failed"]
    accuracy: float | None = None
    reason: str | None = None

    @property
    def row(self) -> Row:
        """The axes and results of the run, and what the search made of it."""
        error = self.reason if self.state == "failed" else None
        found = run_row(self.run, error) or {**self.run.axes, "folder": str(self.run.folder)}
        ended_early = self.reason if self.state == "ended early" else None
        return {**found, "val_accuracy": self.accuracy, "ended_early": ended_early}

    def __str__(self) -> str:
        told = f"  {self.accuracy:.2%} on validation images" if self.accuracy is not None else ""
        return f"{self.state:13}{self.run.folder.name}{told}"


def best_study(file: Path) -> str:
    """The name of the study that repeats the best of another one's searches.

    Args:
        file: The other's.
    """
    return f"{file.stem}_best.yaml"


def write_best(folder: Path, file: Path, searches: Sequence[Search], outcomes: Sequence[Outcome]) -> None:
    """Write results.csv, best.csv, best.md, and a study of the best with several seeds; each complete or not at all.

    Args:
        folder: Of the study.
        file: The study's.
        searches: Of the study.
        outcomes: Of their runs so far.
    """
    # The same values may be drawn twice, and are one run.
    rows = {outcome.run.folder: outcome.row for outcome in outcomes}
    axes = list(searches[0].point.axes)
    columns = [*axes, *COLUMNS[:-2], "val_accuracy", "ended_early", *COLUMNS[-2:]]
    write_atomically(folder / "results.csv", csv_table(columns, rows.values()))
    best = best_rows(searches, outcomes)
    write_atomically(folder / "best.csv", csv_table(list(best[0]), best))
    write_atomically(folder / "best.md", best_table(best))
    if any(outcome.state == "finished" for outcome in outcomes):
        content = yaml.safe_dump(repeated(folder, searches, outcomes), sort_keys=False)
        write_atomically(folder / best_study(file), f"# The best of {file.name}, each with several seeds.\n{content}")


def best_of(search: Search, outcomes: Sequence[Outcome]) -> Outcome | None:
    """The run with the highest validation accuracy, the first of equals; None if none has finished."""
    own = [one for one in outcomes if one.search == search.name and one.accuracy is not None]
    return max(own, key=lambda one: one.accuracy or 0.0, default=None)


def best_rows(searches: Sequence[Search], outcomes: Sequence[Outcome]) -> list[Row]:
    """A row per search: the values of its best run, what that came to, and how many runs there were."""
    rows = []
    for search in searches:
        best = best_of(search, outcomes)
        states = Counter(one.state for one in outcomes if one.search == search.name)
        found = {} if best is None else best.row
        axes = search.point.axes if best is None else best.run.axes
        counts = {"finished": states["finished"], "ended_early": states["ended early"], "failed": states["failed"]}
        accuracies = {column: found.get(column) for column in _ACCURACIES}
        rows.append({**axes, **accuracies, "density": found.get("density"), **counts, "folder": found.get("folder")})
    return rows


def best_table(rows: Sequence[Row]) -> str:
    """The rows of `best_rows` as a Markdown table; accuracies in percent."""
    told = {"density", "folder", *_ACCURACIES}
    keys = [key for key in rows[0] if key not in told]
    cut = keys.index("finished")
    head = [*keys[:cut], "validation accuracy", "test accuracy, best epoch", "last epoch", "finished", "ended early",
            "failed"]  # fmt: skip
    return markdown_table(
        head,
        [
            [
                *(str(row[key]) for key in keys[:cut]),
                *(NOTHING if row[column] is None else f"{100 * row[column]:.2f}" for column in _ACCURACIES),
                *(str(row[key]) for key in keys[cut:]),
            ]
            for row in rows
        ],
    )


def repeated(folder: Path, searches: Sequence[Search], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A study of the best values of each combination, each with several seeds.

    Where the searches are of several seeds themselves, the best over these is taken, and repeated with all of them.

    Args:
        folder: That its file lies in.
        searches: Of one study.
        outcomes: Of their runs; at least one has finished.
    """
    chosen: dict[tuple[str, ...], tuple[Search, Outcome]] = {}
    for search in searches:
        combination = tuple(text for key, text in search.point.axes.items() if key != SEED)
        best = best_of(search, outcomes)
        known = chosen.get(combination)
        if best is not None and (known is None or (best.accuracy or 0.0) > (known[1].accuracy or 0.0)):
            chosen[combination] = search, best
    points = [search.point.at(best.values) for search, best in chosen.values()]
    configs = [[os.path.relpath(path, folder) for path in point.configs] for point in points]
    axes = [key for key in points[0].axes if key not in (SEED, "config")]
    # Of all: a dense one has no use for what is set for pruners.
    fixed = {key: value for point in points for key, value in point.settings.items() if key not in point.axes}
    zipped: dict[str, Any] = {key: [point.settings.get(key) for point in points] for key in axes}
    is_one = all(one == configs[0] for one in configs)
    if not is_one:
        zipped = {"config": configs, **zipped}
    seeds = dict.fromkeys(search.point.settings[SEED] for search in searches if SEED in search.point.axes)
    return {
        **({"config": configs[0]} if is_one else {}),
        **({"set": fixed} if fixed else {}),
        "axes": [*([zipped] if zipped else []), {SEED: list(seeds) or list(SEEDS)}],
    }
