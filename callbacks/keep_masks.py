"""The base of all pruners, and enough for a network that is sparse already: masks are there, and are kept."""

import weakref
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelPruning, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from sparsity.callbacks.enforcement import MaskEnforcer, is_element_wise
from sparsity.callbacks.network import network_of
from sparsity.errors import SparsityError
from sparsity.formatting import listed
from sparsity.forward.non_finite import require_finite_weights
from sparsity.masks import (
    add_masks,
    add_masks_of,
    apply_masks,
    averages,
    is_mask_key,
    kept,
    maskable,
    masked,
    masked_weights,
    remove_masks,
    sizes,
)


class KeepMasks(Callback):
    """Trains a network that is already sparse, for example a converted one, and leaves its masks as they are.

    Of a network with zeros and no masks, what is zero stays zero. In every stage, a checkpoint with masks is loaded
    with them, also into a network that has none yet.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> add_masks(network)
        >>> set_mask(network, {"0": torch.rand(3, 4) < 0.5})
        >>> trainer = pl.Trainer(callbacks=[KeepMasks()])
    """

    def __init__(self) -> None:
        self._enforcer: MaskEnforcer | None = None
        self._mask_gradients = False
        self._weights: dict[str, nn.Parameter] = {}
        self._loading: RemovableHandle | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all that belongs to one fit: called before each that is not resumed."""
        self._names: list[str] | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._loading = pl_module.register_load_state_dict_pre_hook(self._follow_masks)  # type: ignore[no-untyped-call]
        if stage != "fit":
            return
        _refuse_others(trainer)
        if not self._goes_on(trainer, pl_module):
            self.reset()
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._add_masks(pl_module, set_up=callbacks[: callbacks.index(self)])

    def _follow_masks(self, module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Before a checkpoint is loaded strictly: the masks that it has are there, and none that it lacks is asked for.

        A layer that the checkpoint has no mask for gets one when the fit starts, of what is not zero.
        """
        own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        places = masked(module).values()
        if any(is_mask_key(name, own) for name in own):
            add_masks_of(module, own)
        elif not self._weights and any(place.full_name in own for place in places):
            remove_masks(module)

    def _goes_on(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Whether a Trainer goes on with what it has trained before: `fit` once more, with more epochs."""
        last = _TRAINED.get(trainer)
        _TRAINED[trainer] = weakref.ref(pl_module)
        return trainer.global_step > 0 and last is not None and last() is pl_module

    def _add_masks(self, pl_module: pl.LightningModule, set_up: Sequence[Callback]) -> None:
        """Mask the layers that there are, and the averages of them that live elsewhere in the module.

        Args:
            pl_module: Of the fit.
            set_up: The callbacks that may have copied the module before.
        """
        network = network_of(pl_module)
        copying = [c for c in set_up if isinstance(c, WeightAveraging | StochasticWeightAveraging)]
        new = [name for name, place in maskable(network).items() if place.is_unknown]
        if copying and new:
            raise SparsityError(
                f"list {type(self).__name__} before {type(copying[0]).__name__}, which copies the network before it "
                f"has masks (layer {new[0]!r} has none yet), and make layers in __init__ or call add_masks there"
            )
        if maskable(network):
            add_masks(network)
        for average in averages(pl_module):
            if maskable(average.module):
                add_masks(average.module)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.take_layers(pl_module)
        network = network_of(pl_module)
        if kept(network) != sizes(network):
            apply_masks(network)
            self.enforce_masks(trainer)

    def take_layers(self, pl_module: pl.LightningModule) -> None:
        """Mask layers that were made after `setup`, and remember all that are masked now.

        Raises:
            SparsityError: If a fit is resumed that knew other layers.
        """
        self._add_masks(pl_module, set_up=pl_module.trainer.callbacks)  # type: ignore[attr-defined]
        weights = masked_weights(network_of(pl_module))
        if self._names is not None and (other := sorted(set(self._names) ^ weights.keys())):
            had, has = ("a mask", "none") if other[0] in self._names else ("none", "one")
            raise SparsityError(
                f"layer {other[0]!r} had {had} in the run that is resumed and has {has} now; use the same network"
            )
        self._names = list(weights)
        self._weights = weights
        _say_what_stays_dense(pl_module)

    def enforce_masks(self, trainer: pl.Trainer) -> None:
        """Keep what the masks prune now at zero, under the optimizers that there are now."""
        if self._enforcer is None:
            self._enforcer = MaskEnforcer(network_of(trainer.lightning_module))
        else:
            self._enforcer.refresh()
        self._enforcer.attach(trainer.optimizers)
        self._mask_gradients = not all(map(is_element_wise, trainer.optimizers))

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._mask_gradients and self._enforcer:
            self._enforcer.mask_gradients()

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._enforcer and (self._mask_gradients or clips_norm(trainer)):
            self._enforcer.mask_gradients()

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _mask_averages(pl_module)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._require_sound(pl_module)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._require_sound(pl_module)

    def _require_sound(self, pl_module: pl.LightningModule) -> None:
        """Refuse to go on with, or to save, weights that are not finite or not masked any more."""
        require_finite_weights(network_of(pl_module))
        self.require_masks(pl_module)
        _mask_averages(pl_module)

    def require_masks(self, pl_module: pl.LightningModule) -> None:
        """Refuse to go on if a layer lost its mask, or another turned up, since the fit began.

        Raises:
            SparsityError: Names the layer.
        """
        network = network_of(pl_module)
        if self._weights:
            places = masked(network)
            for name, weight in self._weights.items():
                if name not in places or places[name].stored is not weight:
                    raise SparsityError(
                        f"the mask of layer {name!r} vanished: layer or weight was replaced during the fit (as "
                        "quantisation does), so nothing kept its pruned weights at zero; replace layers before the fit"
                    )
            if unmasked := [name for name, place in maskable(network).items() if place.is_unknown]:
                raise SparsityError(
                    f"layer {unmasked[0]!r} turned up during the fit, without a mask; make it in configure_model"
                )

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._loading is not None:
            self._loading.remove()
            self._loading = None
        if self._enforcer is not None:
            self._enforcer.detach()
            self._enforcer = None
        self._weights = {}
        self._mask_gradients = False


_TRAINED: WeakKeyDictionary[pl.Trainer, "weakref.ref[pl.LightningModule]"] = WeakKeyDictionary()
"""What each Trainer trained last."""


def _mask_averages(pl_module: pl.LightningModule) -> None:
    """Weights that were averaged while their mask moved are zero where it prunes now."""
    for average in averages(pl_module):
        apply_masks(average.module)


def _say_what_stays_dense(pl_module: pl.LightningModule) -> None:
    """Warn of layers that train beside `network`, which alone is pruned."""
    network = network_of(pl_module)
    if network is pl_module:
        return
    inside = {id(place.stored) for place in maskable(network).values()}
    others = {
        name: place.stored.numel()
        for name, place in maskable(pl_module).items()
        if place.stored is not None and place.stored.requires_grad and id(place.stored) not in inside
    }
    if others:
        rank_zero_warn(
            f"only `network` of {type(pl_module).__name__} is pruned and counted: {listed(list(others))} beside it, "
            f"{sum(others.values()):,} weights, stays dense; make it part of `network`, or give `network` another name "
            "and all of the module is pruned"
        )


def _refuse_others(trainer: pl.Trainer) -> None:
    if any(isinstance(callback, ModelPruning) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise SparsityError(
            "Lightning's ModelPruning has masks of its own, and both would prune; remove one of the two"
        )
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        raise SparsityError(
            f"{type(trainer.strategy).__name__} cuts weights into pieces, which masks do not fit; use strategy: ddp"
        )


def clips_norm(trainer: pl.Trainer) -> bool:
    """Whether the trainer clips the norm over all gradients."""
    return trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm != "value"
