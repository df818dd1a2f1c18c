"""A progress bar of one line for a whole fit, which costs nothing between its updates."""

import logging
import math
import sys
import time
from collections.abc import Iterable
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, track
from rich.table import Column
from typing_extensions import override

from sparsity.callbacks.network import network_of
from sparsity.callbacks.phase import Phase, epoch_of
from sparsity.callbacks.pruning import find_pruner
from sparsity.masks import masks

T = TypeVar("T")

_LOGGERS = ("pytorch_lightning", "lightning", "lightning_fabric")


class QuietProgressBar(ProgressBar):
    """One line for a whole fit: its phase, how far it is, density and metrics, and how long it will take still.

    It is seen in terminals and notebooks alone. Lightning's own bars draw an epoch at a time, wrap, and collect their
    metrics at every batch, far more often than they draw.

    Args:
        refresh_rate: Updates per second at most, at least 1; an epoch's last batch always makes one.

    Example:
        >>> trainer = pl.Trainer(callbacks=[QuietProgressBar()])
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__()
        self.refresh_rate = max(1, refresh_rate)
        self._enabled = True
        self._clear()

    def _clear(self) -> None:
        self._line: Progress | None = None
        self._task = TaskID(0)
        self._updated = 0.0
        self._density: float | None = None
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []

    @property
    def is_enabled(self) -> bool:
        """Whether it would be seen."""
        console = Console()
        return self._enabled and (console.is_terminal or console.is_jupyter)

    @override
    def enable(self) -> None:
        self._enabled = True

    @override
    def disable(self) -> None:
        self._enabled = False
        self._stop()

    @override
    def print(self, *args: Any, **kwargs: Any) -> None:
        print(*args, **{"file": sys.stdout, **kwargs})  # which a line that is shown moves above itself

    def _start(self, what: str, total: float, done: int = 0, stays: bool = False) -> None:
        self._stop()
        if not self.is_enabled:
            return
        said = TextColumn("{task.fields[said]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        self._line = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            said,
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(),
            expand=True,
            transient=not stays,
            auto_refresh=False,
        )
        length = None if math.isinf(total) else total
        self._task = self._line.add_task(what, total=length, completed=done, said="")
        self._line.start()
        for logger in map(logging.getLogger, _LOGGERS):
            for handler in logger.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is not sys.stderr:
                    self._streams.append((handler, handler.setStream(sys.stderr)))

    def _stop(self) -> None:
        if self._line is not None:
            self._line.refresh()
            self._line.stop()
        for handler, stream in self._streams:
            if stream is not None:
                handler.setStream(stream)
        self._clear()

    def _is_due(self, is_last: bool) -> bool:
        if self._line is None:
            return False
        now = time.monotonic()
        if not is_last and now - self._updated < 1 / self.refresh_rate:
            return False
        self._updated = now
        return True

    def _show(self, **fields: Any) -> None:
        if self._line is not None:
            self._line.update(self._task, refresh=True, **fields)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        total: float = math.inf if epochs in (None, -1) else batches * epochs
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps * trainer.accumulate_grad_batches)
        self._start("", total, done=self._trained(trainer), stays=True)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._line is not None:
            self._density = _density(trainer, pl_module)
            self._show_training(trainer)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due(is_last=batch_idx + 1 == trainer.num_training_batches):
            self._show_training(trainer, batch_idx + 1)

    def _show_training(self, trainer: pl.Trainer, batches: int = 0) -> None:
        pruner = find_pruner(trainer)
        phase = pruner.phase(trainer) if pruner else epoch_of(trainer)
        said = ", ".join(filter(None, [phase.network(self._density), *_metrics(trainer)]))
        self._show(description=phase.where, completed=self._trained(trainer) + batches, said=said)

    def _trained(self, trainer: pl.Trainer) -> int:
        batches = trainer.num_training_batches
        return 0 if math.isinf(batches) else trainer.current_epoch * int(batches)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._line is not None:
            # The last validation came after the last batch; and the epoch that has ended is counted by now.
            said = ", ".join(filter(None, [Phase("", 1, 1).network(_density(trainer, pl_module)), *_metrics(trainer)]))
            self._show(said=said)
        self._stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show_evaluation(trainer, "validation", trainer.num_val_batches, batch_idx, dataloader_idx)

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show_evaluation(trainer, "test", trainer.num_test_batches, batch_idx, dataloader_idx)

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show_evaluation(trainer, "prediction", trainer.num_predict_batches, batch_idx, dataloader_idx)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._start("validation", _sum(trainer.num_val_batches))

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start("test", _sum(trainer.num_test_batches))

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start("prediction", _sum(trainer.num_predict_batches))

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._stop()

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def _show_evaluation(
        self, trainer: pl.Trainer, what: str, counts: "list[int | float] | int | float", batch_idx: int, loader: int
    ) -> None:
        if trainer.sanity_checking or not self._is_due(is_last=False):
            return
        earlier = sum(counts[:loader]) if isinstance(counts, list) else 0
        done, of = int(earlier) + batch_idx + 1, _sum(counts)
        in_words = f"{what} {done}" if math.isinf(of) else f"{what} {done}/{of:.0f}"
        if trainer.state.fn == TrainerFn.FITTING:  # whose line it is
            self._show(description=in_words)
        else:
            self._show(description=in_words, completed=done)


def tracked(trainer: pl.Trainer, items: Iterable[T], what: str) -> Iterable[T]:
    """The items, with a line that shows how far they are and goes away, where the trainer's progress bar is ours.

    Args:
        trainer: Of the fit.
        items: With a length.
        what: Is done.
    """
    bar = trainer.progress_bar_callback
    if not isinstance(bar, QuietProgressBar) or not bar.is_enabled:
        return items
    return track(items, description=what, transient=True)


def _density(trainer: pl.Trainer, module: pl.LightningModule) -> float | None:
    network, pruner = network_of(module), find_pruner(trainer)
    found = list((pruner.current_mask(network) if pruner else masks(network)).values())
    if not found:
        return None
    return int(torch.stack([mask.sum() for mask in found]).sum()) / sum(mask.numel() for mask in found)


def _metrics(trainer: pl.Trainer) -> list[str]:
    found = {name: value for name, value in trainer.progress_bar_metrics.items() if isinstance(value, int | float)}
    return [f"{name} {value:.4g}" for name, value in found.items()]


def _sum(counts: "list[int | float] | int | float") -> float:
    return sum(counts) if isinstance(counts, list) else counts
