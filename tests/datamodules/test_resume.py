"""A run that is interrupted anywhere and resumed ends with the same weights, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from sparsity.datamodules import CIFAR10
from sparsity.errors import SparsityError

STEPS_PER_EPOCH = 10


class LookAhead(Callback):
    """Makes Lightning build the training loader before it restores the loops, and takes a batch, as a pruner might."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.fit_loop.setup_data()
        next(iter(trainer.train_dataloader))
        next(iter(trainer.datamodule.train_dataloader()))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        next(iter(trainer.train_dataloader))


@pytest.fixture
def fit(
    cifar_root: Path, trainer: Callable[..., pl.Trainer], tiny_classifier: Callable[[int], Any]
) -> Callable[..., torch.Tensor]:
    """Fits 160 training images in augmented batches of 16 and returns the weights."""

    def run(
        seed: int = 1,
        checkpoint: Path | None = None,
        num_workers: int = 0,
        one_cycle: bool = False,
        batch_size: int = 16,
        callbacks: list[Callback] | None = None,
        **options: Any,
    ) -> torch.Tensor:
        pl.seed_everything(seed)
        options_of_data = {"batch_size": batch_size, "val_size": 40, "verify": False, "num_workers": num_workers}
        data = CIFAR10(data_dir=str(cifar_root), **options_of_data)
        assert data.augmentation is not None
        module = tiny_classifier(3072)
        module.one_cycle = one_cycle
        fitting = trainer(**{"max_epochs": 3, **options}, callbacks=callbacks or [])
        fitting.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.network[1].weight.detach()

    return run


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "after any step": ({"every_n_train_steps": 1}, {"max_epochs": 2}, 20),
    "at the end of an epoch": ({"save_on_train_epoch_end": True}, {}, 3),
    "at the end of validation": ({"save_on_train_epoch_end": False}, {}, 3),
    "at the end of validation in mid-epoch": ({"save_on_train_epoch_end": False}, {"val_check_interval": 0.5}, 6),
    "without validation": ({"every_n_train_steps": 3}, {"limit_val_batches": 0}, 10),
    "at the end of an epoch without validation": ({}, {"limit_val_batches": 0}, 3),
    "under max_steps": ({"every_n_train_steps": 4}, {"max_epochs": -1, "max_steps": 27}, 6),
    "at the end of an epoch under max_steps": (
        {"save_on_train_epoch_end": True},
        {"max_epochs": -1, "max_steps": 27},
        3,
    ),
    "with accumulated gradients": ({"every_n_train_steps": 1}, {"accumulate_grad_batches": 3}, 12),
    "with only some of the batches": ({"every_n_train_steps": 3}, {"limit_train_batches": 7}, 7),
    "with workers": ({"every_n_train_steps": 7}, {"num_workers": 2, "max_epochs": 2}, 2),
    "when the loader is made early": ({"every_n_train_steps": 4}, {"one_cycle": True}, 7),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_resumed_run_ends_with_the_same_weights(
    setting: str, fit: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    when, options, expected = SETTINGS[setting]
    saving = ModelCheckpoint(tmp_path / "kept", filename="{epoch}-{step}", save_top_k=-1, **when)
    uninterrupted = fit(callbacks=[saving], **options)
    checkpoints = list((tmp_path / "kept").glob("*.ckpt"))
    assert len(checkpoints) == expected
    for checkpoint in checkpoints:
        resumed = fit(seed=99, checkpoint=checkpoint, **options)
        assert torch.equal(resumed, uninterrupted), f"{checkpoint.name} led to other weights"


def test_a_callback_that_looks_at_batches_changes_nothing(fit: Callable[..., torch.Tensor], tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=4)
    uninterrupted = fit(callbacks=[saving])
    assert torch.equal(fit(callbacks=[LookAhead()]), uninterrupted)
    for checkpoint in (tmp_path / "kept").glob("*.ckpt"):
        assert torch.equal(fit(seed=99, checkpoint=checkpoint, callbacks=[LookAhead()]), uninterrupted)


def test_a_run_that_is_resumed_twice_ends_with_the_same_weights(
    fit: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    uninterrupted = fit()
    for start, stop in ((0, 4), (4, 13), (13, 20)):
        saving = ModelCheckpoint(tmp_path / str(stop), filename="kept", every_n_train_steps=stop)
        checkpoint = tmp_path / str(start) / "kept.ckpt" if start else None
        fit(seed=stop if start else 1, checkpoint=checkpoint, callbacks=[saving], max_epochs=-1, max_steps=stop)
    assert torch.equal(fit(seed=5, checkpoint=tmp_path / "20" / "kept.ckpt"), uninterrupted)


def test_a_run_that_goes_on_in_mid_epoch_with_batches_of_another_size_is_refused(
    fit: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=14)
    fit(callbacks=[saving], max_epochs=2)
    with pytest.raises(SparsityError, match=r"with 8, .* go on with --data.batch_size 16$"):
        fit(checkpoint=tmp_path / "kept.ckpt", batch_size=8)


def test_a_run_that_goes_on_after_an_epoch_with_batches_of_another_size_says_so(
    fit: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="kept", save_on_train_epoch_end=True)
    fit(callbacks=[saving], max_epochs=2)
    with pytest.warns(UserWarning, match="batches of 16 images and goes on with 8, over all processes"):
        fit(checkpoint=tmp_path / "kept.ckpt", batch_size=8)


def test_another_size_of_batches_is_nothing_to_a_validation(
    fit: Callable[..., torch.Tensor],
    trainer: Callable[..., pl.Trainer],
    tiny_classifier: Callable[[int], Any],
    cifar_root: Path,
    tmp_path: Path,
) -> None:
    fit(callbacks=[ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=14)], max_epochs=2)
    data = CIFAR10(batch_size=8, val_size=40, data_dir=str(cifar_root), verify=False)
    trainer().validate(tiny_classifier(3072), datamodule=data, ckpt_path=tmp_path / "kept.ckpt")


def test_workers_change_nothing_and_seeds_do(fit: Callable[..., torch.Tensor]) -> None:
    first = fit(max_epochs=1)
    assert torch.equal(first, fit(max_epochs=1, num_workers=2))
    assert not torch.equal(first, fit(max_epochs=1, seed=2))


def test_a_second_fit_of_the_same_data_module_starts_anew(
    cifar_root: Path, trainer: Callable[..., pl.Trainer], tiny_classifier: Callable[[int], Any], tmp_path: Path
) -> None:
    data = CIFAR10(batch_size=16, val_size=40, data_dir=str(cifar_root), verify=False)

    def fit(checkpoint: Path | None = None) -> torch.Tensor:
        pl.seed_everything(1)
        module = tiny_classifier(3072)
        saving = ModelCheckpoint(tmp_path / "kept", filename="{step}", save_top_k=-1, every_n_train_steps=3)
        trainer(max_epochs=2, callbacks=[saving]).fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.network[1].weight.detach()

    first = fit()
    assert torch.equal(fit(tmp_path / "kept" / "step=3.ckpt"), first)
    assert torch.equal(fit(), first)
