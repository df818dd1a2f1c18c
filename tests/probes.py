"""Callbacks that tests put into subprocesses by their dotted names."""

import os
import signal
from typing import Any

import pytorch_lightning as pl
import torch

from sparsity.errors import SparsityError


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


class FailOn(pl.Callback):
    """Raises a user's mistake on some of the processes, after their first step.

    Args:
        ranks: Their numbers.
    """

    def __init__(self, ranks: list[int]) -> None:
        self.ranks = ranks

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_rank in self.ranks:
            raise SparsityError("this is wrong; do that")
