"""What published learning rates have besides a schedule: a warm-up by steps, and the batch that they are for."""

from typing import Literal

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

from sparsity.errors import SparsityError

Interval = Literal["epoch", "step"]

_MULTIPLY = (
    ConstantLR, CosineAnnealingLR, ExponentialLR, LinearLR, MultiplicativeLR, MultiStepLR, PolynomialLR, StepLR,
)  # fmt: skip
"""Schedules that multiply the rate that there is, so that another may do so too."""


def warmup(optimizer: Optimizer, steps: int, schedule: object = None) -> LRScheduler:
    """Let the rate rise linearly over the first steps: at step k, from 0, it is `min(1, (k + 1) / steps)` of it.

    Args:
        optimizer: Its rates are lowered at once.
        steps: At least 1.
        schedule: Of the same optimizer, at work besides.

    Returns:
        To be stepped with every optimizer step.

    Raises:
        SparsityError: If the schedule sets rates, whatever they are, instead of multiplying them.
    """
    lowest = getattr(schedule, "eta_min", 0.0)
    if schedule is not None and (type(schedule) not in _MULTIPLY or lowest):
        name = type(schedule).__name__ + (f" with eta_min {lowest:g}" if lowest else "")
        raise SparsityError(
            f"{name} sets the learning rate, so warmup_steps would be without effect; take a schedule that multiplies "
            f"it ({', '.join(kind.__name__ for kind in _MULTIPLY)}), or one with a warm-up of its own, such as "
            "OneCycleLR by lr_interval step"
        )
    return LinearLR(optimizer, start_factor=1 / steps, total_iters=max(1, steps - 1))


def scale_to_batch(optimizer: Optimizer, trainer: pl.Trainer, batch_size: int) -> None:
    """Scale rates in proportion to the images in a step (Goyal et al. 2017, "Accurate, large minibatch SGD").

    Args:
        optimizer: Its rates are for steps of `batch_size` images; they are changed in place.
        trainer: Of the fit, on all processes and over all accumulated batches of which a step's images are counted.
        batch_size: At least 1.

    Raises:
        SparsityError: If the data do not say how large their batches are.
    """
    own = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
    if not isinstance(own, int):
        raise SparsityError("lr_batch_size needs a data module that says its batch_size; leave it out, or set the rate")
    factor = own * trainer.world_size * trainer.accumulate_grad_batches / batch_size
    for group in optimizer.param_groups:
        group["lr"] *= factor
