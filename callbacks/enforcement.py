"""Pruned weights stay exactly zero while optimizers write."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)  # fmt: skip
from torch.utils.hooks import RemovableHandle

from sparsity.masks import masked_weights, masks

_ELEMENT_WISE = (SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adadelta, Adagrad, RMSprop, Rprop, ASGD)


class MaskEnforcer:
    """Multiplies weights by their masks right after every optimizer step, in any loop: it is no callback.

    Args:
        network: A network with masks, already on its device.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> add_masks(network)
        >>> set_mask(network, torch.eye(3, 4, dtype=torch.bool))
        >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        >>> MaskEnforcer(network).attach([optimizer])
        >>> network(torch.ones(2, 4)).sum().backward()
        >>> optimizer.step()
        >>> int((network.weight != 0).sum())
        3
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._weights: list[Tensor] = list(masked_weights(network).values())
        self._handles: list[RemovableHandle] = []
        self.refresh()

    def refresh(self) -> None:
        """Take changed masks into account; what they prune is zero already."""
        # Multiplying by float masks is seven times faster than by bool ones.
        self._masks = [m.to(w.dtype) for m, w in zip(masks(self._network).values(), self._weights, strict=True)]

    def attach(self, optimizers: Iterable[Optimizer]) -> None:
        """Act after the steps of these optimizers, and of no others."""
        self.detach()
        self._handles = [o.register_step_post_hook(self._zero_weights) for o in optimizers]

    def detach(self) -> None:
        """Let go of all optimizers."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @torch.no_grad()
    def _zero_weights(self, *_: Any) -> None:
        torch._foreach_mul_(self._weights, tuple(self._masks))

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights, so that a norm over all gradients does not count them."""
        pairs = [(w.grad, m) for w, m in zip(self._weights, self._masks, strict=True) if w.grad is not None]
        if pairs:
            torch._foreach_mul_([g for g, _ in pairs], [m for _, m in pairs])


def is_element_wise(optimizer: Optimizer) -> bool:
    """Whether a weight's step depends on its own gradients alone, so that those of pruned weights change no other.

    Not so where steps are scaled or rotated by whole tensors (LBFGS, Muon, Adafactor, LARS, SAM); of other classes than
    torch's own nothing is known.
    """
    return type(optimizer) in _ELEMENT_WISE
