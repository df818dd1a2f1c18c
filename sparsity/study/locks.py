"""Locks that live exactly as long as a process that holds them, whatever ends it."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from sparsity.errors import SparsityError


def try_lock(path: Path) -> FileLock | None:
    """Lock a file for this process, without waiting.

    Args:
        path: Made if it is not there; what it holds does not matter.

    Returns:
        The lock, held until it is released; None if another process has it.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def try_lock_to_pass_on(path: Path) -> int | None:
    """Lock a file without waiting, so that a child process can hold the lock too and keep it when this one is gone.

    Args:
        path: Made if it is not there; what it holds does not matter.

    Returns:
        A file descriptor that holds the lock until it is closed, in this process and all that inherit it; None if
        another process has it.

    Raises:
        SparsityError: On a system without such locks.
    """
    try:
        import fcntl  # here, so that everything but studies works where there is none
    except ImportError as error:
        raise SparsityError(
            "a study locks its runs for the processes that it starts, which this system cannot; run it on Linux or "
            "macOS, or each fit by itself"
        ) from error
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
