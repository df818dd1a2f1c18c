"""What our runs came to, kept beside the published figures so that a page can be written without running them again."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsity.atomic import write_atomically
from sparsity.errors import SparsityError
from sparsity.formatting import csv_table
from sparsity.runs.yaml_files import load_yaml
from sparsity.study.grid import Point

_COLUMNS = ("density", "best", "last", "seconds", "commit", "hardware", "settings")


class Results:
    """The results of a group's runs, by the values on the study's axes.

    Args:
        path: The table; that it is not there yet is the same as empty.
        points: The study's.

    Raises:
        SparsityError: If it is not such a table.
    """

    def __init__(self, path: Path, points: Sequence[Point]) -> None:
        self.path = path
        self.points = points
        self._settings = {_key(point.axes): settings_of(point) for point in points}
        self._rows: dict[str, dict[str, str]] = {}
        if path.is_file():
            rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                raise SparsityError(f"{path} lacks the columns {', '.join(_COLUMNS)}; move it away")
            for row in rows:
                axes = {name: value for name, value in row.items() if name not in _COLUMNS}
                self._rows[_key(axes)] = row

    def of(self, point: Point) -> Mapping[str, str] | None:
        """The row of a run; None if it was not run, or with other settings than it has now."""
        key = _key(point.axes)
        row = self._rows.get(key)
        return row if row is not None and row["settings"] == self._settings[key] else None

    def take(self, point: Point, summary: Mapping[str, Any], hardware: str) -> None:
        """Take what a run came to.

        Args:
            point: Of the study.
            summary: As `sparsity.study.running.summary` has it.
            hardware: On what it ran.
        """
        key, accuracy = _key(point.axes), summary["test_accuracy"]
        self._rows[key] = {
            **point.axes,
            "density": f"{summary['density']:.6g}",
            **{which: f"{100 * accuracy[which]:.4g}" if which in accuracy else "" for which in ("best", "last")},
            "seconds": f"{summary['seconds'] or 0:.0f}",
            "commit": (summary["git_commit"] or "")[:12],
            "hardware": hardware,
            "settings": self._settings[key],
        }

    def write(self) -> None:
        """Write the table, in the study's order; rows of runs that the study does not have any more are left out."""
        rows = [row for point in self.points if (row := self._rows.get(_key(point.axes)))]
        if rows:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, csv_table([*self.points[0].axes, *_COLUMNS], rows))


def settings_of(point: Point) -> str:
    """A digest of what the study and its configs say of a run; what they leave to defaults is not in it."""
    said = [_with_files(load_yaml(path.read_text(encoding="utf-8")), path.parent) for path in point.configs]
    text = json.dumps([said, dict(point.settings)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _with_files(value: Any, folder: Path) -> Any:
    """A part of a config, with the content of other files in the place of their names."""
    if isinstance(value, dict):
        return {key: _with_files(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_files(item, folder) for item in value]
    if isinstance(value, str) and value.endswith(".yaml") and (folder / value).is_file():
        path = folder / value
        return _with_files(load_yaml(path.read_text(encoding="utf-8")), path.parent)
    return value


def _key(axes: Mapping[str, str]) -> str:
    return json.dumps(dict(axes), sort_keys=True)
