"""How far a study is: a bar that says what is left, and a line for each run that ends."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def follow(ended: Iterable[T], total: int, before: int, say: Callable[[T], str]) -> None:
    """Show progress while runs end.

    Args:
        ended: Runs, as they end.
        total: How many there are.
        before: How many of them had ended before.
        say: What to print of one that has ended; called as soon as it has.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(), transient=True) as progress:
        task = progress.add_task("runs", total=total, completed=before)
        for one in ended:
            progress.console.print(say(one), highlight=False, soft_wrap=True, markup=False)
            progress.advance(task)
