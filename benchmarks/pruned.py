"""Pruned networks to measure on."""

from typing import TypeVar

import torch

from sparsity.masks import add_masks, masks, set_mask

Network = TypeVar("Network", bound=torch.nn.Module)


def sparse(network: Network, seed: int, density: float = 0.1) -> Network:
    """The network with masks drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    add_masks(network)
    set_mask(network, {name: torch.rand(m.shape, generator=generator) < density for name, m in masks(network).items()})
    return network
