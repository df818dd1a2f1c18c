"""Looking on while a fit goes its way."""

from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning.utilities import rank_zero_warn

from sparsity.seeding import unmoved_randomness


@contextmanager
def aside(what: str) -> Iterator[None]:
    """Let nothing within stop a fit or draw from its random numbers: what fails is left out with a warning.

    Args:
        what: Is going on, for the warning.
    """
    with unmoved_randomness():
        try:
            yield
        except Exception as error:
            rank_zero_warn(f"{what} failed and is left out, the trained network is not affected: {error}")
