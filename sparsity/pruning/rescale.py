"""Give the kept weights of an untrained network the variance that their fan-in asks for."""

import torch
from torch import nn

from sparsity.masks import Mask, masked


@torch.no_grad()
def rescale_to_kept_fan_in(network: nn.Module, mask: Mask) -> None:
    """Multiply each unit's weights so that those a mask keeps have the norm that all of them had.

    Pruning at initialisation shrinks a layer's signal, at random by sqrt(density); without normalisation layers it
    dies on the way. Initialisations scale weights by 1 / sqrt(fan_in), so equal norms are the same initialisation at
    the kept fan-in (as Evci et al. 2022, "Gradient flow in sparse neural networks", do per unit), also where a
    saliency preferred large weights. Units that keep nothing but zeros stay as they are.

    Args:
        network: A network with masks and weights that are not pruned yet; its weights are changed in place.
        mask: What is going to be kept.
    """
    for name, place in masked(network).items():
        weight = place.weight
        norm, kept = (place.by_unit(w).flatten(1).norm(dim=1) for w in (weight, weight * mask[name]))
        factor = torch.where(kept > 0, norm / kept, 1.0)
        units = place.by_unit(weight)
        weight.copy_(place.from_units(units * factor.view(-1, *[1] * (units.ndim - 1))))
