"""Pruned weights stay exactly zero while optimizers write."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from sparsity.masks import apply_masks, kept, masked_layers, masks, sizes
from sparsity.non_finite import require_finite_weights


class ZeroKeeper:
    """Multiplies weights by their masks right after every optimizer step.

    Args:
        network: A network with masks, already on its device.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._weights: list[Tensor] = [layer.get_parameter("weight") for layer in masked_layers(network).values()]
        self._handles: list[RemovableHandle] = []
        self.refresh()

    def refresh(self) -> None:
        """Take changed masks into account, and store zeros where they prune."""
        apply_masks(self._network)
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


class KeepMasks(Callback):
    """Trains a network that is already sparse, for example a converted one, and leaves its masks as they are."""

    def __init__(self) -> None:
        self._zeros: ZeroKeeper | None = None

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = network_of(pl_module)
        if kept(network) != sizes(network):
            self._zeros = ZeroKeeper(network)
            self._zeros.attach(trainer.optimizers)

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._zeros and clips_norm(trainer):
            self._zeros.mask_gradients()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        require_finite_weights(network_of(pl_module))

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        require_finite_weights(network_of(pl_module))

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._zeros is not None:
            self._zeros.detach()
            self._zeros = None


def clips_norm(trainer: pl.Trainer) -> bool:
    """Whether the trainer clips the norm over all gradients."""
    return trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm != "value"


def network_of(module: pl.LightningModule) -> nn.Module:
    """The part of a LightningModule that is pruned: its `network` if it has one, else all of it."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module
