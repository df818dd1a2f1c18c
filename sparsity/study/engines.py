"""Running the runs of a study: side by side on this machine, or on a Ray cluster."""

import importlib
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

from sparsity.errors import SparsityError
from sparsity.study.mps import shared_gpus
from sparsity.study.places import Place, places
from sparsity.study.running import Ended, Run, attempt
from sparsity.study.starting import CAN_FORK, ForkServer, Start, start_anew

T = TypeVar("T")


def run_locally(runs: Sequence[Run], jobs: int) -> Generator[Ended, None, None]:
    """Run side by side, with the cores and GPUs of this machine divided among the processes.

    Args:
        runs: In the order in which they start.
        jobs: How many at a time, at least 1.

    Yields:
        Runs as they end. If this is closed or interrupted, the processes are ended.
    """

    def task(run: Run) -> Callable[[Place, Event, Start], Ended]:
        return lambda place, stop, start: attempt(run, place, stop, start)

    return in_places([task(run) for run in runs], jobs)


def in_places(tasks: Sequence[Callable[[Place, Event, Start], T]], jobs: int) -> Generator[T, None, None]:
    """Do tasks that start processes side by side, each in its share of this machine.

    Args:
        tasks: In the order in which they are begun, each in a thread. They are given where their processes run, what is
            set once these are to end, and what starts them.
        jobs: How many at a time, at least 1.

    Yields:
        What tasks return, as they end. If this is closed or interrupted, they are told to end.
    """
    stop, free = Event(), SimpleQueue[Place]()
    with ExitStack() as stack:
        own = stack.enter_context(shared_gpus(places(jobs)))
        for place in own:
            free.put(place)
        server = stack.enter_context(ForkServer(own[0])) if CAN_FORK and tasks else None

        def in_a_place(task: Callable[[Place, Event, Start], T]) -> T:
            place = free.get()  # there are as many as threads
            try:
                return task(place, stop, server.start if server else start_anew)
            except BaseException:
                stop.set()  # before this thread begins another one
                raise
            finally:
                free.put(place)

        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        try:
            for ended in as_completed([pool.submit(in_a_place, task) for task in tasks]):
                yield ended.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            if server:
                server.end()  # nobody waits for it to import what no run needs any more


def run_on_ray(
    runs: Sequence[Run], jobs: int | None = None, address: str | None = None
) -> Generator[Ended, None, None]:
    """Run on a Ray cluster that shares this file system, each with a GPU if the cluster has some, else with a core.

    More jobs than GPUs share them evenly.

    Args:
        runs: In the order in which they start.
        jobs: How many at a time, at least 1. Default: as many as the cluster has room for.
        address: Of the cluster; by default one is started on this machine for as long as this lasts.

    Yields:
        Runs as they end.

    Raises:
        SparsityError: If Ray is not installed, or no cluster at the address lets it in.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise SparsityError('the engine ray needs Ray; install it with pip install -e ".[ray]"') from error
    # Workers start elsewhere and must find this package also where it is not installed.
    environment = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}
    try:
        ray.init(
            # Without an address Ray would join whatever cluster was started here last, alive or not.
            address=address or "local",
            runtime_env={"env_vars": environment},
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except ConnectionError as error:
        raise SparsityError(
            f"cannot join a Ray cluster at {address}; start one there, set RAY_AUTH_TOKEN if it wants a token, or "
            "leave --address out"
        ) from error
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        remote = ray.remote(num_cpus=1, num_gpus=share_of_a_gpu(gpus, jobs or 1), max_retries=0)(_in_folder)
        waiting, going = deque(runs), dict[Any, Run]()
        while waiting or going:
            while waiting and (jobs is None or len(going) < jobs):
                run = waiting.popleft()
                going[remote.remote(run, str(Path.cwd()))] = run
            (done,), _ = ray.wait(list(going), num_returns=1)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as failure:
                yield going[done], str(failure).strip().splitlines()[-1]
            del going[done]
    finally:
        with suppress(Exception):
            ray.shutdown()


def share_of_a_gpu(gpus: int, jobs: int) -> float:
    """The fraction of a GPU that a job asks a cluster for; 1 where there is one for each, 0 where there are none.

    Args:
        gpus: How many there are.
        jobs: How many want one at a time, at least 1.
    """
    if gpus == 0:
        return 0.0
    return math.floor(10_000 / math.ceil(jobs / gpus)) / 10_000  # Ray counts ten-thousandths


def _in_folder(run: Run, folder: str) -> Ended:
    os.chdir(folder)  # paths in configs are relative to where the study was started
    return attempt(run, Place(threads=1))
