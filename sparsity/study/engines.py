"""Running the runs of a study: side by side on this machine, or on a Ray cluster."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import torch

from sparsity.errors import SparsityError
from sparsity.study.running import Child, Run, execute

Ended = tuple[Run, str | None]
"""A run that ended, and the last line of what it said if it failed."""


def run_locally(runs: Sequence[Run], jobs: int | None = None) -> Iterator[Ended]:
    """Run side by side, with the cores and GPUs of this machine divided among the processes.

    Args:
        runs: In the order in which they start.
        jobs: How many at a time, at least 1. Default: as many as there are GPUs, or cores without one.

    Yields:
        Runs as they end. If this is given up or interrupted, the processes are ended.
    """
    cores, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    jobs = min(jobs or gpus or cores, len(runs))
    threads = max(1, cores // jobs)
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    children: set[Child] = set()

    def work(run: Run) -> Ended:
        slot = slots.get()
        try:
            return run, execute(run, threads, slot % gpus if gpus else None, children)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, run) for run in runs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()


def run_on_ray(runs: Sequence[Run], address: str | None = None, jobs: int | None = None) -> Iterator[Ended]:
    """Run on a Ray cluster that shares this file system, each with a GPU if the cluster has some, else with a core.

    Args:
        runs: In the order in which they start.
        address: Of the cluster; by default one is started on this machine for as long as this lasts.
        jobs: The number of cores that a cluster started here uses. Default: all.

    Yields:
        Runs as they end.

    Raises:
        SparsityError: If Ray is not installed, or nothing answers at the address.
    """
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SparsityError('the engine ray needs Ray; install it with pip install -e ".[ray]"') from error
    # Workers start elsewhere and must find this package also where it is not installed.
    environment = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}
    try:
        ray.init(
            address=address,
            num_cpus=None if address else jobs,
            runtime_env={"env_vars": environment},
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except ConnectionError as error:
        raise SparsityError(f"no Ray cluster answers at {address}; start one, or leave --address out") from error
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(execute)
        waiting = {remote.remote(run, threads=1): run for run in runs}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            try:
                line = ray.get(done)
            except ray.exceptions.RayError as failure:
                line = str(failure).strip().splitlines()[-1]
            yield waiting.pop(done), line
    finally:
        with suppress(Exception):
            ray.shutdown()
