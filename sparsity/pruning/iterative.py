"""Iterative pruning: score the network as it is masked so far, cut, and repeat."""

from collections.abc import Callable, Mapping

from torch import nn

from sparsity.masks import masks, set_mask, sizes
from sparsity.pruning.allocation import LayerDensities, allocate
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.schedules import Schedule, scheduled_density
from sparsity.pruning.selection import keep_highest


def prune_iteratively(
    network: nn.Module,
    saliency: Callable[[nn.Module], Saliency],
    density: float,
    iterations: int = 1,
    schedule: Schedule = "exponential",
    allocation: LayerDensities | None = None,
    min_kept: int = 0,
) -> None:
    """Prune a network in place until exactly `round(density * N)` weights are kept.

    Args:
        network: A network with masks. Weights pruned before count as pruned; masks only shrink.
        saliency: Scores the network as masked so far, leaving it unchanged.
        density: Kept fraction of all maskable weights, in (0, 1].
        iterations: How often to score and cut, at least 1.
        schedule: How density falls over the iterations.
        allocation: How the kept weights are spread over the layers, each with a ranking of its own; by default one
            ranking over the network decides.
        min_kept: Each layer keeps at least so many weights.

    Raises:
        SparsityError: If the density cannot be reached, see `keep_highest` and `allocate`.
    """
    candidates = masks(network)
    for step in range(1, iterations + 1):
        count = scheduled_count(network, step, iterations, density, schedule, allocation)
        set_mask(network, keep_highest(saliency(network), count, candidates, min_kept, step < iterations))


def scheduled_count(
    network: nn.Module,
    step: int,
    steps: int,
    density: float,
    schedule: Schedule = "exponential",
    allocation: LayerDensities | None = None,
) -> int | Mapping[str, int]:
    """How many weights are kept after a step on the way to a density, over the network or of each layer.

    After the last step it is exactly `round(density * N)`, over the network or together. In between, layers with an
    allocation fall each towards its own density, so that none has to grow on the way.

    Args:
        network: A network with masks.
        step: In [0, steps].
        steps: At least 1.
        density: The final density, in (0, 1].
        schedule: How density falls.
        allocation: How the kept weights are spread over layers in the end; None for one count of the network.
    """
    layer_sizes = sizes(network)
    if allocation is None:
        return round(scheduled_density(step, steps, density, schedule) * sum(layer_sizes.values()))
    final = allocate(network, density, allocation)
    if step == steps:
        return final
    return {
        name: round(scheduled_density(step, steps, final[name] / size, schedule) * size)
        for name, size in layer_sizes.items()
    }
