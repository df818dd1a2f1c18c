"""How density falls from 1 to the target over the steps of an iterative method."""

from typing import Literal

Schedule = Literal["exponential", "linear"]


def scheduled_density(step: int, steps: int, density: float, schedule: Schedule = "exponential") -> float:
    """Density after step `step` of `steps`; 1 at step 0 and exactly `density` at the last.

    Args:
        step: In [0, steps].
        steps: At least 1.
        density: The final density, in (0, 1].
        schedule: `exponential` is `density ** (step / steps)` (Tanaka et al. 2020), `linear` a straight line.
    """
    progress = step / steps
    if schedule == "exponential":
        return float(density**progress)
    return 1 - (1 - density) * progress
