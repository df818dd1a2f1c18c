"""The shares of this machine that processes side by side get: cores, threads and a GPU."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sparsity.forks import cores


@dataclass(frozen=True)
class Place:
    """What one process at a time may use.

    Args:
        threads: How many, at least 1.
        gpu: The position of its GPU among those that this process sees; None for all.
        cores: That it runs on; None for all.
        variables: Of its environment, besides.
    """

    threads: int
    gpu: int | None = None
    cores: tuple[int, ...] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_variables(self) -> dict[str, str]:
        """What tells a process and its libraries about this place."""
        # Threads of processes side by side that are more than the cores spin and slow each other down many times.
        found = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        if self.gpu is not None:
            found["CUDA_VISIBLE_DEVICES"] = visible_gpu(self.gpu)
        return {**found, **self.variables}


def visible_gpu(position: int) -> str:
    """What `CUDA_VISIBLE_DEVICES` calls one of the GPUs that this process sees.

    Args:
        position: Among them, from 0.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[position] if visible else str(position)


def places(jobs: int) -> list[Place]:
    """Divide this machine among processes side by side.

    Cores are dealt out in blocks where there is at least one for each, since threads that move from core to core find
    nothing of theirs there; GPUs in turn.

    Args:
        jobs: How many processes, at least 1.
    """
    threads, gpus = max(1, cores() // jobs), torch.cuda.device_count()
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [Place(threads, number % gpus if gpus else None, _block(own, number, jobs)) for number in range(jobs)]


def _block(own: Sequence[int], number: int, jobs: int) -> tuple[int, ...] | None:
    if len(own) < jobs or jobs == 1:
        return None
    return tuple(own[number * len(own) // jobs : (number + 1) * len(own) // jobs])
