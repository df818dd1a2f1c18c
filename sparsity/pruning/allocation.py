"""How many weights each layer keeps, when that is decided before looking at single weights."""

from collections.abc import Mapping

import numpy as np


def uniform(sizes: Mapping[str, int], density: float) -> dict[str, int]:
    """The same density in every layer; together exactly `round(density * N)` weights.

    Args:
        sizes: Number of weights of each layer.
        density: Kept fraction, in (0, 1].
    """
    ideal = {name: density * size for name, size in sizes.items()}
    return largest_remainder(ideal, round(density * sum(sizes.values())))


def largest_remainder(ideal: Mapping[str, float], total: int) -> dict[str, int]:
    """Round numbers to integers that sum to `total`: all down, then the largest remainders up.

    Args:
        ideal: Non-negative numbers whose sum rounds to `total`, up to float error.
        total: The sum wanted.

    Returns:
        One integer per name, each within 1 of its ideal.
    """
    values = np.fromiter(ideal.values(), dtype=np.float64)
    counts = np.floor(values).astype(np.int64)
    missing = total - int(counts.sum())
    by_remainder = np.argsort(counts - values, kind="stable")
    counts[by_remainder[:missing]] += 1
    return dict(zip(ideal, counts.tolist(), strict=True))
