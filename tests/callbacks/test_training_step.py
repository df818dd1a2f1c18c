"""Weights scored on a module's own training step, and all pruners on modules that do not classify."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from sparsity.callbacks import (
    SNIP,
    DensityMonitor,
    GraSP,
    KeepMasks,
    NetworkComparison,
    PruningCallback,
    StopOnDivergence,
    SynFlow,
    TopologyAnalysis,
)
from sparsity.callbacks.batches import sample_of_fit
from sparsity.callbacks.network import network_of
from sparsity.classifier import SparseClassifier
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, kept, masks, set_mask, sizes
from sparsity.networks import FC
from sparsity.pruning.saliency import snip_saliency
from sparsity.pruning.selection import keep_highest
from tests.callbacks.modules import MODULES, Module, TwoInputs, UNet, loader, numbers, regression, segmentation
from tests.callbacks.test_every_pruner import PRUNERS

OPTIONS = {
    "GemMiner": {"min_kept": 1},
    "GemMiner per layer": {"min_kept": 1},
    "IterativeMagnitude to a step": {"rewind": 5},
}
"""What the smallest of these networks need, and those of fewer steps an epoch."""


@pytest.mark.filterwarnings("ignore:.* left no weight in", "ignore:SynFlow chose")
@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_reaches_its_density_on_every_module(kind: str, name: str, make_trainer: Any) -> None:
    torch.manual_seed(0)
    module, data = MODULES[kind]()
    pruner = PRUNERS[name](**OPTIONS.get(name, {}))
    make_trainer(pruner, max_epochs=6).fit(module, loader(data))
    assert pruner.is_final
    assert sum(kept(module.network).values()) == round(0.2 * sum(sizes(module.network).values()))


@pytest.mark.parametrize("pruner", [SNIP, GraSP])
@pytest.mark.parametrize("kind", MODULES)
def test_which_loss_was_taken_and_of_what_is_said(
    pruner: Callable[[float], PruningCallback], kind: str, make_trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    module, data = MODULES[kind]()
    with caplog.at_level("INFO"):
        make_trainer(pruner(0.5), max_epochs=1).fit(module, loader(data))
    name = pruner.__name__  # type: ignore[attr-defined]
    said = [message for message in caplog.messages if "scores weights on" in message]
    assert said == [f"{name} scores weights on Module.training_step for the first batch of 8"]


def test_a_classifier_is_scored_on_images_of_each_class(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        make_trainer(SNIP(0.5, samples_per_class=2), max_epochs=1).fit(make_module(), loader)
    assert "SNIP scores weights on the cross-entropy of 6 training images" in caplog.messages


def saliency_of(trainer: pl.Trainer, module: pl.LightningModule, data: Any, pruner: Any) -> dict[str, Tensor]:
    """What a pruner scores in a fit that it prunes."""
    found: dict[str, Tensor] = {}

    class Watched(type(pruner)):  # type: ignore[misc]
        def saliency(self, *args: Any) -> Any:
            score = super().saliency(*args)

            def watched(network: nn.Module) -> Any:
                found.update(score(network))
                return found

            return watched

    pruner.__class__ = Watched
    trainer.callbacks.append(pruner)  # type: ignore[attr-defined]
    trainer.fit(module, data)
    return found


@pytest.mark.parametrize(("pruner", "options"), [(SNIP, {}), (GraSP, {"temperature": 1.0})])
def test_an_own_cross_entropy_gives_what_the_built_in_one_gives(
    pruner: Any, options: dict[str, Any], make_module: Any, make_trainer: Any
) -> None:
    labels = torch.arange(12) % 3
    images = numbers(12, 1, 4, 4)
    built_in = make_module()

    class Own(make_module):  # type: ignore[misc]
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return F.cross_entropy(self(batch["images"]), batch["labels"])

    own = Own()
    own.load_state_dict(built_in.state_dict())
    # Four images of each class in one batch: the balanced batch is all of it.
    pairs = DataLoader(TensorDataset(images, labels), batch_size=12)
    named = DataLoader([{"images": i, "labels": n} for i, n in zip(images, labels, strict=True)], batch_size=12)  # type: ignore[arg-type]
    expected = saliency_of(make_trainer(max_epochs=1), built_in, pairs, pruner(0.5, samples_per_class=4, **options))
    found = saliency_of(make_trainer(max_epochs=1), own, named, pruner(0.5, **options))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(s.any() for s in found.values())


def test_snip_of_a_mean_squared_error_by_hand(make_trainer: Any) -> None:
    network = nn.Linear(2, 1, bias=False)
    network.weight.data = torch.tensor([[2.0, -1.0]])
    module = Module(network, lambda network, batch: F.mse_loss(network(batch[0]), batch[1]))
    data = TensorDataset(torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[1.0], [2.0]]))
    found = saliency_of(make_trainer(max_epochs=1), module, DataLoader(data, batch_size=2), SNIP(0.5))
    # Outputs 0 and 5, errors -1 and 3: dL/dw = (-1 * (1, 2) + 3 * (3, 1)) = (8, 1), times |w|
    assert found[""].tolist() == [[16, 1]]


class Busy(pl.LightningModule):
    """Does in its training step whatever a training step may do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Dropout(0.3), nn.ReLU(), nn.Linear(12, 2))
        self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.mean = MeanMetric()
        self.losses: list[Tensor] = []
        self.seen: dict[str, int] = {"batches": 0}
        self.draws = np.random.default_rng(3)
        self.generator = torch.Generator().manual_seed(4)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("batches", torch.zeros(()))
        self.best = np.inf

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        inputs, targets = batch.pop("x"), batch.pop("y")
        inputs += torch.randn(inputs.shape, generator=self.generator) * self.draws.random() * np.random.rand()  # noqa: NPY002
        outputs = self.network(inputs)
        loss = F.mse_loss(outputs, targets) + F.mse_loss(outputs, self.teacher(inputs)) * self.scale
        with torch.no_grad():
            for ours, theirs in zip(self.network.parameters(), self.teacher.parameters(), strict=True):
                theirs.mul_(0.9).add_(ours, alpha=0.1)
        self.scale = self.scale * 0.9
        self.batches.add_(1)
        self.mean(loss.detach())
        self.losses.append(loss.detach())
        self.seen["batches"] += 1
        self.best = min(self.best, loss.detach().item())
        self.log("train/loss", self.mean)
        self.log_dict({"train/scale": self.scale, "train/lr": self.optimizers().param_groups[0]["lr"]})
        self.logger.log_metrics({"by_hand": self.best}, self.global_step)
        self.logger.experiment.log_metrics({"by_experiment": 1.0}, self.trainer.current_epoch)
        return {"loss": loss, "outputs": outputs.detach()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def busy_loader() -> DataLoader[Any]:
    rows = [{"x": x, "y": x[:2] ** 2} for x in numbers(32, 6)]
    return DataLoader(rows, batch_size=8, shuffle=True)  # type: ignore[arg-type]


IN_EVALUATION = "ignore:Found .* in eval mode at the start of training"


@pytest.mark.filterwarnings(IN_EVALUATION)
@pytest.mark.parametrize(
    "pruner",
    [SNIP(0.4), GraSP(0.4), SNIP(0.4, iterations=3), SynFlow(0.4, iterations=3)],
    ids=["SNIP", "GraSP", "SNIP iterative", "SynFlow"],
)
def test_the_fit_is_as_though_nobody_had_looked(pruner: PruningCallback, tmp_path: Any, make_trainer: Any) -> None:
    mask: dict[str, Tensor] = {}

    class Pruned(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            mask.update({name: m.clone() for name, m in masks(network_of(pl_module)).items()})

    def fit(*callbacks: pl.Callback, mask: dict[str, Tensor] | None = None) -> list[Any]:
        pl.seed_everything(5)
        module = Busy()
        if mask is not None:
            add_masks(module.network)
            set_mask(module.network, mask)
        logger = CSVLogger(tmp_path, name="with" if mask is None else "without")
        trainer = make_trainer(*callbacks, logger=logger, log_every_n_steps=1)
        trainer.fit(module, busy_loader())
        logged = (Path(logger.log_dir) / "metrics.csv").read_text()
        return [
            {name: tensor.tolist() for name, tensor in module.state_dict().items()},
            torch.stack(module.losses).tolist(), module.seen, module.best, module.draws.random(), np.random.rand(),  # noqa: NPY002
            torch.rand(2).tolist(), torch.rand(2, generator=module.generator).tolist(), module.mean.update_count,
            logged,
            "log" in vars(module), {name: value.item() for name, value in trainer.callback_metrics.items()},
        ]  # fmt: skip

    looked = fit(pruner, Pruned())
    assert sum(int(m.sum()) for m in mask.values()) == round(0.4 * (72 + 24))
    assert fit(KeepMasks(), mask=mask) == looked


def test_a_classifier_scored_by_its_own_step_has_counted_nothing(make_trainer: Any) -> None:
    module = SparseClassifier(FC((4,), num_classes=3, depth=2, width=8))
    # Cross-entropy takes labels that are probabilities.
    data = TensorDataset(numbers(16, 4), numbers(16, 3).softmax(1))
    make_trainer(SNIP(0.5), max_steps=0).fit(module, DataLoader(data, batch_size=8))
    assert sum(kept(module.network).values()) == 28
    assert module._uncounted == []


def fit_of(step: Callable[..., Any], make_trainer: Any, pruner: Any = None, **attributes: Any) -> Module:
    """A fit of the regression with another training step."""
    module, data = regression()
    kind = type("Odd", (Module,), {"training_step": step, **attributes})
    module.__class__ = kind
    if "automatic_optimization" in attributes:
        module.automatic_optimization = attributes["automatic_optimization"]
    make_trainer(pruner or SNIP(0.5), max_epochs=1).fit(module, loader(data))
    return module


def mse(self: Any, batch: Any, batch_idx: int = 0) -> Tensor:
    return F.mse_loss(self.network(batch[0]), batch[1])


NO_LOSS = "Odd.training_step returns no loss for the first batch but NoneType"
INDEPENDENT = "the loss does not depend on the masked weights"
STEPS: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda self, batch: None, NO_LOSS),
    (lambda self, batch: {"logits": 1}, NO_LOSS),
    (lambda self, batch: self.network(batch[0]), r"a loss is one number, and this one is shaped \[8, 2\]"),
    (lambda self, batch: batch[0].mean(), INDEPENDENT),
    (lambda self, batch: self.network(batch[0]).mean().detach(), INDEPENDENT),
    (lambda self, batch: self.network[1].weight.sum(), INDEPENDENT),
    (lambda self, batch: batch["x"], "Odd.training_step cannot be evaluated before training: list indices"),
    (lambda self, batch: self.network(batch[0][:, :3]), "Odd.training_step cannot be evaluated before training: mat1"),
]


@pytest.mark.parametrize(("step", "reason"), STEPS)
@pytest.mark.parametrize("pruner", [SNIP, GraSP])
def test_a_step_without_a_loss_is_refused_in_one_sentence(
    step: Callable[..., Any], reason: str, pruner: Any, make_trainer: Any
) -> None:
    with pytest.raises(SparsityError, match=reason) as caught:
        fit_of(step, make_trainer, pruner(0.5))
    assert "\n" not in str(caught.value)


def test_optimisation_by_hand_is_refused_where_its_step_would_be_needed(make_trainer: Any) -> None:
    def step(self: Any, batch: Any, batch_idx: int) -> None:
        self.manual_backward(mse(self, batch))
        self.optimizers().step()

    with pytest.raises(SparsityError, match="Odd optimises by hand, so its training_step gives no loss"):
        fit_of(step, make_trainer, automatic_optimization=False)


def test_a_loss_without_curvature_is_refused_by_grasp(make_trainer: Any) -> None:
    module, data = regression()
    module.network = nn.Linear(6, 2)
    module.loss = lambda network, batch: network(batch[0]).mean()
    with pytest.raises(SparsityError, match="linear in the masked weights, and GraSP ranks by its curvature"):
        make_trainer(GraSP(0.5), max_epochs=1).fit(module, loader(data))


def test_a_step_may_ask_the_trainer_and_needs_no_batch_number(make_trainer: Any) -> None:
    def step(self: Any, batch: Any) -> Tensor:
        assert self.trainer.training
        weight = 1 + self.trainer.current_epoch + self.global_step / self.trainer.num_training_batches
        return mse(self, batch) * weight + 0 * self.trainer.estimated_stepping_batches

    module = fit_of(step, make_trainer)
    assert sum(kept(module.network).values()) == 48


def test_hooks_that_come_before_a_step_are_called_where_it_needs_them_and_undone(make_trainer: Any) -> None:
    def on_fit_start(self: Any) -> None:
        assert not hasattr(self, "weight")
        self.weight = 2.0

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> None:
        self.offset = batch[1].mean()

    def step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        return mse(self, batch) * self.weight + self.offset

    module = fit_of(step, make_trainer, on_fit_start=on_fit_start, on_train_batch_start=on_train_batch_start)
    assert sum(kept(module.network).values()) == 48


def test_hooks_are_not_called_where_a_step_does_without(make_trainer: Any) -> None:
    calls = []
    fit_of(mse, make_trainer, on_train_start=lambda self: calls.append(1))
    assert len(calls) == 1


def test_a_weight_with_another_place_in_the_module_is_seen_in_both(make_trainer: Any) -> None:
    class Tied(Module):
        def __init__(self) -> None:
            network = nn.Linear(2, 2, bias=False)
            network.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
            super().__init__(network, lambda *_: torch.zeros(()))
            self.again = nn.Linear(2, 2, bias=False)
            self.again.weight = network.weight

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.network(batch[0]).sum() + self.again(2 * batch[0]).sum()

    data = DataLoader(TensorDataset(torch.tensor([[1.0, 10.0]])))
    found = saliency_of(make_trainer(max_epochs=1), Tied(), data, SNIP(0.5))
    assert found[""].tolist() == [[3, 60], [9, 120]]  # 3 x |w|


@pytest.mark.filterwarnings(IN_EVALUATION)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_frozen_parts_stay_in_the_mode_that_training_has_them_in(mode: Any, make_trainer: Any) -> None:
    module, data = regression()
    module.network[1].eval()
    modes = []

    def loss(network: nn.Module, batch: Any) -> Tensor:
        modes.append([network.training, network[1].training])
        return F.mse_loss(network(batch[0]), batch[1])

    module.loss = loss
    make_trainer(SNIP(0.5, mode=mode), max_epochs=1).fit(module, loader(data))
    # Once to score, in the mode asked for, and then the four steps of training.
    assert modes == [[mode == "train", False], *(4 * [[True, False]])]
    assert module.network[1].num_batches_tracked == 0


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_batches_come_as_training_has_them_whatever_the_precision(precision: str, make_trainer: Any) -> None:
    class Moved(Module):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert not isinstance(batch, dict)
            return {"before": batch}

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch["before"]

    module, data = segmentation()
    module.__class__ = Moved
    make_trainer(SNIP(0.5), max_epochs=1, precision=precision).fit(module, loader(data))
    assert sum(kept(module.network).values()) == 417


def test_masks_do_not_depend_on_mixed_precision(make_trainer: Any) -> None:
    found = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(2)
        module, data = segmentation()
        make_trainer(SNIP(0.3), max_epochs=1, precision=precision).fit(module, loader(data))
        found.append(masks(module.network))
    assert all(torch.equal(mask, found[1][name]) for name, mask in found[0].items())


@pytest.mark.parametrize("several", [dict, list])
def test_several_loaders_give_their_batches_together(several: type, make_trainer: Any) -> None:
    class Both(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            a, b = batch.values() if isinstance(batch, dict) else batch
            return self.loss(self.network, a) + self.loss(self.network, b)

    module, data = regression()
    module.__class__ = Both
    loaders = {"a": loader(data), "b": DataLoader(data, batch_size=4)}
    make_trainer(SNIP(0.5), max_epochs=1).fit(module, loaders if several is dict else list(loaders.values()))
    assert sum(kept(module.network).values()) == 48


def test_the_input_of_a_network_of_several_is_what_the_step_gives_it(make_trainer: Any) -> None:
    found: dict[str, Any] = {}

    class Look(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            found[kind] = sample_of_fit(trainer, pl_module)

    for kind in ("regression", "two inputs", "dictionaries"):
        module, data = MODULES[kind]()
        make_trainer(Look(), max_epochs=1).fit(module, loader(data))
    assert found["regression"] == (6,)
    assert [tuple(t.shape) for t in found["two inputs"]] == [(8, 5), (8, 3)]
    assert {name: tuple(t.shape) for name, t in found["dictionaries"].items()} == {
        "input_ids": (8, 7), "attention_mask": (8, 7),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.* left out")
@pytest.mark.parametrize("kind", MODULES)
def test_onlookers_change_nothing_about_modules_that_do_not_classify(
    kind: str, tmp_path: Any, make_trainer: Any
) -> None:
    def fit(*onlookers: pl.Callback) -> list[Any]:
        pl.seed_everything(5)
        module, data = MODULES[kind]()
        logger = CSVLogger(tmp_path, name=str(len(onlookers)))
        trainer = make_trainer(SNIP(0.5), *onlookers, logger=logger, log_every_n_steps=1)
        trainer.fit(module, loader(data), DataLoader(data, batch_size=8))
        return [tensor.tolist() for tensor in module.state_dict().values()]

    watched = fit(DensityMonitor(), TopologyAnalysis(figures=False), NetworkComparison(images=4), StopOnDivergence())
    assert watched == fit()


def test_snip_in_a_loop_by_hand_needs_neither_images_nor_labels() -> None:
    network = UNet()
    add_masks(network)
    images, targets = numbers(4, 3, 8, 8), torch.zeros(4, 4, 8, 8)
    saliency = snip_saliency(network, lambda: F.mse_loss(network(images), targets))
    set_mask(network, keep_highest(saliency, 100, masks(network)))
    assert sum(kept(network).values()) == 100
    two = TwoInputs()
    add_masks(two)
    assert snip_saliency(two, lambda: two(numbers(4, 5), numbers(4, 3)).square().sum()).keys() == masks(two).keys()
