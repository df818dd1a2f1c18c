import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.utils.data import DataLoader

from sparsity.callbacks import (
    LAMP,
    SNIP,
    Clustered,
    GemMiner,
    GraSP,
    Magnitude,
    PruningCallback,
    Random,
    SynFlow,
)
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import add_masks, density, kept, masked, sizes

OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.05),
    "momentum": partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": partial(Adam, lr=0.01, weight_decay=1e-3),
    "adamw": partial(AdamW, lr=0.01, weight_decay=1e-2),
    "rmsprop": partial(RMSprop, lr=0.001, momentum=0.9, weight_decay=1e-3),
}


class ZeroWatch(pl.Callback):
    """Counts, after every step and before any other callback acts, the pruned weights that are not zero."""

    def __init__(self) -> None:
        self.steps = 0
        self.violations = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.steps += 1
        for layer in masked(pl_module).values():
            self.violations += int((layer.weight[~layer.mask] != 0).sum())


def exact(network: nn.Module, asked: float) -> bool:
    return sum(kept(network).values()) == round(asked * sum(sizes(network).values()))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1},
     {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}],
    ids=["plain", "accumulated", "norm_clipped", "value_clipped"],
)  # fmt: skip
def test_pruned_weights_are_zero_after_every_step(
    optimizer: str, options: dict[str, Any], make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, watch = make_module(OPTIMIZERS[optimizer]), ZeroWatch()
    start = module.head.weight.detach().clone()
    make_trainer(watch, Random(0.3), **options).fit(module, loader)
    assert watch.steps == 12
    assert watch.violations == 0
    assert exact(module, 0.3)
    assert (module.head.weight != start)[module.head.weight_mask].float().mean() > 0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_training_equals_multiplying_by_masks_in_the_forward_pass(
    optimizer: str, clip: float | None, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module(OPTIMIZERS[optimizer])
    by_hand = make_module()
    by_hand.load_state_dict(module.state_dict())
    make_trainer(Magnitude(0.4), gradient_clip_val=clip).fit(module, loader)

    masks = {f"{name}.weight": layer.mask for name, layer in masked(module).items()}
    by_hand.train()
    update = OPTIMIZERS[optimizer](by_hand.parameters())
    for _ in range(2):
        for images, labels in loader:
            weights = {n: p * masks[n] if n in masks else p for n, p in by_hand.named_parameters()}
            logits = torch.func.functional_call(by_hand, weights, (images,))
            update.zero_grad()
            nn.functional.cross_entropy(logits, labels).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(by_hand.parameters(), clip)
            update.step()
    for name, parameter in by_hand.named_parameters():
        expected = parameter * masks[name] if name in masks else parameter
        assert torch.equal(module.get_parameter(name), expected), name


@pytest.mark.parametrize("wrong", [0, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("pruner", [Random, Magnitude, SynFlow, GemMiner])
def test_a_density_outside_its_range_is_refused(pruner: Callable[[float], Any], wrong: float) -> None:
    with pytest.raises(SparsityError, match=r"in \(0, 1\]"):
        pruner(wrong)


def test_a_density_that_keeps_nothing_is_refused_before_training(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    with pytest.raises(SparsityError, match="keeps none of 372 weights"):
        make_trainer(Random(1e-4)).fit(module, loader)
    assert density(module) == 1


def test_a_network_without_layers_to_prune_is_refused(make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = pl.LightningModule()
    module.layer = nn.BatchNorm2d(1)
    module.training_step = lambda batch, _: module.layer(batch[0]).sum()  # type: ignore[method-assign]
    module.configure_optimizers = lambda: SGD(module.parameters(), lr=0.1)  # type: ignore[method-assign]
    with pytest.raises(SparsityError, match="no Linear, convolution, attention"):
        make_trainer(Random(0.5)).fit(module, loader)


def test_two_pruners_in_a_run_are_refused(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    with pytest.raises(SparsityError, match="at most one pruner, not Random and Magnitude"):
        make_trainer(Random(0.5), Magnitude(0.5)).fit(make_module(), loader)


def test_weights_that_diverge_are_named_with_their_layer(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module(partial(SGD, lr=math.inf))
    with pytest.raises(NonFiniteError, match=r"training diverged: layer 'body\.0'"):
        make_trainer(Random(0.5)).fit(module, loader)


@pytest.mark.parametrize(
    ("pruner", "averaging", "message"),
    [
        (GemMiner(0.5), EMAWeightAveraging(use_buffers=False), "moves its mask"),
        (GemMiner(0.5), StochasticWeightAveraging(0.1), "moves its mask"),
        (Random(0.5), EMAWeightAveraging(), "use_buffers: false"),
    ],
)
def test_weight_averaging_that_breaks_masks_is_refused(
    pruner: Any, averaging: pl.Callback, message: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match=message):
        make_trainer(pruner, averaging, max_epochs=4).fit(make_module(), loader)


def test_weight_averaging_listed_before_the_pruner_is_refused(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match="list Random before EMAWeightAveraging"):
        make_trainer(EMAWeightAveraging(use_buffers=False), Random(0.5)).fit(make_module(), loader)


@pytest.mark.parametrize("averaging", [EMAWeightAveraging(use_buffers=False), StochasticWeightAveraging(0.1, 1)])
def test_weight_averaging_of_a_fixed_mask_keeps_the_density(
    averaging: pl.Callback, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    make_trainer(Random(0.3), averaging, max_epochs=4).fit(module, loader, loader)
    assert exact(module, 0.3)
    nonzero = sum(int((layer.weight != 0).sum()) for layer in masked(module).values())
    assert nonzero == sum(kept(module).values())


def test_an_optimizer_has_one_hook_however_often_the_mask_changed(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class CountHooks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.count = len(trainer.optimizers[0]._optimizer_step_post_hooks)

    hooks = CountHooks()
    trainer = make_trainer(Random(0.5), hooks)
    trainer.fit(make_module(), loader)
    assert hooks.count == 1


@pytest.mark.parametrize("pruner", [Random, Magnitude, LAMP, SNIP, GraSP, Clustered])
def test_a_mask_that_is_found_at_once_is_written_once(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], pruner: Callable[[float], PruningCallback]
) -> None:
    class Look(pl.Callback):
        def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            add_masks(pl_module)
            self.before = versions(pl_module)

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.after = versions(pl_module)

    def versions(module: nn.Module) -> list[int]:
        return [layer.weight._version for layer in masked(module).values()]

    look = Look()
    make_trainer(look, pruner(0.3), max_epochs=1).fit(make_module(), loader)
    assert look.after == [before + 1 for before in look.before]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (SynFlow(density=0.2), "with density 0.5, and this one has 0.2; use the same"),
        (Magnitude(density=0.5), "with the pruner SynFlow, and this one has Magnitude; use the same"),
    ],
    ids=["density", "pruner"],
)
def test_a_fit_does_not_go_on_as_another_one(
    make_module: Any, loader: DataLoader[Any], make_trainer: Any, tmp_path: Path, other: PruningCallback, message: str
) -> None:
    first = make_trainer(SynFlow(density=0.5), max_epochs=1)
    first.fit(make_module(), loader)
    first.save_checkpoint(tmp_path / "one.ckpt")
    again = make_trainer(other, max_epochs=2)
    with pytest.raises(SparsityError, match=message):
        again.fit(make_module(), loader, ckpt_path=tmp_path / "one.ckpt")


def test_without_a_batch_to_look_at_a_fit_says_so(make_module: Any, loader: DataLoader[Any], make_trainer: Any) -> None:
    trainer = make_trainer(SynFlow(density=0.5), max_epochs=1, limit_train_batches=0)
    with pytest.raises(SparsityError, match="have no batch"):
        trainer.fit(make_module(), loader)
