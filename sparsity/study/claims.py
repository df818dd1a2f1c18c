"""A study's folder: one process at a time has it, and it is of one study."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from sparsity.atomic import folders_taken_back, write_atomically
from sparsity.errors import SparsityError
from sparsity.study.locks import try_lock


@contextmanager
def claimed(folder: Path, file: Path) -> Iterator[None]:
    """Have a study's folder for as long as its runs go; interrupted, say how to go on, and end the process.

    If something else goes wrong before a run has begun, what was written into a new folder is removed.

    Args:
        folder: The study's.
        file: The study's, of which it gets a copy.

    Raises:
        SparsityError: If the folder is taken, or cannot be written to.
    """
    is_new = not (folder.is_dir() and any(folder.iterdir()))
    with folders_taken_back(folder):
        lock = _claim(folder, file)
        try:
            yield
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
