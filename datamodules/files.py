"""Where data sets lie on disk, and how they get there: torchvision's layout and torchvision's download."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from sparsity.errors import SparsityError


def data_root(data_dir: str | None) -> Path:
    """The folder of all data sets: the argument, else the environment variable SPARSITY_DATA_DIR, else `data`."""
    return Path(data_dir or os.environ.get("SPARSITY_DATA_DIR") or "data").expanduser()


def is_absent(folder: Path) -> bool:
    """Whether a folder does not exist or has nothing in it."""
    return not folder.is_dir() or not any(folder.iterdir())


def download(name: str, folder: Path, files: Sequence[str], root: Path, fetch: Callable[[Path], object]) -> None:
    """Download a data set beside its place and move it there when it is complete, so that no half of one is left.

    Args:
        name: Of the data set, for the error message.
        folder: Where its files belong, below `root`.
        files: Their names, for the error message.
        root: The folder of all data sets; made if need be.
        fetch: Downloads into a given root in the same layout.

    Raises:
        SparsityError: If it cannot be downloaded or stored.
    """
    existed = root.is_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
            fetch(Path(temporary))
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Another run may have been faster.
            if is_absent(folder):
                (Path(temporary) / folder.relative_to(root)).rename(folder)
    except (OSError, RuntimeError, HTTPException, EOFError) as error:
        if not existed:
            with suppress(OSError):
                root.rmdir()
        raise SparsityError(
            f"{name} is not in {folder} and could not be downloaded ({_reason(error)}); put the files "
            f"{', '.join(files)} there, or point data_dir or SPARSITY_DATA_DIR to a folder that has "
            f"{folder.relative_to(root)}"
        ) from error


def read_bytes(name: str, path: Path) -> bytes:
    """The content of one of a data set's files.

    Raises:
        SparsityError: If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SparsityError(
            f"{name} needs the file {path.name}, which is not in {path.parent}; put it there, or remove that folder "
            "to have the data set downloaded, or point data_dir or SPARSITY_DATA_DIR elsewhere"
        ) from None
    except OSError as error:
        raise SparsityError(f"{name}: cannot read {path}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    # torchvision puts what went wrong below a list of what it tried.
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
