import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from sparsity.callbacks import IterativeMagnitude, SparseCheckpoint
from sparsity.callbacks.lottery import TicketPlan
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.masks import kept, masked, masks
from sparsity.networks import FC


class Follow(pl.Callback):
    """Weights, masks, learning rate and data at the start of every step, and the fresh state of the optimizer."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int) -> None:
        network = getattr(pl_module, "network", pl_module)
        self.steps.append({
            "weights": {n: p.detach().clone() for n, p in network.named_parameters()},
            "buffers": {n: b.clone() for n, b in network.named_buffers() if "mask" not in n},
            "masks": {n: m.clone() for n, m in masks(network).items()},
            "rate": trainer.optimizers[0].param_groups[0]["lr"],
            "labels": batch[1].tolist(),
            "images": batch[0].sum().item(),
            "momentum": len(trainer.optimizers[0].state),
        })  # fmt: skip


def follow(make_module: Any, make_trainer: Any, loader: DataLoader[Any], **options: Any) -> list[dict[str, Any]]:
    module, watch = make_module(lambda p: SGD(p, lr=0.05, momentum=0.9)), Follow()
    # Nine epochs of six steps: three trainings of three epochs.
    make_trainer(IterativeMagnitude(0.25, rounds=2, **options), watch, max_epochs=9).fit(module, loader)
    return watch.steps


def same(now: dict[str, Tensor], then: dict[str, Tensor], mask: dict[str, Tensor]) -> bool:
    kept_then = {n: t * mask[n[:-7]] if n[:-7] in mask and n.endswith(".weight") else t for n, t in then.items()}
    return all(torch.equal(t, kept_then[n]) for n, t in now.items())


@pytest.mark.parametrize(("rewind", "origin"), [("init", 0), (0, 0), (8, 8)])
def test_every_round_starts_from_the_state_rewound_to_under_its_mask_with_a_new_optimizer(
    rewind: Any, origin: int, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    steps = follow(make_module, make_trainer, loader, rewind=rewind)
    for start in (18, 36):
        assert same(steps[start]["weights"], steps[origin]["weights"], steps[start]["masks"])
        assert same(steps[start]["buffers"], steps[origin]["buffers"], {})
        assert steps[start]["momentum"] == 0


def test_learning_rate_rewinding_keeps_the_trained_weights(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, watch = make_module(), Follow()

    class After(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            if trainer.global_step == 18:
                self.weights = {n: p.detach().clone() for n, p in pl_module.named_parameters()}

    after = After()
    pruner = IterativeMagnitude(0.25, rounds=2, rewind="learning_rate")
    make_trainer(pruner, watch, after, max_epochs=9).fit(module, loader)
    assert same(watch.steps[18]["weights"], after.weights, watch.steps[18]["masks"])
    assert watch.steps[18]["momentum"] == 0


def test_cuts_take_the_smallest_trained_weights_down_an_exponential(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, watch = make_module(), Follow()

    class Trained(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            if trainer.global_step == 18:
                layers = masked(pl_module).items()
                self.weights = torch.cat([layer.weight.detach().abs().flatten() for _, layer in layers])

    trained = Trained()
    make_trainer(IterativeMagnitude(0.25, rounds=2), watch, trained, max_epochs=9).fit(module, loader)
    counts = [sum(int(m.sum()) for m in step["masks"].values()) for step in watch.steps]
    assert counts == [372] * 18 + [186] * 18 + [93] * 18
    mask = torch.cat([m.flatten() for m in watch.steps[18]["masks"].values()])
    assert trained.weights[mask].min() >= trained.weights[~mask].max()


def fit_digits(pruner: IterativeMagnitude, folder: Path, epochs: int) -> tuple[list[dict[str, Any]], pl.Trainer]:
    pl.seed_everything(3)
    module = SparseClassifier(
        FC((1, 28, 28), width=20, depth=3), lambda p: SGD(p, lr=0.1), lambda o: StepLR(o, step_size=1, gamma=0.5)
    )
    watch = Follow()
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[pruner, watch, SparseCheckpoint()], default_root_dir=folder, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Digits(limit=160, batch_size=32))
    return watch.steps, trainer


@pytest.mark.parametrize(("rewind", "origin"), [("init", 0), ("learning_rate", 0), (7, 7)])
def test_schedule_and_data_go_on_from_where_they_were(rewind: Any, origin: int, tmp_path: Path) -> None:
    # Two trainings of three epochs of five steps.
    steps, _ = fit_digits(IterativeMagnitude(0.5, rounds=1, rewind=rewind), tmp_path, 6)
    for step in range(15 - origin):
        assert steps[15 + step]["labels"] == steps[origin + step]["labels"]
        assert steps[15 + step]["images"] == steps[origin + step]["images"]
    assert [steps[15 + 5 * e]["rate"] for e in range(3)] == [steps[origin]["rate"] * 0.5**e for e in range(3)]


def test_finetuning_goes_on_from_the_trained_weights_at_the_rate_that_training_ended_with(tmp_path: Path) -> None:
    steps, trainer = fit_digits(IterativeMagnitude(0.5, rounds=1, rewind="finetune"), tmp_path, 6)
    rates = [steps[5 * epoch]["rate"] for epoch in range(6)]
    assert rates == [0.1 * 0.5**epoch for epoch in range(6)]  # the schedule is not rewound
    assert steps[15]["momentum"] == 0
    ended = torch.load(Path(str(trainer.log_dir)) / "checkpoints" / "round_0.ckpt", weights_only=True)["state_dict"]
    trained = {name: ended[f"network.{name}"] for name in steps[15]["weights"]}
    assert same(steps[15]["weights"], trained, steps[15]["masks"])
    assert steps[15]["labels"] not in (steps[0]["labels"], steps[10]["labels"])


def test_every_round_is_logged_and_saved(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, trainer = fit_digits(IterativeMagnitude(0.25, rounds=2), tmp_path, 6)
    events = EventAccumulator(str(trainer.log_dir))
    events.Reload()
    densities = events.Scalars("round/density")
    assert [e.step for e in densities] == [0, 1, 2]
    assert [e.value for e in densities] == pytest.approx([1, 0.5, 0.25], abs=1e-3)
    assert len(events.Scalars("round/val/accuracy")) == 3
    folder = Path(str(trainer.log_dir)) / "checkpoints"
    for number, density in enumerate([1, 0.5, 0.25]):
        module = SparseClassifier(FC((1, 28, 28), width=20, depth=3))
        saved = torch.load(folder / f"round_{number}.ckpt", weights_only=True)
        module.load_state_dict(saved["state_dict"])
        assert sum(kept(module.network).values()) == round(density * (784 * 20 + 400 + 200))
        assert "optimizer_states" not in saved


@pytest.mark.parametrize(
    ("density", "epochs", "rounds", "each"), [(0.1, 40, 11, 3), (0.1, 10, 4, 2), (0.9, 10, 1, 5), (0.1, 3, 1, 1)]
)
def test_rounds_follow_from_the_density_and_the_epochs(
    density: float, epochs: int, rounds: int, each: int, make_module: Any, make_trainer: Any, caplog: Any
) -> None:
    pruner = IterativeMagnitude(density)
    assert pruner.make_plan(epochs) == TicketPlan(rounds, each)
    assert rounds <= math.ceil(math.log(density) / math.log(0.8))


def test_too_few_epochs_or_too_late_a_step_are_refused(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match="3 rounds need 4 trainings"):
        make_trainer(IterativeMagnitude(0.2, rounds=3), max_epochs=3).fit(make_module(), loader)
    with pytest.raises(SparsityError, match="step 7 to rewind to is not within the first training of 6 steps"):
        make_trainer(IterativeMagnitude(0.2, rounds=1, rewind=7), max_epochs=2).fit(make_module(), loader)


@pytest.mark.parametrize(("rewind", "refused"), [("init", True), (0, True), (2, False), ("learning_rate", False)])
def test_a_layer_that_the_first_batch_makes_cannot_be_rewound_to_what_it_was_before(
    rewind: Any, refused: bool, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that lazy layers are new
        module, pruner = make_module(), IterativeMagnitude(0.5, rounds=1, rewind=rewind)
        module.body[1] = nn.LazyBatchNorm2d()
    trainer = make_trainer(pruner, max_epochs=2)
    if refused:
        with pytest.raises(SparsityError, match=r"layer 'body\.1' is lazy and has no weights yet to rewind to"):
            trainer.fit(module, loader)
        assert trainer.global_step == 0
    else:
        trainer.fit(module, loader)
        assert sum(kept(module).values()) == 186  # half of 372
