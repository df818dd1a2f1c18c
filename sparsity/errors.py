"""Errors that a user can cause: one sentence each that says what is wrong, where, and what to do instead."""

from collections.abc import Sequence
from numbers import Integral


class SparsityError(ValueError):
    """A user's mistake; the command line prints its message without a traceback."""


class NonFiniteError(SparsityError):
    """A saliency, weight or gradient that is NaN or infinite, with the layer it was found in."""


def require_whole_number(name: str, value: int, at_least: int) -> None:
    """Check an argument that counts something.

    Raises:
        SparsityError: If it is not an int, too small, or too large for a tensor.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise SparsityError(f"{name} must be a whole number of at least {at_least}, not {value!r}")
    if value >= 2**63:
        raise SparsityError(f"{name} must be below 2**63, not {value}")


def require_sizes(network: str, **sizes: int | Sequence[int]) -> None:
    """Check what says how large a network is.

    Args:
        network: Its kind, for the message.
        sizes: Each a whole number or several, at least 1, by the arguments' names.

    Raises:
        SparsityError: If one is not.
    """
    numbers = [n for size in sizes.values() for n in (size if isinstance(size, Sequence) else (size,))]
    if not all(isinstance(number, Integral) and number >= 1 for number in numbers):
        given = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise SparsityError(f"{network} needs positive sizes, not {given}")
