"""From saliencies to masks of an exact size."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.masks import Mask
from sparsity.pruning.saliency import Saliency, require_finite
from sparsity.randomness import named_generator


def keep_highest(
    saliency: Saliency,
    count: int | Mapping[str, int],
    candidates: Mask,
    min_kept: int = 0,
    on_the_way: bool = False,
) -> dict[str, Tensor]:
    """Keep exactly `count` weights, those with the highest saliency among the candidates.

    Equal saliencies fall in a fixed pseudo-random order, so that no layer and no unit is favoured by its position
    and every process decides alike.

    Args:
        saliency: Finite; any sign.
        count: Over the whole network (one ranking), or of each layer (a ranking each).
        candidates: The weights that may be kept; a pruned weight never comes back.
        min_kept: Each layer keeps at least so many of its candidates, its highest.
        on_the_way: Whether to be content with fewer candidates than `count` asks for: a network that was pruned before
            is, until the schedule reaches what is left of it.

    Returns:
        Masks by layer name.

    Raises:
        SparsityError: If more weights are asked for than there are candidates, or fewer than `min_kept` requires.
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
    """
    flat = torch.cat([s.flatten() for s in saliency.values()])
    eligible = torch.cat([candidates[name].flatten() for name in saliency])
    layer_sizes = [s.numel() for s in saliency.values()]
    values, own = (dict(zip(saliency, torch.split(t, layer_sizes), strict=True)) for t in (flat, eligible))
    counts = torch.stack([layer.count_nonzero() for layer in own.values()])
    # Read together, so that a device waits once.
    finite, *available_counts = torch.cat([flat.sum().isfinite()[None], counts]).tolist()
    if not finite:
        require_finite(saliency)
    available: dict[str, int] = dict(zip(own, available_counts, strict=True))
    floor = {name: min(min_kept, n) for name, n in available.items()}
    if min_kept:
        for name, layer_values in values.items():
            layer_values.masked_fill_(top_k(layer_values, floor[name], own[name]), torch.inf)

    if on_the_way:
        together = sum(available.values())
        count = min(count, together) if isinstance(count, int) else {n: min(count[n], available[n]) for n in available}
    if isinstance(count, int):
        _require(sum(floor.values()), count, sum(available.values()), "the network")
        kept = dict(zip(values, torch.split(top_k(flat, count, eligible), layer_sizes), strict=True))
    else:
        for name in values:
            _require(floor[name], count[name], available[name], f"layer {name!r}")
        kept = {name: top_k(layer_values, count[name], own[name]) for name, layer_values in values.items()}
    return {name: mask.view_as(saliency[name]) for name, mask in kept.items()}


def top_k(values: Tensor, k: int, candidates: Tensor | None = None) -> Tensor:
    """Mark the k highest entries.

    Args:
        values: `[n]`, without NaN.
        k: In [0, n], at most the number of candidates.
        candidates: `[n]`, bool, the entries to choose from; by default all.

    Returns:
        `[n]`, bool, exactly k of them True.
    """
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    threshold = _kth_highest(values, k, candidates)
    # Asking costs nothing on a CPU; on a GPU it would wait for all that is queued.
    if values.is_cpu and (highest := _among(candidates, values >= threshold)).count_nonzero() == k:
        return highest
    above, tied = _among(candidates, values > threshold), _among(candidates, values == threshold)
    room = k - above.count_nonzero()
    order = _tie_order(values.numel(), values.device)
    tied = tied.index_select(0, order)
    chosen = tied & (tied.cumsum(0) <= room)
    return above.index_put((order,), chosen | above.index_select(0, order))


def _kth_highest(values: Tensor, k: int, candidates: Tensor | None) -> Tensor:
    if values.is_cpu and values.dtype in (torch.float32, torch.float64):
        array = values.numpy() if candidates is None else values.numpy().take(np.flatnonzero(candidates.numpy()))
        position = len(array) - k
        # Several times faster than torch's on a CPU.
        return torch.as_tensor(np.partition(array, position)[position], dtype=values.dtype)
    if candidates is not None:
        values = values.where(candidates, -torch.inf)
    return values.topk(k, sorted=False).values.min()


def _among(candidates: Tensor | None, entries: Tensor) -> Tensor:
    return entries if candidates is None else entries.logical_and_(candidates)


@lru_cache(maxsize=64)
def _tie_order(n: int, device: torch.device) -> Tensor:
    return torch.randperm(n, generator=named_generator("order of equal saliencies", n, seed=0)).to(device)


def _require(at_least: int, count: int, at_most: int, where: str) -> None:
    if not at_least <= count <= at_most:
        raise SparsityError(
            f"cannot keep {count} weights of {where}: at least {at_least} stay by min_kept, "
            f"and {at_most} are left to choose from"
        )
