"""Errors that a user can cause: one sentence each that says what is wrong, where, and what to do instead."""


class SparsityError(ValueError):
    """A user's mistake; the command line prints its message without a traceback."""


class NonFiniteError(SparsityError):
    """A saliency, weight or gradient that is NaN or infinite, with the layer it was found in."""
