"""A progress bar of one line for a whole fit, which costs nothing between its updates."""

import logging
import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, track
from rich.table import Column
from typing_extensions import override

from sparsity.callbacks.network import network_of
from sparsity.callbacks.phase import epoch_of
from sparsity.callbacks.pruning import find_pruner, mask_in_use
from sparsity.formatting import percent

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
        done, said = self._trained(trainer) + batches, self._said(trainer, phase.cuts_in_words)
        self._show(description=phase.where, completed=done, said=said)

    def _said(self, trainer: pl.Trainer, cuts: str = "") -> str:
        density = "" if self._density is None else f"density {percent(self._density)}"
        return ", ".join(filter(None, [cuts, density, *_metrics(trainer)]))

    def _trained(self, trainer: pl.Trainer) -> int:
        batches = trainer.num_training_batches
        return 0 if math.isinf(batches) else trainer.current_epoch * int(batches)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._line is not None:
            # The last validation came after the last batch; and the epoch that has ended is counted by now.
            self._density = _density(trainer, pl_module)
            self._show(said=self._said(trainer))
        self._stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:  # whose line it is
            what, counts = _evaluation(trainer)
            self._start(what, sum(counts))

    def _show_evaluation(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or not self._is_due(is_last=False):
            return
        what, counts = _evaluation(trainer)
        done, total = int(sum(counts[:dataloader_idx])) + batch_idx + 1, sum(counts)
        in_words = f"{what} {done}" if math.isinf(total) else f"{what} {done}/{total:.0f}"
        of_its_own = {} if trainer.state.fn == TrainerFn.FITTING else {"completed": done}
        self._show(description=in_words, **of_its_own)

    def _end_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._stop()

    on_validation_start = on_test_start = on_predict_start = _start_evaluation
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _show_evaluation
    on_validation_end = on_test_end = on_predict_end = _end_evaluation


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


def _evaluation(trainer: pl.Trainer) -> tuple[str, Sequence[int | float]]:
    """What is evaluated, and how many batches each loader has."""
    match trainer.state.stage:
        case RunningStage.TESTING:
            what, counts = "test", trainer.num_test_batches
        case RunningStage.PREDICTING:
            what, counts = "prediction", trainer.num_predict_batches
        case _:
            what, counts = "validation", trainer.num_val_batches
    return what, counts if isinstance(counts, list) else [counts]


def _density(trainer: pl.Trainer, module: pl.LightningModule) -> float | None:
    found = list(mask_in_use(trainer, network_of(module)).values())
    if not found:
        return None
    return int(torch.stack([mask.sum() for mask in found]).sum()) / sum(mask.numel() for mask in found)


def _metrics(trainer: pl.Trainer) -> list[str]:
    found = trainer.progress_bar_metrics.items()
    return [f"{name} {value:.4g}" for name, value in found if isinstance(value, int | float)]
