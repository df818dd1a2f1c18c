"""Named random generators: every draw of this package comes from one, never from the global stream."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*names: object, seed: int | None = None) -> int:
    """A seed that depends only on the names and the base seed.

    Args:
        names: What the numbers are for, for example `"random pruning", layer_name`.
        seed: The base seed; by default the one that `seed_everything` or `torch.manual_seed` was given last.

    Returns:
        An integer in [0, 2**63).
    """
    base = torch.initial_seed() if seed is None else seed
    digest = hashlib.sha256(repr((base, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def named_generator(*names: object, seed: int | None = None) -> torch.Generator:
    """A CPU generator that is the same for the same names and base seed, whatever was drawn before.

    Numbers are drawn on the CPU and moved, so that a run gives the same ones on every device.

    Args:
        names: What the numbers are for.
        seed: The base seed, see `derive_seed`.
    """
    return torch.Generator().manual_seed(derive_seed(*names, seed=seed))


@contextmanager
def unmoved_randomness() -> Iterator[None]:
    """Put the global random states of torch, NumPy and Python back at the end, whatever draws from them meanwhile."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - what other people's code draws from
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
