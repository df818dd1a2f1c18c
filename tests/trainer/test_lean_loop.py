"""The lean loop does what Lightning's does, step by step, and leaves everything else to it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.profilers import SimpleProfiler
from torch import Tensor
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import LinearLR, OneCycleLR

from sparsity.callbacks import EdgePopup, GemMiner, IterativeMagnitude, RigL, SparseCheckpoint, SynFlow
from sparsity.classifier import Batch, SparseClassifier
from sparsity.datamodules import Digits
from sparsity.networks import FC
from sparsity.trainer import internals
from sparsity.trainer.internals import use_lean_loop
from sparsity.trainer.lean_loop import STEP_HOOKS, LeanEpochLoop


class Recorder(Callback):
    """Writes down every hook of a step, what it was told, and how far the run was; logs in one of them."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.hear("on_train_batch_end", trainer, pl_module, outputs, batch, batch_idx)
        pl_module.log("step_loss", outputs["loss"], on_step=True, on_epoch=True, batch_size=len(batch[1]))

    def hear(self, hook: str, trainer: pl.Trainer, module: pl.LightningModule, *arguments: Any) -> None:
        told = [
            float(a.detach()) if isinstance(a, Tensor) else a if isinstance(a, int) else type(a).__name__
            for a in arguments
        ]
        progress = trainer.fit_loop.epoch_loop.state_dict()
        gradients = sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)
        self.heard.append((hook, told, trainer.global_step, trainer.is_last_batch, progress, gradients))


def _hears(hook: str) -> Callable[..., None]:
    return lambda self, trainer, module, *arguments: self.hear(hook, trainer, module, *arguments)


for name in STEP_HOOKS:
    if name != "on_train_batch_end":
        setattr(Recorder, name, _hears(name))


class StepwiseClassifier(SparseClassifier):
    """A schedule that goes on with every step."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
        return [optimizer], [{"scheduler": OneCycleLR(optimizer, 0.1, total_steps=100), "interval": "step"}]


def _classifier(kind: type[SparseClassifier] = SparseClassifier, **arguments: Any) -> SparseClassifier:
    pl.seed_everything(3, verbose=False)
    return kind(FC((1, 28, 28), num_classes=10, width=12, depth=2), **arguments)


def _fit(folder: Path, lean: bool, module: SparseClassifier, *callbacks: Callback, **flags: Any) -> pl.Trainer:
    flags = {"max_epochs": 4, "log_every_n_steps": 2, "accelerator": "cpu", **flags}
    checkpoint = SparseCheckpoint()
    trainer = pl.Trainer(
        default_root_dir=folder, logger=CSVLogger(folder), callbacks=[*callbacks, checkpoint],
        enable_progress_bar=False, enable_model_summary=False, **flags,
    )  # fmt: skip
    if lean:
        use_lean_loop(trainer)
    trainer.fit(module, datamodule=Digits(batch_size=64, limit=300))
    return trainer


RUNS: dict[str, Callable[..., Any]] = {
    "SynFlow": lambda: (_classifier(), SynFlow(0.2, iterations=3)),
    "GemMiner": lambda: (_classifier(), GemMiner(0.2, search_epochs=2)),
    "EdgePopup": lambda: (_classifier(), EdgePopup(0.2)),
    "tickets rewound to a step": lambda: (_classifier(), IterativeMagnitude(0.2, rounds=2, rewind=3)),
    "RigL, a schedule per step": lambda: (_classifier(StepwiseClassifier), RigL(0.2, interval=3)),
    "a schedule per epoch": lambda: (_classifier(optimizer=Adam, lr_scheduler=partial(LinearLR, total_iters=3)),),
    "LBFGS": lambda: (_classifier(optimizer=partial(LBFGS, max_iter=3)),),
    "stopped early": lambda: (_classifier(), EarlyStopping("val/loss", patience=0, mode="max")),
}


@pytest.mark.parametrize(
    ("run", "precision"), [*((run, "32-true") for run in RUNS), ("SynFlow", "bf16-mixed"), ("GemMiner", "bf16-mixed")]
)
def test_it_does_what_lightnings_loop_does(run: str, precision: str, tmp_path: Path) -> None:
    sides = {}
    for lean in (False, True):
        module, *callbacks = RUNS[run]()
        recorder = Recorder()
        flags = {"val_check_interval": 2, "precision": precision}
        trainer = _fit(tmp_path / str(lean), lean, module, *callbacks, recorder, **flags)
        loop = trainer.fit_loop.epoch_loop
        assert isinstance(loop, LeanEpochLoop) == lean
        assert not lean or loop._overridden_hooks is not None
        metrics = Path(trainer.logger.log_dir, "metrics.csv").read_text()  # type: ignore[union-attr, arg-type]
        sides[lean] = (recorder.heard, trainer.fit_loop.state_dict(), metrics, trainer.callback_metrics), module
    (theirs, their_module), (ours, our_module) = sides[False], sides[True]
    assert ours == theirs
    assert len(ours[0]) > 20
    for name, value in their_module.state_dict().items():
        assert torch.equal(value, our_module.state_dict()[name]), name


class OwnStep(SparseClassifier):
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx)


class OwnHook(SparseClassifier):
    def on_after_backward(self) -> None:
        pass


class OwnTransfer(Digits):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


@pytest.mark.parametrize(
    ("kind", "data", "flags"),
    [
        (OwnStep, Digits, {}),
        (OwnHook, Digits, {}),
        (SparseClassifier, OwnTransfer, {}),
        (SparseClassifier, Digits, {"gradient_clip_val": 1.0}),
        (SparseClassifier, Digits, {"accumulate_grad_batches": 2}),
        (SparseClassifier, Digits, {"precision": "bf16-true"}),
        (SparseClassifier, Digits, {"profiler": SimpleProfiler()}),
    ],
    ids=["own step", "own hook", "own transfer", "clipping", "accumulation", "precision", "profiler"],
)
def test_it_steps_aside_where_more_than_callbacks_takes_part(
    kind: type[SparseClassifier], data: type[Digits], flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced = []
    theirs = _TrainingEpochLoop.advance
    monkeypatch.setattr(_TrainingEpochLoop, "advance", lambda *a: (advanced.append(1), theirs(*a))[1])
    trainer = pl.Trainer(
        max_steps=3, logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **flags,
    )  # fmt: skip
    use_lean_loop(trainer)
    trainer.fit(_classifier(kind), datamodule=data(batch_size=64, limit=300))
    assert len(advanced) >= 3


def test_another_version_of_lightning_keeps_its_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "version", "2.7.0")
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    use_lean_loop(trainer)
    assert type(trainer.fit_loop.epoch_loop) is _TrainingEpochLoop
