"""How many seeds a difference needs to be seen."""

from math import isfinite, sqrt

from scipy import stats

_MOST = 1_000_000


def t_test_power(effect: float, count: int, level: float = 0.05) -> float:
    """The probability that a two-sided paired t test sees a difference (Cohen 1988).

    Args:
        effect: The difference over the standard deviation of single differences, at least 0.
        count: Pairs, at least 2.
        level: The p-value that is called significant, in (0, 1).

    Returns:
        In [0, 1].
    """
    critical = stats.t.ppf(1 - level / 2, count - 1)
    shift = effect * sqrt(count)
    return float(stats.nct.sf(critical, count - 1, shift) + stats.nct.cdf(-critical, count - 1, shift))


def seeds_needed(difference: float, deviation: float, power: float = 0.8, level: float = 0.05) -> int | None:
    """The fewest seeds, run with both methods, whose paired t test sees a difference with some probability.

    Args:
        difference: To be seen, in the unit of `deviation`.
        deviation: Standard deviation of the differences of single seeds, above 0.
        power: The probability, in (0, 1).
        level: The p-value that is called significant, in (0, 1).

    Returns:
        At least 3, below which `paired_t` says nothing; None if a million are not enough, or the deviation is not
        known.
    """
    if not (deviation > 0 and isfinite(deviation)):
        return None
    # From here on the normal approximation is right to a few seeds, and the noncentral t is not always computed.
    effect = abs(difference) / deviation
    approximate = ((stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)) / effect) ** 2 if effect else float("inf")
    if approximate > _MOST:
        return None
    count = max(3, int(approximate) - 2)
    while t_test_power(effect, count, level) < power:
        count += 1
    return count
