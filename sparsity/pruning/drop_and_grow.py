"""Moving weights of a sparse network: the smallest make room for as many others, layer by layer."""

from collections.abc import Mapping

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
        fraction: Of each layer's kept weights, in [0, 1]; rounded to whole weights.

    Returns:
        Masks with as many kept weights per layer as before, and which of the weights that grew a lot chose.
    """
    counts = torch.stack([m.sum() for m in mask.values()]).tolist()
    masks, by_lot = {}, {}
    for (name, m), kept in zip(mask.items(), counts, strict=True):
        moved = round(fraction * kept)
        if moved == 0 or kept == m.numel():
            masks[name] = m.clone()
            continue
        stays = top_k(weights[name].abs().flatten(), kept - moved, m.flatten())
        grown, lot = ranked(growth[name].flatten(), moved, ~stays)
        masks[name] = (stays | grown).view_as(m)
        if lot is not None:
            by_lot[name] = lot.view_as(m)
    return Selection(masks, by_lot)
