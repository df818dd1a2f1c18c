"""Checkpoints of a sparse run: the last state, to resume from, and the best network of the final density."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from sparsity.atomic import put_in_place
from sparsity.callbacks.pruning import find_pruner
from sparsity.distributed import gather
from sparsity.errors import require_whole_number
from sparsity.runs.claiming import run_folder

_RANDOM_STATES = "random_states"


class SparseCheckpoint(Checkpoint):
    """Saves `last.ckpt` and `best.ckpt` in the run's `checkpoints/`.

    The last one is saved when training starts (so right after pruning before training), after every epoch, and when
    SIGTERM asks a run of one process to end, as soon as the batch at hand is done, unless it is the epoch's last. The
    best one is chosen among networks of the final density only: a network half-way through pruning may be more
    accurate and is not what was asked for. A file is complete or not there: it is written aside and then renamed.
    Torch's random states are saved too, so that a resumed run draws the same dropout masks, if its DataLoaders have
    generators of their own as those of `sparsity.datamodules` have.

    Args:
        monitor: The logged metric that tells the best; without validation there is only the last.
        mode: Whether higher or lower is better.
        every_n_train_steps: Save the last also after every so many optimizer steps.

    Raises:
        SparsityError: If `every_n_train_steps` is not positive.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Random(density=0.1), SparseCheckpoint(monitor="val/loss", mode="min")])
    """

    def __init__(
        self,
        monitor: str = "val/accuracy",
        mode: Literal["max", "min"] = "max",
        every_n_train_steps: int | None = None,
    ) -> None:
        if every_n_train_steps is not None:
            require_whole_number("every_n_train_steps", every_n_train_steps, at_least=1)
        self.monitor = monitor
        self.mode = mode
        self.every_n_train_steps = every_n_train_steps
        self._reset()

    def _reset(self) -> None:
        self.best_model_score: float | None = None
        self.best_model_path = ""
        self.last_model_path = ""
        self._folder: Path | None = None
        self._last_step = -1
        self._has_said = False
        self._random_state: dict[str, Tensor] | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            if trainer.global_step == 0:  # else the Trainer goes on with what it has trained
                self._reset()
            root = run_folder(trainer)
            self._folder = None if root is None else root.checkpoints

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[_RANDOM_STATES] = gather(_random_state(pl_module.device))

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = checkpoint.get(_RANDOM_STATES, [])
        # With another number of processes there is no exact continuation; each keeps its own state.
        self._random_state = states[trainer.global_rank] if len(states) == trainer.world_size else None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._random_state is not None:
            _set_random_state(self._random_state, pl_module.device)
            self._random_state = None
        self._save_last(trainer)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Several processes do not hear of the signal after the same batch, and would wait for each other here.
        asked = trainer.received_sigterm and trainer.world_size == 1
        # Lightning cannot go on from between the last batch and the end of the epoch, which is saved anyway.
        if (asked or self._is_due(trainer)) and not trainer.is_last_batch:
            self._save_last(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if not self.every_n_train_steps:
            return False
        step = trainer.global_step
        return step % self.every_n_train_steps == 0 and step != self._last_step

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pruner = find_pruner(trainer)
        if (pruner is None or pruner.is_final) and self._improves(trainer):
            self.best_model_score = float(trainer.callback_metrics[self.monitor])
            self.best_model_path = self._save(trainer, "best.ckpt")
        self._save_last(trainer)

    def _improves(self, trainer: pl.Trainer) -> bool:
        if self.monitor not in trainer.callback_metrics:
            self._say_if_unknown(trainer)
            return False
        score, best = float(trainer.callback_metrics[self.monitor]), self.best_model_score
        return best is None or (score > best if self.mode == "max" else score < best)

    def _say_if_unknown(self, trainer: pl.Trainer) -> None:
        """Without validation there is no best, as the default expects; a wrong name would look the same."""
        stage, slash, _ = self.monitor.rpartition("/")
        # A module of somebody else's may say val_loss.
        alike = sorted(name for name in trainer.callback_metrics if name.startswith((stage + slash, "val")))
        if alike and not self._has_said:
            self._has_said = True
            rank_zero_warn(
                f"SparseCheckpoint monitors {self.monitor!r}, which is not logged, so there is no best.ckpt; "
                f"there are {', '.join(alike)}"
            )

    def _save_last(self, trainer: pl.Trainer) -> None:
        self.last_model_path = self._save(trainer, "last.ckpt")
        self._last_step = trainer.global_step

    def save_network(self, trainer: pl.Trainer, name: str) -> str:
        """Save the network as it is now, without what a fit needs to go on, beside the other checkpoints.

        Args:
            trainer: In a fit; every process has to call this.
            name: Of the file.

        Returns:
            Its path.
        """
        return self._save(trainer, name, weights_only=True)

    def _save(self, trainer: pl.Trainer, name: str, weights_only: bool = False) -> str:
        if self._folder is None:
            return ""
        path, partial = self._folder / name, self._folder / f".{name}.partial"
        with _temporary_files_in(self._folder):
            trainer.save_checkpoint(partial, weights_only=weights_only)
        if trainer.is_global_zero:
            put_in_place(partial, path)
        trainer.strategy.barrier()
        return str(path)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"best_model_score": self.best_model_score, "best_model_path": self.best_model_path}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_model_score = state_dict["best_model_score"]
        self.best_model_path = state_dict["best_model_path"]


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Where Lightning writes a file before it moves it: by default /tmp, which may be small and another disk."""
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
