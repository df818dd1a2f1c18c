"""Checkpoints as commands are given them: by the folders that they lie in, and under names of their own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sparsity.checkpoints.exported import is_exported
from sparsity.errors import SparsityError
from sparsity.runs.folder import checkpoint_of

LONGEST_NAME = 80


def checkpoint_in(path: str) -> str:
    """The best checkpoint of a run whose folder is given, else its last, which is said; a file or an export as it is.

    Args:
        path: Of any of them.

    Raises:
        SparsityError: If the folder has neither.
    """
    if not Path(path).is_dir() or is_exported(path):
        return path
    found = checkpoint_of(Path(path))
    print(f"{path} is a folder; its network is {found}")
    return str(found)


def names_of(checkpoints: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Given names, or the files' names with as many of their folders as make them differ (`version_3/best`)."""
    if names is not None:
        if len(names) != len(checkpoints) or len(set(names)) != len(names):
            raise SparsityError(f"give one name per checkpoint, all different: {len(checkpoints)}, not {list(names)}")
        for name in names:
            if not name or not name.isprintable() or len(name) > LONGEST_NAME:
                raise SparsityError(f"a name has 1 to {LONGEST_NAME} characters on one line, not {name[:40]!a}")
        return list(names)
    if twice := [path for path, times in Counter(map(str, map(Path, checkpoints))).items() if times > 1]:
        raise SparsityError(f"{twice[0]} is given twice; give it once, or --names that tell the two apart")
    paths = [Path(path).resolve().with_suffix("").parts for path in checkpoints]
    paths = [tuple(part for part in parts if part != "checkpoints") for parts in paths]
    for depth in range(1, max(map(len, paths)) + 1):
        short = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(short)) == len(short):
            return short
    return list(checkpoints)  # the same file names with different suffixes
