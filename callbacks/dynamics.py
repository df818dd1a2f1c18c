"""How the mask moves during a fit, on the dashboard and as files."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn
from typing_extensions import override

from sparsity.analysis.dynamics.mask_history import MaskHistory, Update
from sparsity.analysis.output import next_folder, write_rows
from sparsity.analysis.records import Row
from sparsity.analysis.topology.connectivity import connectivity
from sparsity.callbacks.analysis import analysis_folder
from sparsity.callbacks.aside import aside
from sparsity.callbacks.network import network_of
from sparsity.callbacks.pruning import PruningCallback, find_pruner
from sparsity.callbacks.samples import batch_sample, known_sample
from sparsity.graph.sample import Given
from sparsity.masks import masked, masks

_MOST_TRACED = 8
"""Frames whose dead units are looked for, which takes as long as some training steps."""


class MaskDynamics(Callback):
    """Follows a mask that moves: a pruner that prunes and regrows, cuts step by step, or searches.

    Looks after every step in which the pruner set a mask, and at the end of every epoch. Logs the newest churn, overlap
    with the mask before, explored share and the like under `dynamics/` once an epoch, and writes `analysis/dynamics/`
    in the run's folder when the fit ends: `updates.csv`, a row for each mask, with the overlap with the last one and
    the dead units of some of them; `layers.csv`, densities and numbers of inputs; `masks.gif`. What they mean:
    `sparsity.analysis.dynamics`. A run whose mask never moves leaves nothing. What a resumed run writes is what it
    would have written uninterrupted.

    Args:
        animation: Write `masks.gif`, at most 2 MB.

    Example:
        >>> trainer = pl.Trainer(callbacks=[RigL(density=0.1), MaskDynamics()])
    """

    def __init__(self, animation: bool = True) -> None:
        self.animation = animation
        self._reset()

    def _reset(self) -> None:
        self._history = MaskHistory()
        self._seen = -1
        self._batch_sample: Given = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":  # before a checkpoint is restored
            self._reset()
            analysis_folder(trainer)  # claims the run's folder before somebody else has written into it

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._history.updates:
            self._look(trainer, pl_module)
        elif (pruner := find_pruner(trainer)) is not None:
            self._seen = pruner.masks_set  # what a resumed run was given back is nothing new

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batch_sample is None:
            self._batch_sample = batch_sample(batch)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pruner = find_pruner(trainer)
        if pruner is not None and pruner.masks_set != self._seen:
            self._look(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer, pl_module)  # a search has another mask after every step
        if self._history.has_moved:
            # As the loss is logged, so that both are curves over epochs.
            pl_module.log_dict(_scalars(self._history.updates[-1]), rank_zero_only=True)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        root = analysis_folder(trainer)
        if not trainer.is_global_zero or root is None or not self._history.has_moved:
            return
        with aside(type(self).__name__):
            sample = known_sample(trainer, pl_module)
            dead = self._dead_units(network_of(pl_module), self._batch_sample if sample is None else sample)
            folder = next_folder(root, "dynamics")
            write_rows(folder / "updates.csv", list(self._update_rows(dead)))
            write_rows(folder / "layers.csv", list(_layer_rows(self._history.updates)))
            if self.animation:
                from sparsity.plotting.animation import mask_animation

                (folder / "masks.gif").write_bytes(mask_animation(list(self._history.frames())))

    def _look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        pruner = find_pruner(trainer)
        if pruner is None or not trainer.is_global_zero:
            return
        self._seen = pruner.masks_set
        self._history.look(trainer.global_step, _by_unit(pruner, network_of(module)))

    def _update_rows(self, dead: Mapping[int, int]) -> Iterator[Row]:
        overlaps = self._history.iou_with_last_mask()
        for update in self._history.updates:
            numbers = {name: value for name, value in vars(update).items() if name != "layers"}
            yield {**numbers, "iou_with_last_mask": overlaps.get(update.step), "dead_units": dead.get(update.step)}

    def _dead_units(self, network: nn.Module, sample: Given) -> dict[int, int]:
        """By step, how many units some of the masks leave on no path."""
        frames = list(self._history.frames())
        # From the last one backwards, since the final network is looked at anyway.
        chosen = frames[:: -max(1, -(-len(frames) // _MOST_TRACED))]
        looked_at = copy.deepcopy(network).cpu()
        places, found = masked(looked_at), {}
        for step, frame in reversed(chosen):
            for name, mask in masks(looked_at).items():
                rows = torch.from_numpy(frame[name]).view(places[name].by_unit(mask).shape)
                mask.copy_(places[name].from_units(rows))
            found[step] = sum(layer.dead for layer in connectivity(looked_at, sample).layers.values())
        return found

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"history": self._history.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._history.load_state_dict(state_dict["history"])


def _by_unit(pruner: PruningCallback, network: nn.Module) -> dict[str, torch.Tensor]:
    places = masked(network)
    return {name: places[name].by_unit(mask) for name, mask in pruner.current_mask(network).items()}


def _scalars(update: Update) -> dict[str, float]:
    whole = {f"dynamics/{name}": float(value) for name, value in vars(update).items() if name not in ("step", "layers")}
    return whole | {f"dynamics/gini/{layer.layer}": layer.gini for layer in update.layers}


def _layer_rows(updates: list[Update]) -> Iterator[Row]:
    for update in updates:
        for layer in update.layers:
            yield {"step": update.step, **vars(layer)}
