"""One run of a study: its folder, whether it is finished, and the process that runs or resumes it."""

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, Literal

from sparsity.atomic import write_atomically
from sparsity.runs.folder import sessions_in
from sparsity.runs.summary import RunSummary
from sparsity.study.locks import try_lock_to_pass_on
from sparsity.study.places import Place
from sparsity.study.starting import Process, Start, start_anew

Status = Literal["finished", "interrupted", "new"]
_POLL = 0.1  # seconds
_PATIENCE = 10.0
_STOPPED = "stopped before it started"


@dataclass(frozen=True)
class Run:
    """A fit with everything that it needs.

    Args:
        folder: Its own; also the fit's `trainer.default_root_dir`.
        axes: The value on each axis of the study, as it is written in tables.
        config: The complete config, as YAML.
    """

    folder: Path
    axes: Mapping[str, str]
    config: str

    @property
    def config_file(self) -> Path:
        """What `sparsity fit --config` repeats the run from."""
        return self.folder / "run.yaml"

    @property
    def log_file(self) -> Path:
        """What the process printed."""
        return self.folder / "log.txt"


Ended = tuple[Run, str | None]
"""A run that ended, and the last line of what it said if it failed."""


def folder_for(root: Path, label: str, config: str) -> Path:
    """A folder whose name says what the run is, and that no other config has.

    Args:
        root: Of all runs.
        label: Readable.
        config: The complete config without its folder.
    """
    digest = hashlib.sha256(config.encode()).hexdigest()[:8]
    return root / f"{re.sub(r'[^A-Za-z0-9.+_-]+', '_', label)[:100]}-{digest}"


def status(run: Run) -> Status:
    """What an earlier session left of a run."""
    if summary(run) is not None:
        return "finished"
    return "interrupted" if any(session.saved("last") for session in sessions_in(run.folder)) else "new"


def summary(run: Run) -> dict[str, Any] | None:
    """What the run's fit wrote last when it ended, and where; None if it did not.

    Raises:
        SparsityError: If it is damaged.
    """
    finished = [session for session in sessions_in(run.folder) if session.is_finished]
    if not finished:
        return None
    folder = max(finished, key=lambda session: session.summary_file.stat().st_mtime_ns)
    return {**asdict(RunSummary.read(folder)), "folder": str(folder.path)}


def attempt(run: Run, place: Place, stop: Event | None = None, start: Start = start_anew) -> Ended:
    """Run a fit in a process of its own, or go on with it, unless it is finished; returns when it has ended.

    If a process of an earlier session is still at it, that one is waited for.

    Args:
        run: Which.
        place: Where it runs.
        stop: Once set, the process is ended.
        start: Starts the process.

    Returns:
        The run, and why it failed if it did.
    """
    stop = stop or Event()
    run.folder.mkdir(parents=True, exist_ok=True)
    while (lock := try_lock_to_pass_on(run.folder / ".lock")) is None:
        if stop.wait(_POLL):
            return run, _STOPPED
    try:
        if (found := status(run)) == "finished":
            return run, None
        if stop.is_set():
            return run, _STOPPED
        write_atomically(run.config_file, run.config)
        resume = ["--ckpt_path", "last"] if found == "interrupted" else []
        arguments = ["fit", "--config", str(run.config_file), *resume, "--trainer.enable_progress_bar", "false"]
        with run.log_file.open("ab") as log:
            position = log.tell()
            process = start(arguments, place, log.fileno(), lock)
        try:
            while (code := process.poll()) is None and not stop.wait(_POLL):
                pass
        finally:
            _end(process)
        failed = summary(run) is None
        return run, _last_words(run.log_file, position, code or 0) if failed else None
    finally:
        os.close(lock)


def _end(process: Process) -> None:
    """Ask a process to end, and make it if it does not."""
    process.terminate()  # does nothing to one that has ended
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path, start: int, code: int) -> str:
    """Why a process failed: the last line that it wrote to a log from a position on."""
    if code < 0:
        return f"ended by signal {-code} ({signal.strsignal(-code)})"
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"ended without a word, with exit code {code}"
