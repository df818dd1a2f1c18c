"""What holds for every pruner: one table, the same invariants."""

import copy
import inspect
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader

import sparsity.callbacks
from sparsity.callbacks import (
    LAMP,
    SET,
    SNIP,
    Clustered,
    EdgePopup,
    GemMiner,
    GradualMagnitude,
    GraSP,
    IterativeMagnitude,
    Magnitude,
    MaskFrom,
    PruningCallback,
    Random,
    RigL,
    SparseCheckpoint,
    StopOnDivergence,
    SynFlow,
)
from sparsity.masks import kept, masked, masks, sizes
from tests.syncs import CountSyncs

# 372 weights, six steps an epoch, six epochs.
PRUNERS: dict[str, Callable[[], PruningCallback]] = {
    "Random": partial(Random, 0.2),
    "Random erk": partial(Random, 0.2, allocation="erk", rescale="kept_fan_in"),
    "Magnitude": partial(Magnitude, 0.2, min_kept=1),
    "LAMP": partial(LAMP, 0.2),
    "SynFlow": partial(SynFlow, 0.2, iterations=5),
    "SNIP": partial(SNIP, 0.2, samples_per_class=2),
    "SNIP iterative": partial(SNIP, 0.2, samples_per_class=2, iterations=3),
    "GraSP": partial(GraSP, 0.2, samples_per_class=2),
    "Clustered": partial(Clustered, 0.2),
    "GemMiner": partial(GemMiner, 0.2, search_epochs=3),
    "GemMiner per layer": partial(GemMiner, 0.2, search_epochs=3, scope="layer", rounding="bernoulli"),
    "EdgePopup": partial(EdgePopup, 0.2),
    "EdgePopup annealed": partial(EdgePopup, 0.2, scope="global", search_epochs=4, period=1),
    "EdgePopup to the end": partial(EdgePopup, 0.2, period=2),
    "IterativeMagnitude": partial(IterativeMagnitude, 0.2, rounds=2),
    "IterativeMagnitude to a step": partial(IterativeMagnitude, 0.2, rounds=2, rewind=8),
    "IterativeMagnitude learning rate": partial(IterativeMagnitude, 0.2, rounds=2, rewind="learning_rate"),
    "IterativeMagnitude finetune": partial(IterativeMagnitude, 0.2, rounds=2, rewind="finetune"),
    "GradualMagnitude": partial(GradualMagnitude, 0.2, interval=3),
    "GradualMagnitude per layer": partial(GradualMagnitude, 0.2, interval=3, scope="layer"),
    "SET": partial(SET, 0.2, interval=3),
    "RigL": partial(RigL, 0.2, interval=3),
}
ABSTRACT = {name for name in sparsity.callbacks.__all__ if inspect.isabstract(getattr(sparsity.callbacks, name))}
MOVING = {"SET", "RigL", "EdgePopup", "EdgePopup annealed", "EdgePopup to the end"}
"""Whose pruned weights may come back."""
OPTIMIZERS = {
    "momentum": partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": partial(Adam, lr=0.01, weight_decay=1e-3),
}


@pytest.fixture(params=PRUNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in module.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


class Watch(pl.Callback):
    """Looks after every step, before any other callback acts."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.masks: list[dict[str, Tensor]] = []
        self.nonzero_pruned = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        pruner = next(c for c in trainer.callbacks if isinstance(c, PruningCallback))
        current = {n: m.clone() for n, m in pruner.current_mask(pl_module).items()}
        self.masks.append(current)
        self.counts.append(sum(int(m.sum()) for m in current.values()))
        for layer_name, layer in masked(pl_module).items():
            self.nonzero_pruned += int((layer.weight[~current[layer_name]] != 0).sum())


def test_the_table_has_every_pruner() -> None:
    concrete = {
        cls.__name__
        for cls in vars(sparsity.callbacks).values()
        if inspect.isclass(cls) and issubclass(cls, PruningCallback) and cls.__name__ not in ABSTRACT
    }
    assert {type(make()).__name__ for make in PRUNERS.values()} == concrete - {"MaskFrom"}  # which needs a file


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_density_is_exact_and_pruned_weights_are_zero_after_every_step(
    name: str, optimizer: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, pruner, watch = make_module(OPTIMIZERS[optimizer]), PRUNERS[name](), Watch()
    make_trainer(watch, pruner, max_epochs=6).fit(module, loader, loader)
    assert len(watch.counts) == 36
    assert watch.nonzero_pruned == 0
    assert pruner.is_final
    assert sum(kept(module).values()) == round(0.2 * sum(sizes(module).values())) == 74
    if name not in MOVING:
        for before, after in zip(watch.masks, watch.masks[1:], strict=False):
            if not name.startswith("GemMiner"):  # whose scores choose anew until they are folded into masks
                assert all((before[n] | ~after[n]).all() for n in after)


def test_the_same_seed_gives_the_same_masks_and_weights(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    first, second = make_module(), make_module()
    second.load_state_dict(first.state_dict())
    make_trainer(PRUNERS[name](), max_epochs=6).fit(first, loader)
    torch.rand(5)
    make_trainer(PRUNERS[name](), max_epochs=6).fit(second, loader)
    assert equal(state(first), state(second))


class StepSyncs(pl.Callback):
    """Counts, step by step, how often a pruner would wait for a GPU; the first and the last of all callbacks."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_train_batch_start(self, *_: Any) -> None:
        if not self.counts:
            self.mode = CountSyncs()
            self.mode.__enter__()
        self.counts.append(self.mode.count)

    def on_train_end(self, *_: Any) -> None:
        self.mode.__exit__(None, None, None)


def test_an_ordinary_step_never_waits_for_a_device(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, syncs = make_module(), StepSyncs()
    make_trainer(PRUNERS[name](), syncs, max_epochs=6).fit(module, loader)
    in_step = [after - before for before, after in itertools.pairwise(syncs.counts)]
    # At most every third changes masks or saves a state, and the last of an epoch is followed by checks.
    assert in_step.count(0) >= 35 - 12 - 6


class OverflowAt(pl.Callback):
    """Makes gradients infinite at some steps, as float16 does."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step in self.steps:
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.inf)


class Skipped(pl.Callback):
    """Sees that steps are skipped, and that they change neither what is trained nor the optimizer's state."""

    def __init__(self, steps: set[int]) -> None:
        self.steps = steps
        self.count = 0
        self.before: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        self.before = self._trained(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step - 1 in self.steps:
            self.count += 1
            assert all(torch.equal(a, b) for a, b in zip(self.before, self._trained(trainer), strict=True))

    @staticmethod
    def _trained(trainer: pl.Trainer) -> list[Tensor]:
        [optimizer] = trainer.optimizers
        states = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        parameters = [p.detach() for group in optimizer.param_groups for p in group["params"]]
        return [t.clone() for t in [*parameters, *states]]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_and_skipped_steps_leave_density_and_zeros_exact(
    name: str, precision: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    # Small enough that no other step overflows.
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0) if precision == "16-mixed" else None
    # Among them are steps at which masks change, a search begins and finetuning begins.
    steps = {0, 3, 4, 9, 18, 27, 35} if scaler else set()
    callbacks = Watch(), OverflowAt(steps), PRUNERS[name](), Skipped(steps), StopOnDivergence()
    watch, _, pruner, skipped, _ = callbacks
    module = make_module(OPTIMIZERS["adam"])
    make_trainer(*callbacks, max_epochs=6, plugins=[MixedPrecision(precision, "cpu", scaler)]).fit(module, loader)
    assert skipped.count == len(steps)
    assert scaler is None or scaler.get_scale() == 1
    assert watch.nonzero_pruned == 0
    assert pruner.is_final
    assert sum(kept(module).values()) == 74
    assert all(t.isfinite().all() for t in module.state_dict().values() if t.is_floating_point())


@pytest.mark.parametrize("name", [n for n, make in PRUNERS.items() if not make().mask_moves_in_training])
def test_masks_found_before_training_are_those_of_full_precision(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    full, half = make_module(), make_module()
    half.load_state_dict(full.state_dict())
    make_trainer(PRUNERS[name](), max_epochs=1).fit(full, loader)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    make_trainer(PRUNERS[name](), max_epochs=1, plugins=[plugin]).fit(half, loader)
    assert all(torch.equal(m, masks(half)[n]) for n, m in masks(full).items())


@pytest.mark.parametrize("step", [1, 10, 13, 22, 29])
def test_a_fit_resumed_in_the_middle_ends_bit_by_bit_like_one_that_was_not_interrupted(
    name: str, step: int, make_module: Any, make_trainer: Any, resumable: Callable[[], Any], tmp_path: Path
) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    uninterrupted, resumed = make_module(OPTIMIZERS["adam"]), make_module(OPTIMIZERS["adam"])
    resumed.load_state_dict(uninterrupted.state_dict())
    make_trainer(PRUNERS[name](), Save(), max_epochs=6).fit(uninterrupted, resumable())
    trainer = make_trainer(PRUNERS[name](), max_epochs=6)
    trainer.fit(resumed, resumable(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert equal(state(uninterrupted), state(resumed))


def test_pruned_weights_change_neither_the_output_nor_what_the_optimizer_does_next(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, pruner = make_module(OPTIMIZERS["momentum"]), PRUNERS[name]()
    trainer = make_trainer(pruner, max_epochs=6)
    trainer.fit(module, loader)
    images = next(iter(loader))[0]
    module.eval()
    expected = module(images)
    other = copy.deepcopy(module)
    for layer in masked(other).values():
        layer.weight.data = torch.where(layer.mask, layer.weight, torch.full_like(layer.weight, 7.0))
    weights = {f"{n}.weight": layer.weight * layer.mask for n, layer in masked(other).items()}
    assert torch.equal(torch.func.functional_call(other, weights, (images,)), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_weight_that_comes_back_starts_at_zero_without_a_past(
    optimizer: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    """After the step in which it grew, it is what that one step alone makes of it."""

    class Grown(pl.Callback):
        def __init__(self) -> None:
            self.seen = 0
            self.before: dict[str, Tensor] = {}

        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            self.before = {n: m.clone() for n, m in masks(pl_module).items()}

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            for n, layer in masked(pl_module).items():
                grown = layer.mask & ~self.before[n]
                self.seen += int(grown.sum())
                moment = trainer.optimizers[0].state[layer.weight]
                # Weight decay on a weight of 0 adds nothing.
                gradient = layer.weight.grad[grown]
                if optimizer == "momentum":
                    assert torch.equal(moment["momentum_buffer"][grown], gradient)
                    assert torch.allclose(layer.weight[grown], -0.05 * gradient)
                else:
                    assert torch.allclose(moment["exp_avg"][grown], 0.1 * gradient)
                    assert torch.allclose(moment["exp_avg_sq"][grown], 0.001 * gradient**2)

    grown = Grown()
    make_trainer(RigL(0.2, interval=3), grown, max_epochs=6).fit(make_module(OPTIMIZERS[optimizer]), loader)
    assert grown.seen > 20


def test_mask_from_trains_the_mask_of_a_checkpoint(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    module = make_module()
    trainer = make_trainer(PRUNERS[name](), SparseCheckpoint(), max_epochs=6, enable_checkpointing=True)
    trainer.fit(module, loader, loader)
    fresh, pruner = (
        make_module(),
        MaskFrom(str(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")),
    )
    make_trainer(pruner, max_epochs=1).fit(fresh, loader)
    assert pruner.density == 74 / 372
    assert all(torch.equal(m, masks(module)[n]) for n, m in masks(fresh).items())
