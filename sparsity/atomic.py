"""Writing files and folders that are complete or not there."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def write_atomically(path: Path, text: str) -> None:
    """Write a text file aside, and then put it in its place in one step.

    Args:
        path: Replaced if it exists; its folder must.
        text: All of it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is not there yet aside, and then put it in its place in one step.

    Args:
        path: Of the file; its folder must exist.
        content: All of it.

    Raises:
        FileExistsError: If there is something at that place, also if it came meanwhile; it is left alone.
        OSError: If it cannot be written.
    """
    if os.path.lexists(path):
        raise FileExistsError(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            _flush(file)
        try:
            os.link(partial, path)  # unlike a rename, this fails where a file has appeared meanwhile
        except FileExistsError:
            raise
        except (OSError, AttributeError):  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(path) from None
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def put_in_place(partial: Path, path: Path) -> None:
    """Give a file that was written aside its name in one step, once all of it is on the disk.

    Args:
        partial: Complete, on the same file system as its place.
        path: Replaced if it exists.
    """
    # Open for writing, since Windows makes nothing else sure.
    with partial.open("r+b") as file:
        _flush(file)
    os.replace(partial, path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder aside, and put it in its place in one step once all of its files are written.

    Args:
        path: Of the folder, which does not exist yet or is empty; folders above it are made.

    Yields:
        The folder to write into. If anything is raised meanwhile, it is removed.

    Raises:
        FileExistsError: If there is something at that place, also if it came meanwhile; it is left alone.
        OSError: If it cannot be made.
    """
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(path)
    with folders_taken_back(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:  # of a file above it, not of itself
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.mkdir()
        try:
            yield partial
            for file in partial.iterdir():
                with file.open("r+b") as written:
                    _flush(written)
            if path.is_dir():
                path.rmdir()  # fails where something has come meanwhile
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def folders_taken_back(path: Path) -> Iterator[None]:
    """If anything is raised, remove the folders that were made for a path meanwhile, as far as they are empty.

    Args:
        path: Of a folder, which may exist, as may any that it lies in.
    """
    missing = missing_folders(path)
    try:
        yield
    except BaseException:
        remove_empty(missing)
        raise


def missing_folders(path: Path) -> list[Path]:
    """Of a folder and all that it lies in those that do not exist, itself first."""
    return [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders in turn, until one is not empty.

    Args:
        folders: Each in the next, as of `missing_folders`; those that do not exist are passed over.
    """
    with suppress(OSError):
        for folder in folders:
            with suppress(FileNotFoundError):
                folder.rmdir()


def _flush(file: IO[bytes]) -> None:
    """Else a machine that loses power may keep the new name and not what is in the file."""
    file.flush()
    os.fsync(file.fileno())
