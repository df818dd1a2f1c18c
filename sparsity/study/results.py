"""What the runs of a study came to: a row per run, and means over seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sparsity.atomic import write_atomically
from sparsity.formatting import NOTHING, csv_table, markdown_table, percent
from sparsity.study.running import Run, summary

SEED = "seed_everything"
COLUMNS = (
    "method", "density_asked", "density", "kept", "test_accuracy_best", "test_accuracy_last", "epochs", "seconds",
    "flops_effective", "flops_dense", "git_commit", "folder", "error",
)  # fmt: skip

Row = dict[str, Any]


def run_row(run: Run, error: str | None = None) -> Row | None:
    """The axes and results of a run.

    Args:
        run: Which.
        error: The last line of what it said if it failed.

    Returns:
        None for a run that neither finished nor failed.
    """
    found = summary(run)
    if found is None and error is None:
        return None
    accuracies = {f"test_accuracy_{name}": value for name, value in (found or {}).get("test_accuracy", {}).items()}
    values = {"folder": str(run.folder), **(found or {}), **accuracies, "error": None if found else error}
    return {**run.axes, **{column: values.get(column) for column in COLUMNS}}


def seed_means(rows: Sequence[Row], axes: Sequence[str]) -> list[Row]:
    """Mean and standard deviation (with n - 1) of accuracy and density over runs that differ in their seed alone.

    Args:
        rows: Of runs; those that failed are left out.
        axes: The study's, in order.
    """
    keys = [key for key in axes if key != SEED]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["error"] is None:
            groups[tuple(row[key] for key in (*keys, "method", "density_asked"))].append(row)
    means = []
    for group, same in groups.items():
        mean: Row = dict(zip((*keys, "method", "density_asked"), group, strict=True))
        mean["runs"] = len(same)
        for column in ("density", "test_accuracy_best", "test_accuracy_last"):
            values = [row[column] for row in same if row[column] is not None]
            mean[column] = fmean(values) if values else None
            mean[f"{column}_deviation"] = stdev(values) if len(values) > 1 else None
        means.append(mean)
    return means


def write_results(folder: Path, rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Write results.csv, summary.csv and summary.md, each complete or not at all.

    Args:
        folder: Of the study.
        rows: From `run_row`.
        axes: The study's, in order.
    """
    means = seed_means(rows, axes)
    write_atomically(folder / "results.csv", csv_table([*axes, *COLUMNS], rows))
    write_atomically(folder / "summary.csv", csv_table(list(means[0]) if means else [], means))
    write_atomically(folder / "summary.md", summary_table(means, axes))


def summary_table(means: Sequence[Row], axes: Sequence[str]) -> str:
    """The means as a Markdown table; accuracies in percent."""
    told = {SEED, "pruner.density"}  # by the columns after them
    if len({mean["method"] for mean in means}) >= len({mean.get("pruner") for mean in means}):
        told.add("pruner")
    keys = [key for key in axes if key not in told]
    head = [*keys, "method", "density asked", "reached", "runs", "test accuracy, best epoch", "last epoch"]
    rows = [
        [
            *(str(mean[key]) for key in (*keys, "method")),
            percent(mean["density_asked"], digits=4),
            percent(mean["density"], digits=4),
            str(mean["runs"]),
            _accuracy(mean, "test_accuracy_best"),
            _accuracy(mean, "test_accuracy_last"),
        ]
        for mean in means
    ]
    return markdown_table(head, rows)


def _accuracy(mean: Mapping[str, Any], column: str) -> str:
    if mean[column] is None:
        return NOTHING
    deviation = mean[f"{column}_deviation"]
    return f"{100 * mean[column]:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
