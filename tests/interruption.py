"""A callback for tests that ends the process as a power cut would; used in subprocesses by its dotted name."""

import os
import signal
from typing import Any

import pytorch_lightning as pl


class KillAt(pl.Callback):
    """Kills the process before a batch.

    Args:
        epoch: Of the batch.
        batch: Of the epoch.
    """

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch = epoch
        self.batch = batch

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            os.kill(os.getpid(), signal.SIGKILL)
