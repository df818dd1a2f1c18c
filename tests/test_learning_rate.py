from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau

from sparsity.callbacks import IterativeMagnitude
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.networks import FC

STEPS = 3
"""Of an epoch: 96 images in batches of 32."""


class Rates(pl.Callback):
    """The rate that each step is taken with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.seen.append(optimizer.param_groups[0]["lr"])


def rates(
    tmp_path: Path, schedule: Any = None, epochs: int = 4, callbacks: tuple[pl.Callback, ...] = (),
    trainer: dict[str, Any] | None = None, ckpt_path: Path | None = None, **options: Any,
) -> list[float]:  # fmt: skip
    seen = Rates()
    module = SparseClassifier(FC(width=4), partial(SGD, lr=1.0, weight_decay=1e-4), schedule, **options)
    fit = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path, callbacks=[seen, *callbacks], **(trainer or {}),
    )  # fmt: skip
    fit.fit(module, Digits(batch_size=32, limit=96, val_size=0), ckpt_path=ckpt_path)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    return seen.seen


def test_a_rate_rises_over_the_first_steps_and_falls_by_its_schedule(tmp_path: Path) -> None:
    milestones = partial(MultiStepLR, milestones=[1, 3], gamma=0.1)
    found = rates(tmp_path, milestones, warmup_steps=5)
    # k + 1 of 5, times 0.1 from the second epoch on, times 0.01 from the fourth.
    expected = [0.2, 0.4, 0.6, 0.08, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "expected"), [(0, [1.0] * 3), (1, [1.0] * 3), (2, [0.5, 1.0, 1.0])])
def test_a_warm_up_needs_no_schedule(tmp_path: Path, steps: int, expected: list[float]) -> None:
    assert rates(tmp_path, epochs=1, warmup_steps=steps) == pytest.approx(expected)


def test_a_warm_up_multiplies_a_cosine(tmp_path: Path) -> None:
    cosine = partial(CosineAnnealingLR, T_max=4)
    plain, warm = (rates(tmp_path, cosine, warmup_steps=steps) for steps in (0, 7))
    assert warm == pytest.approx([rate * min(1, (k + 1) / 7) for k, rate in enumerate(plain)])


def test_a_run_that_is_resumed_within_its_warm_up_has_the_same_rates(tmp_path: Path) -> None:
    milestones = partial(MultiStepLR, milestones=[2], gamma=0.1)
    whole = rates(tmp_path, milestones, warmup_steps=7)
    first = rates(tmp_path, milestones, warmup_steps=7, epochs=1)
    rest = rates(tmp_path, milestones, warmup_steps=7, ckpt_path=tmp_path / "last.ckpt")
    assert first + rest == whole


def test_every_training_of_a_ticket_warms_up_anew(tmp_path: Path) -> None:
    found = rates(tmp_path, epochs=4, callbacks=(IterativeMagnitude(0.5, rounds=1),), warmup_steps=4)
    assert found == pytest.approx(2 * [0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "schedule",
    [partial(LambdaLR, lr_lambda=lambda epoch: 0.5), partial(OneCycleLR, max_lr=1.0, total_steps=12),
     partial(CosineAnnealingLR, T_max=4, eta_min=0.1), partial(ReduceLROnPlateau, mode="min")],
)  # fmt: skip
def test_a_warm_up_beside_a_schedule_that_sets_rates_is_refused(schedule: LRSchedulerCallable, tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match=r"sets the learning rate, so warmup_steps would be without effect; take"):
        rates(tmp_path, schedule, warmup_steps=5)


def test_a_schedule_may_count_steps(tmp_path: Path) -> None:
    cycle = partial(OneCycleLR, max_lr=1.0, total_steps=13)
    found = rates(tmp_path, cycle, lr_interval="step")
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, expected = cycle(optimizer), []
    for _ in range(4 * STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(expected)
    assert len(set(found)) == len(found)


def test_a_rate_is_scaled_to_the_images_of_a_step(tmp_path: Path) -> None:
    assert rates(tmp_path, epochs=1, lr_batch_size=128) == [0.25] * STEPS
    accumulated = rates(tmp_path, epochs=1, lr_batch_size=128, trainer={"accumulate_grad_batches": 3})
    assert accumulated == [0.75]


def test_a_rate_is_not_scaled_to_data_that_do_not_say_their_batch_size(tmp_path: Path) -> None:
    data = torch.utils.data.DataLoader([(torch.zeros(1, 28, 28), 0)], batch_size=1)
    trainer = pl.Trainer(max_epochs=1, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    with pytest.raises(SparsityError, match="lr_batch_size needs a data module that says its batch_size"):
        trainer.fit(SparseClassifier(FC(), lr_batch_size=128), data)


@pytest.mark.parametrize(
    "options", [{"warmup_steps": -1}, {"warmup_steps": 1.5}, {"lr_batch_size": 0}, {"lr_interval": "batch"}]
)
def test_options_outside_their_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SparsityError, match=next(iter(options))):
        SparseClassifier(FC(), **options)
