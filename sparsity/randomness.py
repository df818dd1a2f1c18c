"""Named random generators: every draw of this package comes from one, never from the global stream."""

import hashlib

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
