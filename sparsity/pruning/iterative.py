"""Iterative pruning: score the network as it is masked so far, cut, and repeat."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from sparsity.masks import masks, set_mask, sizes
from sparsity.pruning.allocation import uniform
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.schedules import Schedule, scheduled_density
from sparsity.pruning.selection import keep_highest

Scope = Literal["global", "layer"]


def prune_iteratively(
    network: nn.Module,
    saliency: Callable[[nn.Module], Saliency],
    density: float,
    iterations: int = 1,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    min_kept: int = 0,
) -> None:
    """Prune a network in place until exactly `round(density * N)` weights are kept.

    Args:
        network: A network with masks. Weights pruned before count as pruned; masks only shrink.
        saliency: Scores the network as masked so far, leaving it unchanged.
        density: Kept fraction of all maskable weights, in (0, 1].
        iterations: How often to score and cut, at least 1.
        schedule: How density falls over the iterations.
        scope: One ranking over the network, or one per layer at equal densities.
        min_kept: Each layer keeps at least so many weights.

    Raises:
        SparsityError: If the density cannot be reached, see `keep_highest`.
    """
    for step in range(1, iterations + 1):
        count = kept_count(sizes(network), scheduled_density(step, iterations, density, schedule), scope)
        set_mask(network, keep_highest(saliency(network), count, masks(network), min_kept))


def kept_count(layer_sizes: Mapping[str, int], density: float, scope: Scope = "global") -> int | dict[str, int]:
    """How many weights a density keeps: `round(density * N)` over the network, or that total spread over layers."""
    if scope == "global":
        return round(density * sum(layer_sizes.values()))
    return uniform(layer_sizes, density)
