import math
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader

from sparsity.callbacks import Random, StopOnDivergence
from sparsity.errors import NonFiniteError


class PoisonAt(pl.Callback):
    """Makes one weight infinite before the batch of a step."""

    def __init__(self, step: int, layer: str) -> None:
        self.step = step
        self.layer = layer

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            pl_module.get_submodule(self.layer).weight.data.view(-1)[0] = math.inf


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_loss_that_is_not_finite_ends_the_fit_before_it_reaches_the_weights(
    precision: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, states = make_module(), []

    class Remember(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            states.append({n: p.detach().clone() for n, p in pl_module.named_parameters()})

    trainer = make_trainer(Random(0.5), PoisonAt(8, "head"), Remember(), StopOnDivergence(), precision=precision)
    with pytest.raises(NonFiniteError, match=r"loss is (nan|inf) in epoch 1 at step 8, where layer 'head' has weights"):
        trainer.fit(module, loader)
    assert len(states) == 9
    assert all(torch.equal(p, states[-1][n]) for n, p in module.named_parameters())


def test_images_that_are_not_finite_are_told_from_a_network_that_diverged(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    loader.dataset.tensors[0][17, 0, 2, 2] = math.nan
    with pytest.raises(NonFiniteError, match=r"in epoch 0 at step 2, where layer 'body\.0' is given an input"):
        make_trainer(StopOnDivergence()).fit(make_module(), loader)


def test_a_run_that_diverges_by_its_learning_rate_is_stopped(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module(partial(SGD, lr=1e30))
    with pytest.raises(NonFiniteError, match="training diverged: the loss is nan"):
        make_trainer(StopOnDivergence()).fit(module, loader)
    assert all(p.isfinite().all() for p in module.parameters())


def test_under_a_loss_scaler_gradients_may_overflow_and_losses_may_not(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # every loss above 2 is infinite when scaled
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    make_trainer(StopOnDivergence(), plugins=[plugin]).fit(make_module(), loader)
    assert scaler.get_scale() < 2.0**127

    loader.dataset.tensors[0][17, 0, 2, 2] = math.inf
    with pytest.raises(NonFiniteError, match=r"at step 3, where layer 'body\.0' is given an input"):
        make_trainer(StopOnDivergence(), plugins=[plugin]).fit(make_module(), loader)


def test_a_loss_of_its_own_making_is_named(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    class Logarithm(make_module):  # type: ignore[misc]
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return (self(batch[0]) * 0).sum().log()

    with pytest.raises(NonFiniteError, match="the loss is -inf in epoch 0 at step 0, where all layers give finite"):
        make_trainer(StopOnDivergence()).fit(Logarithm(), loader)


def test_a_training_step_that_takes_no_number_is_called_as_lightning_does(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Shorter(make_module):  # type: ignore[misc]
        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return super().training_step(batch, 0)

    loader.dataset.tensors[0][17, 0, 2, 2] = math.nan
    with pytest.raises(NonFiniteError, match=r"in epoch 0 at step 2, where layer 'body\.0' is given an input"):
        make_trainer(StopOnDivergence()).fit(Shorter(), loader)


def test_a_step_that_cannot_be_repeated_and_one_by_hand_are_told_without_it(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Once(make_module):  # type: ignore[misc]
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            self.seen = [*getattr(self, "seen", ()), batch_idx]
            assert len(self.seen) == len(set(self.seen))
            return super().training_step(batch, batch_idx)

    class ByHand(make_module):  # type: ignore[misc]
        automatic_optimization = False

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            self.optimizers().zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            self.optimizers().step()

    loader.dataset.tensors[0][17, 0, 2, 2] = math.nan
    for kind in (Once, ByHand):
        module = kind()
        with pytest.raises(
            NonFiniteError, match="in epoch 0 at step 2, where all weights are finite; lower the learning"
        ):
            make_trainer(StopOnDivergence()).fit(module, loader)
        assert all(p.isfinite().all() for p in module.parameters())


def test_looking_for_the_layer_leaves_what_normalisation_measured(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    loader.dataset.tensors[0][17, 0, 2, 2] = math.nan
    means = []

    class Remember(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            means.append(pl_module.body[1].num_batches_tracked.clone())

    module = make_module()
    with pytest.raises(NonFiniteError):
        make_trainer(Remember(), StopOnDivergence()).fit(module, loader)
    assert module.body[1].num_batches_tracked == means[-1]
