"""Iterative pruning: score the network as it is masked so far, cut, and repeat."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.passes import on_copies
from sparsity.masks import kept, masked_weights, masks, set_mask, sizes
from sparsity.pruning.allocation import LayerDensities, allocate
from sparsity.pruning.pattern import Selector
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.schedules import Decline, Schedule, scheduled_kept
from sparsity.pruning.selection import Selection, select


def iterative_masks(
    network: nn.Module,
    saliency: Callable[[nn.Module], Saliency],
    density: float,
    iterations: int = 1,
    schedule: Schedule = "exponential",
    allocation: LayerDensities | None = None,
    min_kept: int = 0,
    selector: Selector = select,
    track: Callable[[range], Iterable[int]] = iter,
) -> Selection:
    """The masks that keep exactly `round(density * N)` weights of a network, found in several steps.

    Args:
        network: A network with masks; left unchanged. Weights pruned before count as pruned; masks only shrink, from
            the density that there is.
        saliency: Scores the network as masked so far, leaving it unchanged.
        density: Kept fraction of all maskable weights, in (0, 1].
        iterations: How often to score and cut, at least 1.
        schedule: How density falls over the iterations.
        allocation: How the kept weights are spread over the layers, each with a ranking of its own; by default one
            ranking over the network decides.
        min_kept: Each layer keeps at least so many weights.
        selector: Chooses weights by their saliency; one that keeps a pattern, as of `sparsity.pruning.pattern`, keeps
            as many as the pattern can.
        track: Passes the iterations on, as something that shows progress does.

    Returns:
        Masks, and which of the kept weights owe it to a lot: in some iteration their saliency was that of weights which
        were pruned.

    Raises:
        SparsityError: If the density cannot be reached, see `keep_highest` and `allocate`, there are no iterations, or
            the saliency is not one of every masked layer.
    """
    require_whole_number("iterations", iterations, at_least=1)
    start = kept(network)
    weights = masked_weights(network)
    found: dict[str, Tensor] = {}
    by_lot: dict[str, Tensor] = {}
    with on_copies([*weights.values(), *masks(network).values()]):
        for step in track(range(1, iterations + 1)):
            if found:
                set_mask(network, found)
            count = scheduled_count(network, step, iterations, density, schedule, allocation, start)
            selection = selector(_of_every_layer(saliency(network), weights), count, masks(network), min_kept)
            found = selection.masks
            for name, lot in selection.by_lot.items():
                by_lot[name] = lot | by_lot[name] if name in by_lot else lot
    return Selection(found, {name: lot & found[name] for name, lot in by_lot.items()})


def _of_every_layer(saliency: Saliency, weights: Mapping[str, Tensor]) -> Saliency:
    """A saliency, if it has a number for every weight that is masked: a layer that is left out would stay as it is."""
    if not isinstance(saliency, Mapping):
        raise SparsityError(
            f"a saliency is a tensor for every masked layer, by the layer's name, not a {type(saliency).__name__}"
        )
    if unknown := next((name for name in saliency if name not in weights), None):
        raise SparsityError(f"the saliency has {unknown!r}, which is no masked layer; leave it out")
    for name, weight in weights.items():
        if name not in saliency:
            raise SparsityError(f"the saliency has nothing for the layer {name!r}; score it, or exclude the layer")
        if saliency[name].shape != weight.shape:
            raise SparsityError(
                f"the saliency of the layer {name!r} must be shaped like its weight, {list(weight.shape)}, not "
                f"{list(saliency[name].shape)}"
            )
    return saliency


def prune_iteratively(
    network: nn.Module,
    saliency: Callable[[nn.Module], Saliency],
    density: float,
    iterations: int = 1,
    schedule: Schedule = "exponential",
    allocation: LayerDensities | None = None,
    min_kept: int = 0,
    selector: Selector = select,
) -> dict[str, Tensor]:
    """Prune a network in place to the masks of `iterative_masks`, whose arguments these are.

    Returns:
        By layer name the kept weights, bool, that owe it to a lot. Layers without any may be missing.

    Raises:
        SparsityError: If the density cannot be reached; nothing is changed then.
    """
    found = iterative_masks(network, saliency, density, iterations, schedule, allocation, min_kept, selector)
    set_mask(network, found.masks)
    return found.by_lot


def scheduled_count(
    network: nn.Module,
    step: int,
    steps: int,
    density: float,
    decline: Decline,
    allocation: LayerDensities | None,
    start: Mapping[str, int] | None = None,
) -> int | Mapping[str, int]:
    """How many weights are kept after a step: of the network, or of each layer by an allocation.

    The last step is exact: `round(density * N)` weights together; the numbers before it are those of `scheduled_kept`.
    Every layer falls from the density that it starts with to its own final density, so that none has to grow on the
    way.

    Args:
        network: A network with masks.
        step: In [0, steps].
        steps: At least 1.
        density: The final density, in (0, 1].
        decline: How the number falls.
        allocation: How the kept weights are spread over layers in the end; None for one count of the network.
        start: How many weights each layer kept before; by default all.

    Raises:
        SparsityError: If fewer weights were kept before than are to be kept in the end.
    """
    layer_sizes = sizes(network)
    start = layer_sizes if start is None else start
    total, available, final = sum(layer_sizes.values()), sum(start.values()), round(density * sum(layer_sizes.values()))
    if final > available:
        raise SparsityError(
            f"density {density:g} keeps {final:,} weights, and the network has only {available:,} of {total:,} left "
            f"(density {available / total:.6g}); ask for less"
        )
    if allocation is None:
        return scheduled_kept(step, steps, total, density, decline, available / total)
    finally_kept = allocate(network, density, allocation, start)
    if step == steps:
        return finally_kept
    return {
        name: scheduled_kept(step, steps, size, finally_kept[name] / size, decline, start[name] / size)
        for name, size in layer_sizes.items()
    }
