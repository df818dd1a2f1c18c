"""How far something has come, on a terminal."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(things: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Pass things on one by one under a bar that is gone at the end; elsewhere than on a terminal without a word.

    Args:
        things: Few, each of which takes a while.
        what: They are.
        total: How many, where that cannot be asked.
    """
    console = Console()
    if not console.is_terminal:
        return things
    return track(things, what, total=total, transient=True, console=console)
