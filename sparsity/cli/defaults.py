"""What every run has unless the user says otherwise, and what no Trainer takes."""

from inspect import signature
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, ProgressBar

from sparsity.callbacks import DensityMonitor, QuietProgressBar, SparseCheckpoint, StopOnDivergence
from sparsity.errors import SparsityError


def default_callbacks(trainer: dict[str, Any], own: list[Callback]) -> list[Callback]:
    """What every run has unless the user configured another of its kind or switched it off."""
    defaults: list[Callback] = []
    if trainer["barebones"]:
        return defaults
    if trainer["enable_progress_bar"] is not False and not _has(own, ProgressBar):
        defaults.append(QuietProgressBar())
    if trainer["enable_checkpointing"] is not False and not _has(own, Checkpoint):
        defaults.append(SparseCheckpoint())
    if trainer["logger"] is not False and not trainer["fast_dev_run"] and not _has(own, LearningRateMonitor):
        defaults.append(LearningRateMonitor(logging_interval="epoch"))
    defaults += [kind() for kind in (DensityMonitor, StopOnDivergence) if not _has(own, kind)]
    return defaults


def require_no_null(trainer: dict[str, Any]) -> None:
    """Refuse null where Lightning takes none; the parser lets it pass, and some of it fails only in the fit.

    Raises:
        SparsityError: Names the argument.
    """
    for name, parameter in signature(pl.Trainer).parameters.items():
        if parameter.annotation in (bool, int, float) and trainer.get(name) is None:
            raise SparsityError(f"trainer.{name} must be of type {parameter.annotation.__name__}, not null")


def _has(callbacks: list[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)
