"""Which runs a study is to have: written when it starts, so that others can tell when it is half done."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sparsity.atomic import write_atomically
from sparsity.runs.folder import sessions_in

_FILE = "study.runs"
_RUNS = "runs"


def write_planned(folder: Path, runs: Iterable[Path]) -> None:
    """Write the names of the folders of all runs of a study.

    Args:
        folder: Of the study.
        runs: Folders below its `runs/`.
    """
    write_atomically(folder / _FILE, "".join(f"{run.name}\n" for run in runs))


def not_begun(folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Studies at or below some folders that have runs which nobody has begun, and runs that failed before they began.

    Yields:
        The study's or the run's folder, and in a sentence how far it is.
    """
    for file in sorted({path for folder in folders for path in folder.rglob(_FILE)}):
        try:
            planned = file.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            yield file.parent, f"{file} is damaged, so how many runs the study has is not known"
            continue
        folders = [file.parent / _RUNS / Path(name).name for name in planned]
        if missing := [run for run in folders if not run.is_dir()]:
            yield file.parent, f"the study is not done: {len(missing)} of its {len(planned)} runs have not begun"
        for run in folders:
            if run.is_dir() and not sessions_in(run):
                yield run, f"{run} has left nothing: it failed at the start, which its log.txt tells, or has just begun"
