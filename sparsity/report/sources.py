"""Where a report's networks come from: folders of runs and checkpoint files, and what they say of themselves."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from sparsity.errors import SparsityError
from sparsity.runs.folder import SUMMARY, RunFolder, folder_of, runs_below
from sparsity.runs.planned import not_begun
from sparsity.runs.summary import RunSummary

Choice = Literal["best", "last"]
T = TypeVar("T")

_RUN = "a run is a folder with a config.yaml, checkpoints and, once finished, a summary.json"


@dataclass(frozen=True)
class Source:
    """A trained network before it is read.

    Args:
        path: The run's folder, or the checkpoint file.
        checkpoint: The file of the network.
        method: Who chose its weights.
        seed: Of the run; of a bare file the last number in its name; empty if there is none.
        family: Bare files of one family were made alike, apart from method and seed; a run is one of its own.
        asked: The density asked for, in (0, 1]; None if nobody says.
        accuracy: On the test images, in [0, 1]; None if it was not measured.
        config: The run's config.yaml; empty for a bare file.
        summary: The run's summary.json; None for a bare file.
        sessions: The run's folders, one more for each time it was resumed, in order; none for a bare file.
        note: What a reader has to know of it besides; empty if nothing.
    """

    path: Path
    checkpoint: Path
    method: str
    seed: str
    family: str
    asked: float | None = None
    accuracy: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: RunSummary | None = None
    sessions: tuple[Path, ...] = ()
    note: str = ""


class LeftOut(NamedTuple):
    """What a report is not of.

    Args:
        path: A run's folder, a study's, or a file.
        reason: A sentence.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Sources:
    """What was found.

    Args:
        finished: Networks to report on, in the order of their paths.
        unfinished: Folders of runs that have no results, each as it was left last.
        left_out: Runs that cannot be read, and studies that are not done.
    """

    finished: tuple[Source, ...]
    unfinished: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()


def find_sources(paths: Sequence[str], choice: Choice) -> Sources:
    """Find all runs below some folders, and take checkpoint files as they are.

    A run that was resumed, or begun anew with the same config beside itself, is one run; what came before is part of
    it. The checkpoint of a run, given as a file, stands for the run.

    Args:
        paths: Folders and files, in any mix.
        choice: Which checkpoint of a run to take.

    Raises:
        SparsityError: If something is not there or cannot be read, or nothing is finished.
    """
    folders, files = [], []
    for path in map(Path, paths):
        if path.is_dir():
            folders.append(path)
        elif path.is_file():
            files.append(path)
        else:
            raise SparsityError(f"there is no file or folder {path}; give studies, runs or checkpoints")
    runs, unfinished, left_out = _find_runs(folders, choice)
    for file in files:
        runs += unless_left_out(partial(_of_file, file), file, left_out)
    found = {source.checkpoint.resolve(): source for source in runs}
    if not found and left_out:
        raise SparsityError(left_out[0].reason)
    if not found:
        where = f"{unfinished[0]} has no {SUMMARY}" if unfinished else _RUN
        raise SparsityError(f"there is no finished run below {', '.join(map(str, folders))}: {where}")
    studies = [LeftOut(study, reason) for study, reason in not_begun(folders)]
    return Sources(tuple(found.values()), tuple(unfinished), (*left_out, *studies))


def unless_left_out(read: Callable[[], T], path: Path, left_out: list[LeftOut]) -> list[T]:
    """What is read, alone in a list; nothing if it cannot be read, and then why it is left out."""
    try:
        return [read()]
    except SparsityError as error:
        left_out.append(LeftOut(path, str(error)))
        return []


def name_parts(stem: str) -> tuple[str, str, str]:
    """Split a file's name into what names the method, the family and the seed.

    Of the numbers in a name like `synflow_10_21`, the last is the seed, those before it the family; the rest is the
    method: `synflow`, `10`, `21`. A name without numbers is a method.
    """
    numbers = re.findall(r"(?<=_)\d+(?=_|$)", stem)
    method = re.sub(r"_\d+(?=_|$)", "", stem)
    return method, "_".join(numbers[:-1]), numbers[-1] if numbers else ""


def _find_runs(folders: Sequence[Path], choice: Choice) -> tuple[list[Source], list[Path], list[LeftOut]]:
    """Runs with results, those without, and those that cannot be read."""
    configs: dict[RunFolder, dict[str, Any]] = {}
    left_out: list[LeftOut] = []
    for folder in runs_below(folders):
        for config in unless_left_out(folder.read_config, folder.path, left_out):
            if not _is_evaluation(config):
                configs[folder] = config
    sessions = list(configs)
    chains = {folder: folder.sessions() for folder in sessions}
    finished = [folder for folder in sessions if folder.is_finished]
    continued = {earlier for folder in finished for earlier in chains[folder][:-1]}
    runs: list[Source] = []
    for folder in finished:
        if folder not in continued:
            runs += unless_left_out(partial(_of_run, folder, choice), folder.path, left_out)
    resumed = {earlier for folder in sessions for earlier in chains[folder][:-1]}
    known = {_identity(folder, configs[folder]) for folder in finished}
    unfinished = []
    # Newest first: of a run that was begun more than once, the last attempt is named.
    for folder in reversed(sessions):
        identity = _identity(folder, configs[folder])
        if not folder.is_finished and folder not in resumed and identity not in known:
            unfinished.append(folder.path)
            known.add(identity)
    return runs, unfinished[::-1], left_out


def _is_evaluation(config: Mapping[str, Any]) -> bool:
    """Whether it is of `validate`, `test` or `predict`, which once left folders that look like a run's."""
    return "verbose" in config or "return_predictions" in config


def _identity(folder: RunFolder, config: Mapping[str, Any]) -> tuple[Path, str]:
    """Equal for the attempts at one run."""
    return folder.path.parent, repr({**config, "ckpt_path": None})


def _of_file(path: Path) -> Source:
    folder = folder_of(path)
    if path.stem in get_args(Choice) and folder.is_run and folder.is_finished:
        return _of_run(folder, path.stem)
    method, family, seed = name_parts(path.stem)
    return Source(path, path, method, seed, family or method)


def _of_run(folder: RunFolder, choice: str) -> Source:
    summary, config = RunSummary.read(folder), folder.read_config()
    taken, note, checkpoint = choice, "", folder.saved(choice)
    if choice == "best" and checkpoint is None and (checkpoint := folder.saved("last")) is not None:
        taken, note = "last", f"{folder.path} has no best.ckpt, so its last.ckpt is taken"
    seed = config.get("seed_everything") if summary.seed is None else summary.seed
    return Source(
        path=folder.path,
        checkpoint=checkpoint or folder.checkpoint(taken),
        method=summary.method,
        seed=str(seed) if isinstance(seed, int) else "",
        family=str(folder.path),
        asked=summary.density_asked,
        accuracy=summary.test_accuracy.get(taken),
        config=config,
        summary=summary,
        sessions=tuple(session.path for session in folder.sessions()),
        note=note,
    )
