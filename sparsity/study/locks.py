"""Locks that live exactly as long as a process that holds them, whatever ends it."""

import fcntl
import os
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Lock a file without waiting.

    Args:
        path: Made if it is not there; what it holds does not matter.

    Returns:
        A file descriptor that holds the lock until it is closed, in this process and all that inherit it; None if
        another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
