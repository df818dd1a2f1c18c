"""Results of the analysis as files: CSV for tables, JSON for records, NPZ for arrays; nothing is overwritten."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.comparison.tables import (
    correlation_matrices,
    correlation_record,
    correlation_rows,
    distance_record,
    distance_rows,
    overlap_rows,
    similarity_rows,
)
from sparsity.analysis.records import Row, to_dict
from sparsity.analysis.topology.network import Topology, layer_table, unit_table
from sparsity.atomic import folders_taken_back
from sparsity.errors import SparsityError
from sparsity.formatting import csv_table
from sparsity.graph.weights import Array


@contextmanager
def results_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Claim a folder for results, which appear in it together once all are there.

    Args:
        path: Of the folder; one that exists may be used if it is empty, and those above it are made.

    Yields:
        Where to write the results. If anything is raised meanwhile, all that was made for them is removed.

    Raises:
        SparsityError: If there is something in the folder already, or it cannot be made.
    """
    folder = Path(path)
    with folders_taken_back(folder):
        partial = _claim(folder)
        try:
            yield partial
            if list(folder.iterdir()) != [partial]:  # somebody has written into it meanwhile
                raise _taken(folder)
            for result in partial.iterdir():
                result.rename(folder / result.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _claim(folder: Path) -> Path:
    """Make a folder and one in it, which of two programs only one can."""
    partial = folder / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise _taken(folder)
        partial.mkdir()
    except FileExistsError as error:
        if folder.is_dir():
            raise _taken(folder) from error
        raise SparsityError(f"cannot write into the folder {folder}: it is a file; give another") from error
    except OSError as error:
        raise SparsityError(f"cannot write into the folder {folder}: {error.strerror or error}") from error
    return partial


def _taken(folder: Path) -> SparsityError:
    return SparsityError(f"{folder} is not empty and nothing in it is overwritten; give another folder")


def next_folder(parent: Path, name: str) -> Path:
    """Make the first folder of `name`, `name_2`, `name_3`, ... that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() does not end")


def write_topologies(folder: Path, topologies: Mapping[str, Topology]) -> None:
    """Write `layers.csv` and `units.csv`: a row for every layer, and unit, of every network.

    Args:
        folder: Without these files.
        topologies: By network name.
    """
    for file, table in (("layers.csv", layer_table), ("units.csv", unit_table)):
        write_rows(folder / file, [{"network": n, **row} for n, found in topologies.items() for row in table(found)])


def write_comparisons(folder: Path, comparisons: Sequence[Comparison]) -> None:
    """Write `distances.csv`, `distances.json`, `overlaps.csv`, and if there are any, similarities and correlations.

    These are `similarities.csv`; `correlations.csv`, `correlations.json` with the matchings, and `correlations.npz`
    with the matrices of all pairs of units by `a/b/layer`.

    Args:
        folder: Without these files.
        comparisons: One for each group of networks that can be compared.
    """
    write_rows(folder / "distances.csv", [row for c in comparisons for row in distance_rows(c)])
    write_json(folder / "distances.json", [distance_record(comparison) for comparison in comparisons])
    write_rows(folder / "overlaps.csv", [row for c in comparisons for row in overlap_rows(c)])
    if rows := [row for comparison in comparisons for row in similarity_rows(comparison)]:
        write_rows(folder / "similarities.csv", rows)
    if rows := [row for comparison in comparisons for row in correlation_rows(comparison)]:
        write_rows(folder / "correlations.csv", rows)
        write_json(folder / "correlations.json", [record for c in comparisons for record in correlation_record(c)])
        write_arrays(
            folder / "correlations.npz",
            {name: matrix for c in comparisons for name, matrix in correlation_matrices(c).items()},
        )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV file with the columns of the first row; None is an empty cell.

    Args:
        path: A file that does not exist yet.
        rows: At least one, all with the same columns.
    """
    with path.open("x", newline="", encoding="utf-8") as file:
        file.write(csv_table(list(rows[0]), rows))


def write_json(path: Path, result: Any) -> None:
    """Write anything that `to_dict` converts, numbers of one list on one line.

    Args:
        path: A file that does not exist yet.
        result: A dataclass, mapping, sequence, array or scalar, nested at will.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(_indented(to_dict(result)) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a compressed NPZ file.

    Args:
        path: A file that does not exist yet.
        arrays: By name.
    """
    with path.open("xb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _indented(value: Any, margin: str = "") -> str:
    """JSON whose innermost lists are lines: a matching takes one, a matrix one per row."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_indented(item, inner)}" for key, item in value.items()]
        brackets = "{}"
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = [_indented(item, inner) for item in value]
        brackets = "[]"
    else:
        return json.dumps(value, allow_nan=False)
    return brackets[0] + "\n" + ",\n".join(inner + item for item in items) + "\n" + margin + brackets[1]
