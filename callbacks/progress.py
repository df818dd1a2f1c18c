"""A progress bar that costs nothing between its updates."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from typing_extensions import override


class QuietProgressBar(RichProgressBar):
    """Lightning's rich progress bar, which otherwise collects its metrics at every batch, far more often than it draws.

    Args:
        refresh_rate: Updates per second at most; an epoch's first and last batch always make one.

    Example:
        >>> trainer = pl.Trainer(callbacks=[QuietProgressBar()])
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._updated = 0.0

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        at_an_end = batch_idx == 0 or batch_idx + 1 == self.total_train_batches
        if at_an_end or (self.is_enabled and now - self._updated >= 1 / self.refresh_rate):
            self._updated = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
