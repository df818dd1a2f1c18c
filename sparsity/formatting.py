"""Numbers as a report writes them."""

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

NOTHING = "-"


def percent(share: float) -> str:
    """A share in [0, 1], three digits."""
    return f"{100 * share:.3g} %"


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
