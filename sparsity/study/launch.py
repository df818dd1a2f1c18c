"""What the subcommand `study` does."""

import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import yaml
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sparsity.atomic import folders_taken_back, write_atomically
from sparsity.errors import SparsityError, require_whole_number
from sparsity.runs.planned import write_planned
from sparsity.study.engines import run_locally, run_on_ray
from sparsity.study.grid import Point, read_grid
from sparsity.study.locks import try_lock
from sparsity.study.places import cores
from sparsity.study.results import run_row, seed_means, summary_table, write_results
from sparsity.study.running import Ended, Run, folder_for, status
from sparsity.trainer.internals import Versioned

Engine = Literal["local", "ray"]

_TENSORBOARD = "pytorch_lightning.loggers.TensorBoardLogger"
_VERSIONED = [kind.__name__ for kind in get_args(Versioned)]

Resolve = Callable[[Sequence[str]], str]
"""From the arguments of `sparsity fit` to the complete config as YAML; raises `SparsityError` for wrong ones."""


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
    is_new = not (folder.is_dir() and any(folder.iterdir()))
    with folders_taken_back(folder):
        lock = _claim(folder, file)
        try:
            write_planned(folder, [run.folder for run in runs])
            print(f"{file.stem}: {_counts(found.values())}; in {folder}", flush=True)
            if engine == "local":
                # Of all runs: also the last ones to go on get no more threads, and so the same results.
                ended = run_locally(due, min(jobs or torch.cuda.device_count() or cores(), len(runs)))
            else:
                ended = run_on_ray(due, jobs, address)
            with closing(ended):
                errors = _follow(runs, before, len(due), ended if due else iter(()), folder)
        except KeyboardInterrupt:
            text = f"interrupted; the same command goes on where it was. Results so far are in {folder}"
            print(text, file=sys.stderr)
            sys.exit(130)
        except BaseException:
            if is_new and not (folder / "runs").exists():  # no run has begun
                lock.release()
                for written in folder.iterdir():
                    written.unlink()
            raise
        finally:
            lock.release()
    for run_path, line in errors.items():
        print(f"failed: {run_path.name}: {line}", file=sys.stderr)
    return errors


def plan(points: Iterable[Point], folder: Path, resolve: Resolve) -> list[Run]:
    """Complete configs and folders of all runs; equal configs are one run.

    Raises:
        SparsityError: If a config is wrong; says of which run.
    """
    runs: dict[Path, Run] = {}
    for point in points:
        try:
            config = yaml.safe_load(resolve(point.arguments))
        except SparsityError as error:
            raise SparsityError(f"the run {point.label} cannot be: {error}") from error
        _require_ordinary_folders(config["trainer"], point.label)
        config |= {"test_after_fit": True}
        config["trainer"]["default_root_dir"] = None
        # The folder's name is made of everything but the folder itself.
        own = folder_for(folder / "runs", point.label, yaml.safe_dump(config))
        config["trainer"]["default_root_dir"] = str(own)
        config["trainer"]["logger"] = _loggers_in(own, config["trainer"].get("logger"))
        runs.setdefault(own, Run(own, point.axes, yaml.safe_dump(config, sort_keys=False)))
    return list(runs.values())


def _require_ordinary_folders(trainer: Mapping[str, Any], label: str) -> None:
    """Refuse a run that would not leave its results where the study looks for them."""
    if trainer.get("logger") is False:
        raise SparsityError(f"the run {label} sets trainer.logger false, and tables are made of logs; leave it out")
    for key in ("fast_dev_run", "barebones"):
        if trainer.get(key):
            raise SparsityError(f"the run {label} sets trainer.{key}, with which there are no results; leave it out")


def _loggers_in(folder: Path, given: Any) -> Any:
    """A run's loggers, of which those that write folders of versions do so in its own; one of TensorBoard's at least.

    Args:
        folder: The run's.
        given: As `trainer.logger` in a config: null or true for Lightning's own, one, or a list.
    """
    if given in (None, True):
        return given
    loggers = [dict(one) for one in (given if isinstance(given, list) else [given])]
    own = {"save_dir": str(folder), "name": "lightning_logs", "version": None}
    for logger in loggers:
        if logger["class_path"].rpartition(".")[2] in _VERSIONED:
            logger["init_args"] = {**logger.get("init_args", {}), **own}
    if not any(logger["class_path"] == _TENSORBOARD for logger in loggers):
        loggers.insert(0, {"class_path": _TENSORBOARD, "init_args": own})
    return loggers


def _claim(folder: Path, file: Path) -> FileLock:
    """Make the folder this study's, for as long as the process lives."""
    name = folder / "study.name"
    if folder.is_dir() and not name.is_file() and any(path.name != ".lock" for path in folder.iterdir()):
        raise SparsityError(f"{folder} holds something else than a study; give another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = try_lock(folder / ".lock")
    except OSError as error:
        raise SparsityError(f"cannot write to {folder}: {error.strerror}; give another --output") from error
    if lock is None:
        raise SparsityError(f"a study is running in {folder}; wait for it, or give another --output")
    if name.is_file() and name.read_text(encoding="utf-8").strip() != file.stem:
        lock.release()
        raise SparsityError(
            f"{folder} is of the study {name.read_text(encoding='utf-8').strip()!r}; give another --output"
        )
    write_atomically(name, f"{file.stem}\n")
    write_atomically(folder / "study.yaml", file.read_text(encoding="utf-8"))
    return lock


def _follow(runs: Sequence[Run], before: int, due: int, ended: Iterator[Ended], folder: Path) -> dict[Path, str]:
    """Show progress and write results as runs end; the last lines of those that failed, by folder."""
    axes = list(runs[0].axes)
    errors: dict[Path, str] = {}
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(), transient=True) as progress:
        task = progress.add_task("runs", total=before + due, completed=before)
        for run, error in ended:
            if error is not None:
                errors[run.folder] = error
            rows = {r.folder: row for r in runs if (row := run_row(r, errors.get(r.folder)))}
            write_results(folder, list(rows.values()), axes)
            said = f"{'failed' if error else 'finished':10}{run.folder.name}{_in_words(rows[run.folder])}"
            progress.console.print(said, highlight=False, soft_wrap=True)
            progress.advance(task)
    if not due:
        write_results(folder, [row for run in runs if (row := run_row(run))], axes)
    return errors


def _in_words(row: Mapping[str, Any]) -> str:
    """What a run came to; nothing of one that failed."""
    accuracy = row["test_accuracy_last"] or row["test_accuracy_best"]
    return f"  {accuracy:.2%}, {row['seconds']:.0f} s" if accuracy else ""


def _counts(found: Iterable[str]) -> str:
    counts = Counter(found)
    return f"{sum(counts.values())} runs ({', '.join(f'{n} {name}' for name, n in counts.items())})"
