"""Errors that a user can cause: one sentence each that says what is wrong, where, and what to do instead."""


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
