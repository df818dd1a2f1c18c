"""A run's folder: which files lie where in it, and what can be told from them; nobody else knows their names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from sparsity.atomic import remove_empty
from sparsity.errors import SparsityError
from sparsity.runs.yaml_files import load_yaml_without_aliases

LOGS = "lightning_logs"
"""The folder of runs side by side, where no logger is configured that calls it otherwise."""

CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
SUMMARY = "summary.json"
_EVENTS = "events.out.tfevents.*"
_HPARAMS = "hparams.yaml"

_LONGEST = 200


@dataclass(frozen=True)
class RunFolder:
    """The folder of one session of a run: a run that was resumed has several.

    Args:
        path: Of the folder; it need not exist.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The complete config, written before training."""
        return self.path / CONFIG

    @property
    def summary_file(self) -> Path:
        """What the run came to, written when it has ended; see `RunSummary`."""
        return self.path / SUMMARY

    @property
    def ended_early_file(self) -> Path:
        """Why it was given up before its end, a sentence, if it was."""
        return self.path / "ended_early.txt"

    @property
    def ended_early(self) -> str | None:
        """Why it was given up before its end; None if it was not, or nobody can read it."""
        try:
            return self.ended_early_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def analysis(self) -> Path:
        """The folder of what is left of the network, and of comparisons with others."""
        return self.path / "analysis"

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint, `best` or `last`."""
        return self.checkpoints / f"{name}.ckpt"

    def saved(self, *names: str) -> Path | None:
        """The first of some checkpoints that the run has.

        A session saves no best network unless it is better than those before, and nothing at all where no epoch was
        left: of each name the newest of all sessions is taken.
        """
        sessions = self.sessions()[::-1]
        files = (session.checkpoint(name) for name in names for session in sessions)
        return next((file for file in files if file.is_file()), None)

    @property
    def events_folders(self) -> list[Path]:
        """Where TensorBoard's event files lie: in a folder of the run's name, or of an older run in its own."""
        found = {file.parent for pattern in (_EVENTS, f"*/{_EVENTS}") for file in self.path.glob(pattern)}
        return sorted(found)

    @property
    def is_finished(self) -> bool:
        """Whether its fit came to its end."""
        return self.summary_file.is_file()

    @property
    def is_run(self) -> bool:
        """Whether a fit made it, rather than something else that has a config."""
        try:
            return self.config_file.is_file() and (
                self.is_finished or self.checkpoints.is_dir() or any(self.path.glob("events.out.tfevents.*"))
            )
        except OSError:  # a name that no folder can have
            return False

    @property
    def is_taken(self) -> bool:
        """Whether there is something in it that only a run leaves there."""
        return any((self.path / name).exists() for name in (CONFIG, SUMMARY, CHECKPOINTS, "metrics.csv"))

    def read_config(self) -> dict[str, Any]:
        """Read the config that the fit saved.

        Raises:
            SparsityError: If it cannot be read, or is not a config; says what is wrong.
        """
        try:
            config = load_yaml_without_aliases(self.config_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:_LONGEST]
            raise SparsityError(f"{self.config_file} is damaged ({reason}); move that folder away") from error
        if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
            raise SparsityError(f"{self.config_file} is not the config of a run; move that folder away")
        checkpoint = config.get("ckpt_path")
        if checkpoint is not None and not (isinstance(checkpoint, str) and checkpoint.isprintable()):
            raise SparsityError(
                f"{self.config_file} is damaged: its ckpt_path is {_short(checkpoint)}; move that folder away"
            )
        return config

    def sessions(self) -> tuple["RunFolder", ...]:
        """The folders of the run, from the one it began in to this one, by the checkpoints it was resumed from."""
        chain = [self]
        while name := chain[0]._resumed_from():
            # By its name beside this one: the runs may have been moved since.
            earlier = RunFolder(self.path.parent / Path(name).parent.parent.name)
            if not earlier.is_run or earlier in chain:
                break
            chain.insert(0, earlier)
        return tuple(chain)

    def _resumed_from(self) -> str | None:
        try:
            return self.read_config().get("ckpt_path")
        except SparsityError:  # a damaged one is named by itself, and what it was resumed from is not known
            return None

    def remove_if_unused(self, made: Sequence[Path]) -> None:
        """Remove it if it holds nothing but what is written before training.

        Args:
            made: The folders that were made for it, itself first; those that hold nothing else go too.
        """
        with suppress(OSError):  # there is none, or it holds a checkpoint
            self.checkpoints.rmdir()
        places = {self.path, *self.events_folders}
        written = [file for place in places for file in place.iterdir() if file not in places]
        if all(fnmatch(file.name, _EVENTS) or file.name in (CONFIG, _HPARAMS) for file in written):
            for file in written:
                file.unlink()
            remove_empty(sorted(places - {self.path}))
            remove_empty(made)  # but for those with other runs in them


def folder_of(checkpoint: Path) -> RunFolder:
    """The folder of the run that a checkpoint is of, if it is of one."""
    return RunFolder(checkpoint.parent.parent)


def checkpoint_of(folder: Path, *choices: str) -> Path:
    """The file of a run's network.

    Args:
        folder: The run's, or that of its checkpoints.
        choices: Of `best` and `last`, those that will do, in order. Default: the best, else the last.

    Raises:
        SparsityError: If it has none of them.
    """
    run = RunFolder(folder.parent if folder.name == CHECKPOINTS else folder)
    if (found := run.saved(*(choices or ("best", "last")))) is None:
        raise SparsityError(
            f"{folder} is a folder without a checkpoint of its own; give the path of a checkpoint in it"
        )
    return found


def runs_below(folders: Iterable[Path]) -> Iterator[RunFolder]:
    """All sessions of runs at or below some folders, each once, in the order of their names and numbers."""
    found = {path.parent.resolve(): RunFolder(path.parent) for folder in folders for path in folder.rglob(CONFIG)}
    yield from sorted((run for run in found.values() if run.is_run), key=lambda run: _natural(run.path))


def sessions_in(root: Path) -> list[RunFolder]:
    """What fits with a `trainer.default_root_dir` of their own have left there, in the order of their numbers.

    Args:
        root: That folder; it need not exist.
    """
    return [RunFolder(path) for path in sorted((root / LOGS).glob("*"), key=_natural)]


def newest_session(root: Path) -> RunFolder | None:
    """The last of `sessions_in` that is a run's; None if none is."""
    return next((session for session in reversed(sessions_in(root)) if session.is_run), None)


def newest_checkpoint(runs: Path, name: str) -> Path:
    """A checkpoint of the newest among runs that lie side by side.

    Args:
        runs: Holds a folder per run, for example `lightning_logs`.
        name: `last` or `best`.

    Raises:
        SparsityError: If no run has such a checkpoint.
    """
    written = {path: _last_written(path) for path in runs.glob("*")}
    for path in sorted((path for path in written if written[path]), key=lambda path: written[path], reverse=True):
        if (found := RunFolder(path).saved(name)) is not None:
            return found
    raise SparsityError(
        f"no run below {runs} has a checkpoint {name}.ckpt; give the path of a checkpoint, or train first"
    )


def _last_written(folder: Path) -> int:
    """When a fit has saved something there last; 0 if it has not."""
    files = [*folder.glob(f"{CHECKPOINTS}/*.ckpt"), *folder.glob(SUMMARY)]
    return max((file.stat().st_mtime_ns for file in files), default=0)


def newest_other_checkpoint(checkpoint: Path) -> Path | None:
    """The checkpoint written last in a checkpoint's run and those beside it, apart from itself; None if it is alone."""
    runs = folder_of(checkpoint.absolute()).path.parent
    others = set(runs.glob(f"*/{CHECKPOINTS}/*.ckpt")) - {checkpoint.absolute()}
    return _newest(others) if others else None


def _newest(paths: Iterable[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime_ns)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts version_10 after version_2."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "too large a number"
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
