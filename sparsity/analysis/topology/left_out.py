"""Measures that are left out, and said so, where a network does not allow them."""

import warnings
from collections.abc import Callable
from typing import TypeVar

from sparsity.errors import SparsityError

T = TypeVar("T")


def known(what: str, measure: Callable[[], T]) -> T | None:
    """What a measure gives, or None and a warning that says why it is not known.

    Args:
        what: Is measured, in the plural.
        measure: Raises a `SparsityError` if it cannot be.
    """
    try:
        return measure()
    except SparsityError as error:
        # From one place, so that Python says it once.
        warnings.warn(f"the {what} are not known and are left out: {error}", stacklevel=1)
    return None
