"""Telling a user's mistake, which is one sentence, from an error of the program, which is a traceback."""

import errno
import linecache
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from types import FrameType
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from sparsity.errors import SparsityError

_MISTAKES = (SparsityError, MisconfigurationException)
_LIBRARIES = ("torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "lightning_utilities")

_FAILED_CLASS = re.compile(
    r"Problem with given class_path '(?:[\w.]*\.)?(\w+)':\s*(.+?)\s*(?=\n\s*- |\n\s*Given value|\Z)", re.DOTALL
)


def sentence_of(error: BaseException) -> str | None:
    """What to tell a user whose mistake an error is, in one line; None if it is no mistake of a user's.

    A mistake is what this package or Lightning call one, what a library refuses by a `raise` or `assert` of its own, a
    checkpoint that cannot be restored, and a disk that cannot be written to.
    """
    for cause in _causes(error):
        if isinstance(cause, _MISTAKES):
            return one_line(cause)
    if isinstance(error, OSError) and is_of_the_disk(error):
        return cannot_write(error, error.filename or "all of the output")
    if _is_in_restoring(error):
        return (
            f"the checkpoint given by --ckpt_path cannot be restored ({type(error).__name__}: {one_line(error)}); "
            "it is damaged, or of another run"
        )
    return one_line(error) if _is_refusal(error) else None


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Where objects are made as a user configured them, all that other packages raise is the configuration's fault.

    Args:
        what: Is being made, if the error does not tell.

    Raises:
        SparsityError: Names the class and says what was raised.
    """
    try:
        yield
    except Exception as error:
        frames = _frames(error)
        is_ours = _package(frames[-1]) == __package__ and not isinstance(error, MemoryError)
        if is_ours or any(isinstance(cause, _MISTAKES) for cause in _causes(error)):
            raise
        reason = reason_of(str(error)) or type(error).__name__
        raise SparsityError(f"{_being_made(frames) or what}: {reason}") from error


def reason_of(message: str) -> str:
    """Why the class that was chosen could not be made, without the other types that were tried in its place."""
    failed = _FAILED_CLASS.search(message)
    return " ".join((f"{failed[1]}: {failed[2]}" if failed else message).split())


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def is_of_the_disk(error: OSError) -> bool:
    """Whether a file could not be written for want of room or permission."""
    return error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM,
        errno.ENOTDIR, errno.EEXIST,
    )  # fmt: skip


def cannot_write(error: OSError, what: str) -> str:
    """The sentence for an error that `is_of_the_disk`."""
    return f"cannot write {what}: {error.strerror}; make room, or write elsewhere"


def signal_behind(error: BaseException) -> signal.Signals | None:
    """What asked a fit to end, if something did: Lightning makes ordinary exits of signals."""
    if isinstance(error, SIGTERMException):
        return signal.SIGTERM
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return signal.SIGINT
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # errors that were raised again can be behind each other
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_refusal(error: BaseException) -> bool:
    """Whether a library looked at what it was given and refused it, rather than failed at it."""
    if not (places := _places(error)):
        return False
    frame, line = places[-1]
    in_torch = takewhile(lambda frame: _package(frame) == "torch", reversed(_frames(error)))
    if any(str(inner.f_globals.get("__name__")).startswith("torch.optim") for inner in in_torch):
        return True  # where only an optimizer's own options fail; the loss is computed in frames of ours
    statement = linecache.getline(frame.f_code.co_filename, line).lstrip()
    return statement.startswith(("raise ", "assert ")) and _package(frame) in _LIBRARIES


def _is_in_restoring(error: BaseException) -> bool:
    where = "pytorch_lightning.trainer.connectors.checkpoint_connector"
    functions = (f.f_code.co_name for f in _frames(error) if f.f_globals.get("__name__") == where)
    return any("restore" in function or "resume" in function for function in functions)


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in _places(error)]


def _places(error: BaseException) -> list[tuple[FrameType, int]]:
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        places.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return places


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _being_made(frames: list[FrameType]) -> str | None:
    """The class whose constructor was called first within the command line's."""
    owners: list[Any] = [frame.f_locals.get("self") for frame in frames if frame.f_code.co_name == "__init__"]
    names = [type(owner).__name__ for owner in owners if owner is not None]
    return next((name for name in names if not name.endswith("CLI")), None)
