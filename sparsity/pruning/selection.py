"""From saliencies to masks of an exact size."""

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.masks import Mask
from sparsity.pruning.saliency import Saliency
from sparsity.randomness import named_generator


def keep_highest(
    saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
) -> dict[str, Tensor]:
    """Keep exactly `count` weights, those with the highest saliency among the candidates.

    Equal saliencies fall in a fixed pseudo-random order, so that no layer and no unit is favoured by its position
    and every process decides alike.

    Args:
        saliency: Finite; any sign.
        count: Over the whole network (one ranking), or of each layer (a ranking each).
        candidates: The weights that may be kept; a pruned weight never comes back.
        min_kept: Each layer keeps at least so many of its candidates, its highest.

    Returns:
        Masks by layer name.

    Raises:
        SparsityError: If more weights are asked for than there are candidates, or fewer than `min_kept` requires.
    """
    values = {name: s.masked_fill(~candidates[name], -torch.inf).flatten() for name, s in saliency.items()}
    available = {name: int(n) for name, n in zip(values, _counts(candidates, values), strict=True)}
    floor = {name: min(min_kept, n) for name, n in available.items()}
    for name, layer_values in values.items():
        values[name] = layer_values.masked_fill(top_k(layer_values, floor[name]), torch.inf)

    if isinstance(count, int):
        _require(sum(floor.values()), count, sum(available.values()), "the network")
        parts = torch.split(top_k(torch.cat(list(values.values())), count), [v.numel() for v in values.values()])
        kept = dict(zip(values, parts, strict=True))
    else:
        for name in values:
            _require(floor[name], count[name], available[name], f"layer {name!r}")
        kept = {name: top_k(layer_values, count[name]) for name, layer_values in values.items()}
    return {name: mask.view_as(saliency[name]) for name, mask in kept.items()}


def top_k(values: Tensor, k: int) -> Tensor:
    """Mark the k highest entries.

    Args:
        values: `[n]`, without NaN.
        k: In [0, n].

    Returns:
        `[n]`, bool, exactly k of them True.
    """
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    threshold = values.topk(k, sorted=False).values.min()
    above = values > threshold
    order = _tie_order(values.numel()).to(values.device)
    tied = (values == threshold)[order]
    chosen = tied & (tied.cumsum(0) <= k - above.sum())
    return above.index_put((order,), chosen | above[order])


@lru_cache(maxsize=64)
def _tie_order(n: int) -> Tensor:
    return torch.randperm(n, generator=named_generator("order of equal saliencies", n, seed=0))


def _counts(candidates: Mask, names: Mapping[str, Tensor]) -> list[float]:
    counts: list[float] = torch.stack([candidates[name].sum() for name in names]).tolist()
    return counts


def _require(at_least: int, count: int, at_most: int, where: str) -> None:
    if not at_least <= count <= at_most:
        raise SparsityError(
            f"cannot keep {count} weights of {where}: at least {at_least} stay by min_kept, "
            f"and {at_most} are left to choose from"
        )
