"""What the subcommand `study` does."""

import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import torch

from sparsity.errors import SparsityError, require_whole_number
from sparsity.forks import cores
from sparsity.runs.planned import write_planned
from sparsity.study.claims import claimed
from sparsity.study.engines import run_locally, run_on_ray
from sparsity.study.grid import read_grid
from sparsity.study.planning import Resolve, plan
from sparsity.study.progress import follow
from sparsity.study.results import Row, run_row, seed_means, summary_table, write_results
from sparsity.study.running import Ended, Run, status
from sparsity.study.search import list_searches, search

Engine = Literal["local", "ray"]


def study(
    resolve: Resolve,
    config: str,
    output: str | None = None,
    engine: Engine = "local",
    jobs: int | None = None,
    address: str | None = None,
    dry_run: bool = False,
) -> None:
    """Run a grid of fits side by side, each in a process and a folder of its own, and write tables of results.

    Started again, it goes on: finished runs are skipped, interrupted ones resumed, failed ones tried again.

    Args:
        resolve: Makes complete configs.
        config: The study: a YAML file with base configs and axes, see docs/study.md.
        output: The study's folder. Default: studies/<name of the file>.
        engine: Processes on this machine, or a Ray cluster that shares this file system.
        jobs: How many runs at a time, at least 1. Default: as many as there are GPUs, else cores.
        address: Of the Ray cluster. Default: one is started on this machine.
        dry_run: Only list the runs and what would happen to them.

    Raises:
        SparsityError: Before anything runs, if the study or one of its configs is wrong, or its folder is taken.
    """
    if jobs is not None:
        require_whole_number("jobs", jobs, at_least=1)
    file = Path(config)
    points = read_grid(file)
    folder = Path(output) if output is not None else Path("studies") / file.stem
    if any(point.drawn for point in points):
        if engine == "ray":
            raise SparsityError(f"{file} is searched, which is done on one machine; leave --engine ray out")
        if dry_run:
            list_searches(points, folder, resolve)
        elif not search(points, file, folder, resolve, jobs or default_jobs()):
            sys.exit(1)
        return
    runs = plan(points, folder, resolve)
    if dry_run:
        found = [status(run) for run in runs]
        for run, name in zip(runs, found, strict=True):
            print(f"{name:12}{run.folder.name}")
        print(_counts(found))
        return
    errors = go_on(file, folder, runs, engine=engine, jobs=jobs, address=address)
    rows = [row for run in runs if (row := run_row(run, errors.get(run.folder)))]
    print(summary_table(seed_means(rows, list(runs[0].axes)), list(runs[0].axes)), end="")
    print(f"{len(runs) - len(errors)} of {len(runs)} runs finished; tables in {folder}")
    if errors:
        sys.exit(1)


def go_on(
    file: Path,
    folder: Path,
    runs: Sequence[Run],
    only: Container[Path] | None = None,
    engine: Engine = "local",
    jobs: int | None = None,
    address: str | None = None,
) -> dict[Path, str]:
    """Run what of a study is not finished, or go on with it, and write the tables of all that have ended.

    Interrupted, it says so and ends the process.

    Args:
        file: The study's.
        folder: The study's.
        runs: All of the study.
        only: Folders of those to run; by default all.
        engine: As in `study`.
        jobs: As in `study`.
        address: As in `study`.

    Returns:
        Of the runs that failed the last line that each said, by folder; they are listed on stderr.

    Raises:
        SparsityError: Before anything runs, if the folder is taken.
    """
    found = {run.folder: status(run) for run in runs}
    due = [run for run in runs if found[run.folder] != "finished" and (only is None or run.folder in only)]
    before = sum(name == "finished" for name in found.values())
    axes = list(runs[0].axes)
    errors: dict[Path, str] = {}

    def written() -> dict[Path, Row]:
        rows = {run.folder: row for run in runs if (row := run_row(run, errors.get(run.folder)))}
        write_results(folder, list(rows.values()), axes)
        return rows

    def said(ended: Ended) -> str:
        run, error = ended
        if error is not None:
            errors[run.folder] = error
        return f"{'failed' if error else 'finished':10}{run.folder.name}{_in_words(written()[run.folder])}"

    with claimed(folder, file):
        write_planned(folder, [run.folder for run in runs])
        print(f"{file.stem}: {_counts(found.values())}; in {folder}", flush=True)
        if not due:
            written()
            return errors
        if engine == "local":
            # Of all runs: also the last ones to go on get no more threads, and so the same results.
            going = run_locally(due, min(jobs or default_jobs(), len(runs)))
        else:
            going = run_on_ray(due, jobs, address)
        with closing(going):
            follow(going, before + len(due), before, said)
    for run_path, line in errors.items():
        print(f"failed: {run_path.name}: {line}", file=sys.stderr)
    return errors


def default_jobs() -> int:
    """As many runs at a time as there are GPUs, else cores."""
    return torch.cuda.device_count() or cores()


def _in_words(row: Mapping[str, Any]) -> str:
    """What a run came to; nothing of one that failed."""
    accuracy = row["test_accuracy_last"] or row["test_accuracy_best"]
    return f"  {accuracy:.2%}, {row['seconds']:.0f} s" if accuracy else ""


def _counts(found: Iterable[str]) -> str:
    counts = Counter(found)
    return f"{sum(counts.values())} runs ({', '.join(f'{n} {name}' for name, n in counts.items())})"
