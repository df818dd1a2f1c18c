"""How density falls to the target, and how many weights move, over the steps of a method."""

import math
from typing import Literal

Schedule = Literal["exponential", "linear", "cubic"]
Decline = Literal[Schedule, "cuts"]
"""How the number of kept weights falls: along a schedule, or by cuts of an equal share."""


def scheduled_density(
    step: int, steps: int, density: float, schedule: Schedule = "exponential", start: float = 1.0
) -> float:
    """Density after step `step` of `steps`; `start` at step 0 and exactly `density` at the last.

    Args:
        step: In [0, steps].
        steps: At least 1.
        density: The final density, in [0, start].
        schedule: `exponential` is `start (density / start) ** (step / steps)` (Tanaka et al. 2020), `linear` a straight
            line, `cubic` `density + (start - density) (1 - step / steps)^3` (Zhu & Gupta 2017, eq. 1).
        start: The density of the network that is pruned, in (0, 1]; 0 if that keeps nothing.
    """
    if step == steps:
        return density  # without the rounding of the formulas
    progress = step / steps
    if schedule == "exponential":
        return float(start * (density / start) ** progress) if start else 0.0
    if schedule == "linear":
        return start - (start - density) * progress
    return float(density + (start - density) * (1 - progress) ** 3)


def scheduled_kept(
    step: int, steps: int, size: int, density: float, decline: Decline = "exponential", start: float = 1.0
) -> int:
    """How many of `size` weights are kept after a step: `round(density * size)` after the last.

    Before, each method has the number that its authors' program has, since one weight more or less changes what is
    scored next, and so the mask: `exponential` and `linear` keep `size - int((1 - d) size)` at density d (Tanaka et
    al. 2020), `cubic` the rounded number (Zhu & Gupta 2017), and each of the `cuts` takes `ceil(rate * kept)`, where
    `rate = 1 - (density / start) ** (1 / steps)` (Sreenivasan et al. 2022; OpenLTH).

    Args:
        step: In [0, steps].
        steps: At least 1.
        size: Of the layer, or of the network.
        density: The final density, in [0, start].
        decline: How the number falls.
        start: The density before.
    """
    first, last = round(start * size), round(density * size)
    if step == steps:
        return last
    if decline == "cuts":
        rate = 1 - (density / start) ** (1 / steps) if start else 0.0
        count = first
        for _ in range(step):
            count -= math.ceil(rate * count)
    else:
        reached = scheduled_density(step, steps, density, decline, start)
        count = round(reached * size) if decline == "cubic" else size - int((1 - reached) * size)
    return min(max(count, last), first)


def cosine_decay(step: int, steps: int) -> float:
    """From 1 at step 0 to 0 at the last, along half a cosine (Evci et al. 2020, section 3, with alpha = 1).

    Args:
        step: In [0, steps].
        steps: At least 1.
    """
    return (1 + math.cos(math.pi * step / steps)) / 2
