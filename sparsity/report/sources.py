"""Where a report's networks come from: folders of runs and checkpoint files, and what they say of themselves."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from sparsity.errors import SparsityError

Choice = Literal["best", "last"]

_SUMMARY = "summary.json"
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
        summary: The run's summary.json; empty for a bare file.
        sessions: The run's folders, one more for each time it was resumed, in order; none for a bare file.
    """

    path: Path
    checkpoint: Path
    method: str
    seed: str
    family: str
    asked: float | None = None
    accuracy: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    sessions: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sources:
    """What was found.

    Args:
        finished: Networks to report on, in the order of their paths.
        unfinished: Folders of runs that have no results, each as it was left last.
    """

    finished: tuple[Source, ...]
    unfinished: tuple[Path, ...]


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
    runs, unfinished = _find_runs(folders, choice)
    found = {source.checkpoint.resolve(): source for source in [*runs, *map(_of_file, files)]}
    if not found:
        where = f"{unfinished[0]} has no summary.json" if unfinished else _RUN
        raise SparsityError(f"there is no finished run below {', '.join(map(str, folders))}: {where}")
    return Sources(tuple(found.values()), tuple(unfinished))


def name_parts(stem: str) -> tuple[str, str, str]:
    """Split a file's name into what names the method, the family and the seed.

    Of the numbers in a name like `synflow_10_21`, the last is the seed, those before it the family; the rest is the
    method: `synflow`, `10`, `21`. A name without numbers is a method.
    """
    numbers = re.findall(r"(?<=_)\d+(?=_|$)", stem)
    method = re.sub(r"_\d+(?=_|$)", "", stem)
    return method, "_".join(numbers[:-1]), numbers[-1] if numbers else ""


def _find_runs(folders: Sequence[Path], choice: Choice) -> tuple[list[Source], list[Path]]:
    found = {path.parent.resolve(): path.parent for folder in folders for path in folder.rglob("config.yaml")}
    sessions = sorted(filter(_is_session, found.values()), key=_natural)
    chains = {folder: _chain(folder) for folder in sessions}
    finished = [folder for folder in sessions if _is_finished(folder)]
    continued = {earlier for folder in finished for earlier in chains[folder][:-1]}
    runs = [_of_run(folder, choice) for folder in finished if folder not in continued]
    resumed = {earlier for folder in sessions for earlier in chains[folder][:-1]}
    known = {_identity(folder) for folder in finished}
    unfinished = []
    # Newest first: of a run that was begun more than once, the last attempt is named.
    for folder in reversed(sessions):
        if not _is_finished(folder) and folder not in resumed and _identity(folder) not in known:
            unfinished.append(folder)
            known.add(_identity(folder))
    return runs, unfinished[::-1]


def _chain(folder: Path) -> tuple[Path, ...]:
    """The folders of a run, from the one it began in to this one, by the checkpoints it was resumed from."""
    chain = [folder]
    while name := _read_config(chain[0]).get("ckpt_path"):
        # By its name beside this one: the runs may have been moved since.
        earlier = folder.parent / Path(name).parent.parent.name
        if not _is_session(earlier) or earlier in chain:
            break
        chain.insert(0, earlier)
    return tuple(chain)


def _identity(folder: Path) -> tuple[Path, str]:
    """Equal for the attempts at one run."""
    return folder.parent, json.dumps({**_read_config(folder), "ckpt_path": None}, sort_keys=True, default=str)


def _of_file(path: Path) -> Source:
    folder = path.parent.parent
    if path.stem in get_args(Choice) and _is_session(folder) and _is_finished(folder):
        return _of_run(folder, path.stem)
    method, family, seed = name_parts(path.stem)
    return Source(path, path, method, seed, family or method)


def _of_run(folder: Path, choice: str) -> Source:
    path, config = folder / _SUMMARY, _read_config(folder)
    try:
        summary = json.loads(path.read_text())
        method, asked = str(summary["method"]), summary["density_asked"]
        accuracy = summary["test_accuracy"].get(choice)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SparsityError(f"{path} is not the summary of a run, or is damaged; move that folder away") from error
    seed = summary.get("seed", config.get("seed_everything"))
    return Source(
        path=folder,
        checkpoint=folder / "checkpoints" / f"{choice}.ckpt",
        method=method,
        seed="" if seed is None else str(seed),
        family=str(folder),
        asked=asked,
        accuracy=accuracy,
        config=config,
        summary=summary,
        sessions=_chain(folder),
    )


def _is_session(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (
        _is_finished(folder) or (folder / "checkpoints").is_dir() or any(folder.glob("events.out.tfevents.*"))
    )


def _is_finished(folder: Path) -> bool:
    return (folder / _SUMMARY).is_file()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SparsityError(f"{path} is damaged; move that folder away") from error
    if not isinstance(config, dict):
        raise SparsityError(f"{path} is not the config of a run; move that folder away")
    return config


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts version_10 after version_2."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
