"""Moving weights of a sparse network: the smallest make room for as many others, layer by layer."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sparsity.masks import Mask
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.selection import Selection, ranked, top_k


def drop_and_grow(weights: Mapping[str, Tensor], growth: Saliency, mask: Mask, fraction: float) -> Selection:
    """Drop the smallest weights of each layer and grow as many where `growth` is highest (Evci et al. 2020, alg. 1).

    A weight that was just dropped may grow again at once and then keeps its value, as in the authors' program:
    excluding it is impossible above a density of 1 / (1 + fraction). Dense layers are left alone.

    Args:
        weights: By layer name.
        growth: Which pruned weights to grow: magnitudes of the dense gradient for RigL, random numbers for SET.
        mask: The weights kept now.
        fraction: Of each layer's kept weights, in [0, 1]; rounded down, as in the authors' program.

    Returns:
        Masks with as many kept weights per layer as before, and which of the weights that grew a lot chose.
    """
    masks, by_lot = {name: m.clone() for name, m in mask.items()}, {}
    for name, stays, moved in dropped(weights, mask, fraction):
        grown, lot = ranked(growth[name].flatten(), moved, ~stays.flatten())
        masks[name] = stays | grown.view_as(stays)
        if lot is not None:
            by_lot[name] = lot.view_as(stays)
    return Selection(masks, by_lot)


def dropped(weights: Mapping[str, Tensor], mask: Mask, fraction: float) -> Iterator[tuple[str, Tensor, int]]:
    """What of each layer stays when its smallest weights are dropped; without layers that are dense, or move none.

    Args:
        weights: By layer name.
        mask: The weights kept now.
        fraction: Of each layer's kept weights that is dropped, in [0, 1]; rounded down, as in the authors' program.

    Yields:
        The layer's name, what stays, bool, and how many weights were dropped.
    """
    counts = torch.stack([m.sum() for m in mask.values()]).tolist()
    for (name, m), kept in zip(mask.items(), counts, strict=True):
        moved = int(fraction * kept)
        if moved and kept < m.numel():
            yield name, top_k(weights[name].abs().flatten(), kept - moved, m.flatten()).view_as(m), moved
