"""Running the runs of a study: side by side on this machine, or on a Ray cluster."""

import importlib
import os
import sys
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import torch

from sparsity.errors import SparsityError
from sparsity.study.running import Ended, Run, attempt


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_locally(runs: Sequence[Run], jobs: int) -> Generator[Ended, None, None]:
    """Run side by side, with the cores and GPUs of this machine divided among the processes.

    Args:
        runs: In the order in which they start.
        jobs: How many at a time, at least 1.

    Yields:
        Runs as they end. If this is closed or interrupted, the processes are ended.
    """
    threads, gpus = max(1, cores() // jobs), torch.cuda.device_count()
    stop, places = Event(), SimpleQueue[int]()
    for place in range(jobs):
        places.put(place)

    def in_a_place(run: Run) -> Ended:
        place = places.get()  # there are as many as threads
        try:
            return attempt(run, threads, place % gpus if gpus else None, stop)
        finally:
            places.put(place)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for ended in as_completed([pool.submit(in_a_place, run) for run in runs]):
                yield ended.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def run_on_ray(
    runs: Sequence[Run], jobs: int | None = None, address: str | None = None
) -> Generator[Ended, None, None]:
    """Run on a Ray cluster that shares this file system, each with a GPU if the cluster has some, else with a core.

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
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_in_folder)
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


def _in_folder(run: Run, folder: str) -> Ended:
    os.chdir(folder)  # paths in configs are relative to where the study was started
    return attempt(run, threads=1)
