"""Give the kept weights of an untrained network the variance that their fan-in asks for."""

import torch
from torch import nn

from sparsity.masks import masked_layers


@torch.no_grad()
def rescale_to_kept_fan_in(network: nn.Module) -> None:
    """Multiply each unit's kept weights by `sqrt(fan_in / kept_fan_in)`.

    Pruning at initialisation shrinks a layer's signal by sqrt(density); without normalisation layers it dies on the
    way. Initialisations scale weights by 1 / sqrt(fan_in), so this is the same initialisation at the kept fan-in
    (as Evci et al. 2022, "Gradient flow in sparse neural networks", do per unit). Units without weights stay zero.

    Args:
        network: A network with masks; its weights are changed in place.
    """
    for layer in masked_layers(network).values():
        mask = layer.get_buffer("weight_mask").flatten(1)
        weight = layer.get_parameter("weight")
        factor = (mask.shape[1] / mask.sum(1).clamp(min=1)).sqrt()
        weight.mul_(factor.to(weight.dtype).view(-1, *[1] * (weight.ndim - 1)))
