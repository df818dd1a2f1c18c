"""Numbers and tables as text: how a share, a mean, a row or a cell is written wherever people read it."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any
from urllib.parse import quote

NOTHING = "-"


def percent(share: float | None, digits: int = 3) -> str:
    """A share in [0, 1] to some significant digits; of none, a dash."""
    return NOTHING if share is None else f"{100 * share:.{digits}g} %"


def number(value: object) -> str:
    """A count with separators, any other value as it is; of none, a dash."""
    return NOTHING if value is None else f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def key(*names: str) -> str:
    """Names as words between blanks, whatever they are made of: what an attribute of HTML has for several."""
    return " ".join(quote(name, safe="") for name in names)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table in CSV, its columns named in the first line; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; text stays in its cell whatever it is."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(_in_a_cell, line))} |\n" for line in lines)


def mean_and_deviation(values: Sequence[float], write: Callable[[float], str], unit: str = "") -> str:
    """The mean and, of two values or more, the standard deviation of a sample (with n - 1).

    Args:
        values: Any number; none, a dash.
        write: One number as text, without unit.
        unit: After both.
    """
    if not values:
        return NOTHING
    deviation = f" ± {write(stdev(values))}" if len(values) > 1 else ""
    return f"{write(fmean(values))}{deviation}{unit}"


def percents(shares: Sequence[float]) -> str:
    """The smallest and the largest of some shares in [0, 1], once if they read the same; of none, a dash."""
    if not shares:
        return NOTHING
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
