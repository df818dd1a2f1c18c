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
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
