"""Independent tasks side by side, each in a fork of this process, which has all that they need in memory already."""

import ctypes
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

T = TypeVar("T")


_Warned = tuple[str, type[Warning], str, int]
"""What is said, of which kind, and where."""

_PR_SET_PDEATHSIG = 1
"""Of Linux: what a process is told when its parent ends."""

_MOST = 16
"""Each may take a hundred megabytes, and few tasks come in larger numbers."""

_tasks: Sequence[Callable[[], Any]] = ()
"""Of the forks that are made now; they find it in their memory, so that nothing has to be sent to them."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch and numpy have one thread: more would fight with forks for the cores, and die in them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def in_forks(tasks: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Run tasks in as many processes as there are cores.

    A task that fails in its fork, or whose result cannot be sent back, is run again in this process, which then says
    why. Without forks, as on Windows or once CUDA is in use, all are run here.

    Args:
        tasks: Each changes nothing that anybody else looks at. They run on the processor, in one thread each.

    Returns:
        Their results in their order, as they come. The forks are made at once, before a progress bar has its thread.
    """
    global _tasks
    processes = min(cores(), len(tasks), _MOST)
    if processes < 2 or not _can_fork():
        return (task() for task in tasks)
    # Flushed, or forks would write what waits here once more.
    sys.stdout.flush()
    sys.stderr.flush()
    pool = ProcessPoolExecutor(processes, get_context("fork"), _begin)
    before, _tasks = _tasks, tasks
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            waiting = [pool.submit(_run, number) for number in range(len(tasks))]  # forks at the first
    finally:
        _tasks = before
    return _results(pool, tasks, waiting)


def _results(
    pool: ProcessPoolExecutor, tasks: Sequence[Callable[[], T]], waiting: Sequence[Future[Any]]
) -> Iterator[T]:
    try:
        for task, future in zip(tasks, waiting, strict=True):
            try:
                result, said = future.result()
            except Exception:  # whatever it is, it comes again here
                result, said = task(), []
            for one in said:
                warnings.warn_explicit(*one)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _can_fork() -> bool:
    # On macOS libraries of the system may not go on in a fork, nowhere CUDA; and forks of a fork would take the cores
    # of the others.
    with_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return sys.platform == "linux" and not _is_fork and not with_cuda


_is_fork = False


def _begin() -> None:
    global _is_fork
    _is_fork = True
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # nobody else would end it once its parent is killed
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, and without a word
    torch.set_num_threads(1)
    threadpool_limits(1)
    gc.freeze()  # what was inherited is no garbage, and to look through it would copy it


def _run(number: int) -> tuple[Any, list[_Warned]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = _tasks[number]()
    return result, [(str(one.message), one.category, one.filename, one.lineno) for one in said]
