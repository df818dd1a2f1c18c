"""What the values of an axis are drawn from in a search: read from a study's file, checked, and written as text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor, isfinite, log10
from typing import Any

from sparsity.errors import SparsityError

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""What YAML may take for text, such as 1e-4, and is a number."""

_RANGE = {"low", "high", "log", "step"}
LISTED = {
    "config": "a file may set anything, also what is drawn",
    "pruner": "a pruner comes with options of its own",
    "pruner.density": "accuracies at different densities are not for comparing",
    "seed_everything": "runs are repeated over seeds, of which none is better",
}
"""Axes that have lists, and why."""


@dataclass(frozen=True)
class Range:
    """Numbers between two others, whole if all that it is given are.

    Args:
        low: The lowest.
        high: The highest, above `low`.
        log: Whether orders of magnitude are as likely as each other, rather than numbers.
        step: Between one value and the next, from `low` to `high`; None for any number between.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are ints."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    @property
    def probes(self) -> Sequence[float]:
        """Values between which all others lie."""
        return (self.low, self.high)

    def tidy(self, drawn: float) -> float:
        """A number that was drawn, with the digits that tell a thousandth of it and of the range, and no more.

        Args:
            drawn: From `low` to `high`.
        """
        if self.is_whole:
            return int(drawn)
        if self.step is not None:
            low, step = Decimal(str(self.low)), Decimal(str(self.step))
            return float(low + round((Decimal(str(drawn)) - low) / step) * step)
        least = min(filter(None, (abs(drawn), self.high - self.low)))
        return min(max(round(drawn, 3 - floor(log10(least))), self.low), self.high)

    def __str__(self) -> str:
        way = " (log)" if self.log else "" if self.step is None else f" by {self.step:g}"
        return f"{self.low:g} to {self.high:g}{way}"


@dataclass(frozen=True)
class Choices:
    """One of several values, with no order between them.

    Args:
        values: Plain ones, two or more, all different.
    """

    values: tuple[str | float | None, ...]

    @property
    def probes(self) -> Sequence[str | float | None]:
        """All values."""
        return self.values

    def tidy(self, drawn: Any) -> Any:
        """A value that was drawn, as it is."""
        return drawn

    def __str__(self) -> str:
        return "one of " + ", ".join("none" if value is None else str(value) for value in self.values)


Distribution = Range | Choices


def read_distribution(where: str, key: str, value: Mapping[Any, Any]) -> Distribution:
    """Read what stands in place of an axis' list of values.

    Args:
        where: The study's file, for messages.
        key: The axis.
        value: `low` and `high`, with `log` or `step` or neither; or `choices`.

    Raises:
        SparsityError: If it is no distribution, or the axis is one whose values are listed.
    """
    if (why := LISTED.get("seed_everything" if key.rpartition(".")[2] == "seed" else key)) is not None:
        raise SparsityError(f"{where} draws {key}, but {why}; give a list")
    of = f"the distribution of {key} in {where}"
    if set(value) == {"choices"}:
        return Choices(_choices(of, value["choices"]))
    if not {"low", "high"} <= set(value) <= _RANGE:
        wrong = next((name for name in value if name not in _RANGE), None)
        said = "needs low and high, or choices" if wrong is None else f"has {wrong!r}"
        raise SparsityError(f"{of} {said}; one has low, high and, if wanted, log or step, or else choices alone")
    return _range(of, value)


def _range(of: str, value: Mapping[str, Any]) -> Range:
    low, high = (_number(of, name, value[name]) for name in ("low", "high"))
    step = None if value.get("step") is None else _number(of, "step", value["step"])
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise SparsityError(f"log of {of} is true or false, not {log!r}")
    if not low < high:
        raise SparsityError(f"{of} needs low below high, not {low!r} and {high!r}")
    if log and step is not None:
        raise SparsityError(f"{of} has log and step, of which it can have one; leave out the other")
    if log and low <= 0:
        raise SparsityError(f"low of {of} must be above 0, since log is true, not {low!r}")
    if step is not None:
        _require_steps(of, low, high, step)
    return Range(low, high, log, step)


def _require_steps(of: str, low: float, high: float, step: float) -> None:
    if step <= 0:
        raise SparsityError(f"step of {of} must be above 0, not {step!r}")
    first, last, by = (Decimal(str(number)) for number in (low, high, step))
    if (last - first) % by:
        reached = first + (last - first) // by * by
        said = f"high to {reached}" if reached > first else "a smaller step"
        raise SparsityError(f"{of} does not come from {low!r} to {high!r} in steps of {step!r}; set {said}")


def _choices(of: str, values: object) -> tuple[str | float | None, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise SparsityError(f"choices of {of} must be a list of two values or more, not {values!r}")
    for value in values:
        if value is not None and not isinstance(value, str | int | float):
            raise SparsityError(f"choices of {of} are names, numbers, true, false or null, not {value!r}; list it")
    if twice := [value for number, value in enumerate(values) if value in values[:number]]:
        raise SparsityError(f"choices of {of} have {twice[0]!r} twice; name it once")
    return tuple(values)


def _number(of: str, name: str, value: object) -> float:
    if isinstance(value, str) and re.fullmatch(NUMBER, value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) >= 2**53:
        raise SparsityError(f"{name} of {of} must be a number, and below 2**53, not {value!r}")
    return value
