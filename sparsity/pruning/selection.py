"""From saliencies to masks of an exact size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.masks import Mask
from sparsity.pruning.saliency import Saliency, require_finite
from sparsity.seeding import named_generator


@dataclass(frozen=True)
class Selection:
    """Which weights a saliency keeps, and how far it decided that.

    Args:
        masks: By layer name.
        by_lot: By layer name, bool, the kept weights whose saliency equals that of pruned ones, so that a lot chose
            among them; layers where that is known to happen to none may be missing.
    """

    masks: dict[str, Tensor]
    by_lot: dict[str, Tensor]


def keep_highest(
    saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0
) -> dict[str, Tensor]:
    """The masks of `select`: exactly `count` weights, those with the highest saliency among the candidates."""
    return select(saliency, count, candidates, min_kept).masks


def select(saliency: Saliency, count: int | Mapping[str, int], candidates: Mask, min_kept: int = 0) -> Selection:
    """Keep exactly `count` weights, those with the highest saliency among the candidates.

    Equal saliencies fall in a fixed pseudo-random order, so that no layer and no unit is favoured by its position
    and every process decides alike.

    Args:
        saliency: Finite; any sign.
        count: Over the whole network (one ranking), or of each layer (a ranking each).
        candidates: The weights that may be kept; a pruned weight never comes back.
        min_kept: Each layer keeps at least so many of its candidates, its highest.

    Returns:
        Masks, and what a lot chose.

    Raises:
        SparsityError: If more weights are asked for than there are candidates, or fewer than `min_kept` requires.
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
    """
    flat = torch.cat([s.detach().flatten() for s in saliency.values()])
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

    if isinstance(count, int):
        _require(sum(floor.values()), count, sum(available.values()), min_kept, "the network")
        chosen, lots = (_parts(t, layer_sizes) for t in ranked(flat, count, eligible))
        kept, by_lot = dict(zip(values, chosen, strict=True)), dict(zip(values, lots, strict=False))
    else:
        kept, by_lot = {}, {}
        for name, layer_values in values.items():
            _require(floor[name], count[name], available[name], min_kept, f"layer {name!r}")
            kept[name], lot = ranked(layer_values, count[name], own[name])
            if lot is not None:
                by_lot[name] = lot
    return Selection(
        masks={name: mask.view_as(saliency[name]) for name, mask in kept.items()},
        by_lot={name: lot.view_as(saliency[name]) for name, lot in by_lot.items()},
    )


def top_k(values: Tensor, k: int, candidates: Tensor | None = None) -> Tensor:
    """Mark the k highest entries.

    Args:
        values: `[n]`, without NaN.
        k: In [0, n], at most the number of candidates.
        candidates: `[n]`, bool, the entries to choose from; by default all.

    Returns:
        `[n]`, bool, exactly k of them True.
    """
    return ranked(values, k, candidates)[0]


def ranked(values: Tensor, k: int, candidates: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """As `top_k`, and which of the marked entries a lot chose among equals; None if it is known to be none."""
    values = values.detach()  # magnitudes of a network's own weights have a history
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool), None
    threshold = _kth_highest(values, k, candidates)
    # Asking costs nothing on a CPU; on a GPU it would wait for all that is queued.
    if values.is_cpu and (highest := _among(candidates, values >= threshold)).count_nonzero() == k:
        return highest, None
    above, tied = _among(candidates, values > threshold), _among(candidates, values == threshold)
    room = k - above.count_nonzero()
    order = tie_order(values.numel(), values.device)
    tied = tied.index_select(0, order)
    chosen = tied & (tied.cumsum(0) <= room)
    by_lot = torch.zeros_like(above).index_put((order,), chosen & (tied.count_nonzero() > room))
    return above.index_put((order,), chosen | above.index_select(0, order)), by_lot


@lru_cache(maxsize=64)
def tie_order(n: int, device: torch.device) -> Tensor:
    """The fixed pseudo-random order of n places in which equal saliencies come, int64 `[n]`."""
    return torch.randperm(n, generator=named_generator("order of equal saliencies", n, seed=0)).to(device)


def _parts(flat: Tensor | None, layer_sizes: Sequence[int]) -> Sequence[Tensor]:
    return () if flat is None else torch.split(flat, list(layer_sizes))


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


def _require(at_least: int, count: int, at_most: int, min_kept: int, where: str) -> None:
    if count > at_most:
        raise SparsityError(f"cannot keep {count:,} weights of {where}: only {at_most:,} are left to choose from")
    if count < at_least:
        raise SparsityError(
            f"cannot keep {count:,} weights of {where}: with min_kept {min_kept:,} it keeps {at_least:,} or more; "
            "lower min_kept, or ask for a higher density"
        )
