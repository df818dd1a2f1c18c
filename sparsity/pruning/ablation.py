"""Breaking a found mask on purpose: what a good subnetwork must beat (Frankle et al. 2021, Su et al. 2020)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from sparsity.masks import Mask, masked
from sparsity.pruning.saliency import random_saliency
from sparsity.pruning.selection import keep_highest
from sparsity.seeding import derive_seed, named_generator

Ablation = Literal["shuffle", "reinitialise", "invert", "random_same_ratios"]


def ablate(network: nn.Module, mask: Mask, ablation: Ablation, seed: int | None = None) -> dict[str, Tensor]:
    """Break a mask, or the weights under it.

    Args:
        network: A network with masks whose weights are those that training would start from, none of them zeroed;
            changed only by `reinitialise`.
        mask: What was found.
        ablation: `shuffle` permutes the mask within each layer; `reinitialise` draws the weights anew (He et al.
            2015, normal, fan-in) and keeps the mask; `invert` keeps what was pruned; `random_same_ratios` keeps as
            many weights of each layer at random, whatever the mask.
        seed: Base seed of the draws; by default the run's.

    Returns:
        The masks to train instead.
    """
    if ablation == "shuffle":
        return _shuffled(mask, seed)
    if ablation == "reinitialise":
        _reinitialise(network, seed)
        return dict(mask)
    if ablation == "invert":
        return {name: ~m for name, m in mask.items()}
    everything = {name: torch.ones_like(m) for name, m in mask.items()}
    count = {name: int(m.sum()) for name, m in mask.items()}
    return keep_highest(random_saliency(network, derive_seed("random same ratios", seed=seed)), count, everything)


def _shuffled(mask: Mapping[str, Tensor], seed: int | None) -> dict[str, Tensor]:
    def shuffled(name: str, m: Tensor) -> Tensor:
        order = torch.randperm(m.numel(), generator=named_generator("shuffled mask", name, seed=seed))
        return m.flatten()[order.to(m.device)].view_as(m)

    return {name: shuffled(name, m) for name, m in mask.items()}


@torch.no_grad()
def _reinitialise(network: nn.Module, seed: int | None) -> None:
    for name, place in masked(network).items():
        new = torch.empty(place.by_unit(place.weight).shape, dtype=place.weight.dtype)
        generator = named_generator("reinitialised weights", name, seed=seed)
        place.weight.copy_(place.from_units(nn.init.kaiming_normal_(new, nonlinearity="relu", generator=generator)))
