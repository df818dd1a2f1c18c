"""Published figures as rows of a table, and the runs of a study that stand for each."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from sparsity.errors import SparsityError
from sparsity.study.grid import Point

Spread = Literal["", "deviation", "error"]
Kind = Literal["same", "near"]
Which = Literal["best", "last"]
_CHOICES = {"spread_is": get_args(Spread), "kind": get_args(Kind), "epoch": get_args(Which)}
_NUMBERS = ("density", "accuracy", "cpu_minutes", "gpu_minutes")
_NUMBERS_OR_NOTHING = ("spread", "runs")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One published figure.

    Args:
        group: Of figures that one study gives, `configs/studies/<group>.yaml`.
        network: In words.
        data: The data set.
        method: As the source calls it.
        kind: Whether the runs are of the `same` method, or of the one here that is `near` it.
        density: Kept fraction, in (0, 1].
        accuracy: On the test images, in percent.
        spread: Of the accuracy, in points; None if the source has none.
        spread_is: The standard deviation of runs, or the standard error of their mean.
        runs: How many the source took the mean of; None if it does not say.
        epochs: Of a whole run, in words.
        source: With the table or file.
        select: By a study's axis, the value of those runs that stand for the figure.
        epoch: Which of the run's networks is compared.
        cpu_minutes: One run takes on one core, about.
        gpu_minutes: One run takes on one GPU, about.
        note: What the reader has to know to compare.
    """

    group: str
    network: str
    data: str
    method: str
    kind: Kind
    density: float
    accuracy: float
    spread: float | None
    spread_is: Spread
    runs: float | None
    epochs: str
    source: str
    select: Mapping[str, str]
    epoch: Which
    cpu_minutes: float
    gpu_minutes: float
    note: str

    def stands_for(self, point: Point) -> bool:
        """Whether a run of the group's study is one of those that give this figure."""
        return all(point.axes.get(axis) == value for axis, value in self.select.items())


def read_targets(path: Path) -> list[Target]:
    """Read a table of published figures, a row each, with the columns of `Target`; `select` is `axis=value;...`.

    Raises:
        SparsityError: If the file is not there or a row is wrong; says which and why.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SparsityError(
            f"there is no table of published figures in {path} ({error.strerror}); run this in a clone of the project"
        ) from error
    rows = csv.DictReader(io.StringIO(text))
    columns = [field.name for field in fields(Target)]
    if rows.fieldnames != columns:
        raise SparsityError(f"the columns of {path} are {', '.join(rows.fieldnames or [])}, not {', '.join(columns)}")
    return [_target(f"{path}, row {number}", row) for number, row in enumerate(rows, start=2)]


def _target(where: str, row: Mapping[str, str]) -> Target:
    values: dict[str, object] = dict(row)
    for column, choices in _CHOICES.items():
        if row[column] not in choices:
            raise SparsityError(f"{where}: {column} is {' or '.join(map(repr, choices))}, not {row[column]!r}")
    for column in (*_NUMBERS, *_NUMBERS_OR_NOTHING):
        if column in _NUMBERS_OR_NOTHING and not row[column]:
            values[column] = None
            continue
        try:
            values[column] = float(row[column])
        except (TypeError, ValueError) as error:
            raise SparsityError(f"{where}: {column} is a number, not {row[column]!r}") from error
    parts = [part.split("=", 1) for part in row["select"].split(";")]
    if not all(len(part) == 2 for part in parts):
        raise SparsityError(f"{where}: select is axis=value;axis=value, not {row['select']!r}")
    values["select"] = dict(parts)
    return Target(**values)  # type: ignore[arg-type] # checked above


def groups_of(targets: Sequence[Target], asked: Sequence[str]) -> list[str]:
    """The groups asked for, or all, in the order of the table.

    Raises:
        SparsityError: If one is not there.
    """
    there = list(dict.fromkeys(target.group for target in targets))
    if wrong := [group for group in asked if group not in there]:
        raise SparsityError(f"there is no group {wrong[0]!r} of published figures; there are {', '.join(there)}")
    return [group for group in there if not asked or group in asked]
