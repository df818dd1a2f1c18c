"""Callbacks that tests put into subprocesses by their dotted names."""

import os
import signal
from typing import Any

import pytorch_lightning as pl
import torch


class KillAt(pl.Callback):
    """Sends the process a signal before a batch.

    Args:
        epoch: Of the batch.
        batch: Of the epoch.
        by: Name of the signal.
    """

    def __init__(self, epoch: int, batch: int, by: str = "SIGKILL") -> None:
        self.epoch = epoch
        self.batch = batch
        self.by = by

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            os.kill(os.getpid(), signal.Signals[self.by])


class SaveRank(pl.Callback):
    """Saves every rank's network when training ends.

    Args:
        folder: Where `rank_<number>.pt` go.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        torch.save(pl_module.network.state_dict(), f"{self.folder}/rank_{trainer.global_rank}.pt")
