"""Writing files that are complete or not there."""

import os
from pathlib import Path


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


def put_in_place(partial: Path, path: Path) -> None:
    """Give a file that was written aside its name in one step, once all of it is on the disk.

    Args:
        partial: Complete, on the same file system as its place.
        path: Replaced if it exists.
    """
    # Open for writing, since Windows makes nothing else sure.
    with partial.open("r+b") as file:
        os.fsync(file.fileno())  # else a machine that loses power may keep the new name and not what is in the file
    os.replace(partial, path)
