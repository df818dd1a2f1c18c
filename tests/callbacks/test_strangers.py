"""What holds for every pruner in the hands of strangers: used twice, on odd modules, under any optimizer."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelPruning
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.optim import LBFGS, SGD, Adafactor, Adam
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sparsity.callbacks import (
    SNIP,
    DensityMonitor,
    GemMiner,
    GradualMagnitude,
    GraSP,
    KeepMasks,
    Magnitude,
    MaskFrom,
    PruningCallback,
    Random,
    RigL,
    SparseCheckpoint,
    SynFlow,
)
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, density, kept, masked, masks, remove_masks, sizes
from tests.callbacks.test_every_pruner import PRUNERS


@pytest.fixture(params=PRUNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def density_of_weights(module: nn.Module) -> float:
    """What is not zero, whatever masks say."""
    weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return float(sum(w.count_nonzero() for w in weights) / sum(w.numel() for w in weights))


def test_a_callback_prunes_in_every_fit_that_it_is_used_for(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    pruner, start = PRUNERS[name](), make_module().state_dict()
    found = []
    for _ in range(2):
        module = make_module()
        module.load_state_dict(start)
        make_trainer(pruner, max_epochs=6).fit(module, loader)
        assert pruner.is_final
        assert sum(kept(module).values()) == 74
        found.append({n: m.clone() for n, m in masks(module).items()})
        loader.generator.manual_seed(1)  # type: ignore[union-attr]
        torch.manual_seed(0)
    assert density_of_weights(module) <= 0.2
    if not name.startswith("SNIP iterative"):
        assert all(torch.equal(m, found[1][n]) for n, m in found[0].items())


def test_a_network_that_is_sparse_already_is_cut_further(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    make_trainer(Random(0.5), max_epochs=1).fit(module, loader)
    before = {n: m.clone() for n, m in masks(module).items()}
    make_trainer(PRUNERS[name](), max_epochs=6).fit(module, loader)
    assert sum(kept(module).values()) == 74
    if name not in ("SET", "RigL"):  # whose masks move
        assert all((before[n] | ~m).all() for n, m in masks(module).items())


def test_more_than_is_left_cannot_be_kept(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = make_module()
    make_trainer(Random(0.1), max_epochs=1).fit(module, loader)
    with pytest.raises(SparsityError, match=r"density 0.5 keeps 186 weights, and the network has only 37 of 372 left"):
        make_trainer(SynFlow(0.5), max_epochs=1).fit(module, loader)


def test_a_trainer_that_goes_on_does_not_prune_anew(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, trainer = make_module(), make_trainer(PRUNERS[name](), max_epochs=6)
    trainer.fit(module, loader)
    trainer.fit_loop.max_epochs = 8
    trainer.fit(module, loader)
    assert trainer.global_step == 48
    assert sum(kept(module).values()) == 74


def test_a_plan_of_a_whole_run_wants_a_new_trainer(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    trainer = make_trainer(RigL(0.2), max_epochs=2)
    trainer.fit(make_module(), loader)
    trainer.fit_loop.max_epochs = 4
    with pytest.raises(SparsityError, match="this Trainer counts on from step 12 of another; make a new Trainer"):
        trainer.fit(make_module(), loader)


class Sequence(pl.Callback):
    """Remembers the random states and the labels of every batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
        self.seen.append((batch[1].tolist(), torch.get_rng_state().tolist(), random.getstate(), numpy_state))


def test_no_pruner_moves_the_random_states_or_the_order_of_the_data(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    def run(*callbacks: pl.Callback) -> list[Any]:
        torch.manual_seed(3)
        module, seen = make_module(), Sequence()
        module.body.append(nn.Dropout())
        shuffled = DataLoader(loader.dataset, batch_size=8, shuffle=True)
        make_trainer(*callbacks, seen, max_epochs=6).fit(module, shuffled)
        return seen.seen

    assert run(PRUNERS[name](), DensityMonitor(table=False)) == run()


def test_a_loader_with_a_generator_gives_the_order_that_it_would_have_given(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    def order(*callbacks: pl.Callback) -> list[Any]:
        seen = Sequence()
        own = DataLoader(loader.dataset, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(7))
        make_trainer(*callbacks, seen).fit(make_module(), own)
        return [labels for labels, *_ in seen.seen]

    assert order(SNIP(0.5, samples_per_class=2)) == order(SynFlow(0.5)) == order()


class Norms(pl.LightningModule):
    """Two linear layers, one optimizer of any kind."""

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        self.make_optimizer = optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0].flatten(1)[:, :6]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())


class WithHead(Norms):
    """Another layer beside `network`, and one that does not train."""

    def __init__(self, name: str) -> None:
        super().__init__(lambda parameters: SGD(parameters, lr=0.1))
        self.head = nn.Linear(3, 3)
        self.name = name
        if name == "network":
            self.teacher = nn.Linear(6, 3).requires_grad_(False)
        else:
            setattr(self, name, self.network)
            del self.network

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0].flatten(1)[:, :6]
        return F.cross_entropy(self.head(getattr(self, self.name)(x)), batch[1])


def test_what_stays_dense_beside_a_modules_network_is_said(make_trainer: Any, loader: DataLoader[Any]) -> None:
    with pytest.warns(UserWarning, match="only `network` of WithHead is pruned and counted: head beside it, 9 weights"):
        make_trainer(Random(0.5), max_epochs=1).fit(module := WithHead("network"), loader)
    assert set(masks(module)) == {"network.0", "network.2"}
    make_trainer(Random(0.5), max_epochs=1).fit(module := WithHead("body"), loader)
    assert set(masks(module)) == {"body.0", "body.2", "head"}


class MaskedForward(Norms):
    """The same, its masks applied in the forward pass, which leaves no gradient at what is pruned."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch[0].flatten(1)[:, :6]
        first, _, last = self.network
        x = F.linear(x, first.weight * first.weight_mask, first.bias).tanh()
        return F.cross_entropy(F.linear(x, last.weight * last.weight_mask, last.bias), batch[1])


@pytest.mark.parametrize("optimizer", [lambda p: LBFGS(p, lr=0.1, max_iter=3), Adafactor, lambda p: Adam(p, lr=0.1)])
def test_gradients_of_pruned_weights_steer_no_others(
    optimizer: Callable[..., torch.optim.Optimizer], make_trainer: Any, loader: DataLoader[Any]
) -> None:
    ours, other = Norms(optimizer), MaskedForward(optimizer)
    fixed = DataLoader(loader.dataset, batch_size=8)
    make_trainer(Magnitude(0.4)).fit(ours, fixed)
    make_trainer(Magnitude(0.4)).fit(other, fixed)
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_rigl_sees_the_gradients_of_pruned_weights_under_any_optimizer(
    make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = Norms(lambda p: LBFGS(p, lr=0.05, max_iter=2))
    start = {}

    class First(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            start.update({n: m.clone() for n, m in masks(pl_module.network).items()})

    make_trainer(RigL(0.4, interval=1), First()).fit(module, loader)
    assert any(not torch.equal(m, start[n]) for n, m in masks(module.network).items())
    assert sum(kept(module.network).values()) == round(0.4 * 45)


def test_what_does_not_train_is_not_pruned(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    for freeze in (
        lambda module: module.body[0].weight.requires_grad_(False),
        lambda module: setattr(module, "make_optimizer", lambda _: SGD(module.head.parameters(), lr=0.1)),
    ):
        for pruner in (RigL(0.2), Random(0.2, rescale="kept_fan_in"), GemMiner(0.2)):
            module = make_module()
            freeze(module)
            before = copy.deepcopy(module.state_dict())
            with pytest.raises(SparsityError, match=r"would prune layer 'body.0'.*does not train"):
                make_trainer(pruner, max_epochs=4).fit(module, loader)
            assert all(torch.equal(module.state_dict()[n], t) for n, t in before.items())
    module = make_module()
    module.body.requires_grad_(False)
    add_masks(module, exclude=["body.0", "body.3"])
    body = copy.deepcopy(module.body[0].weight)
    make_trainer(RigL(0.2), max_epochs=2).fit(module, loader)
    assert torch.equal(module.body[0].weight, body)
    assert sum(kept(module).values()) == round(0.2 * module.head.weight.numel())


def test_keep_masks_keeps_the_zeros_of_a_network_without_masks(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module(lambda p: SGD(p, lr=0.1, momentum=0.9))
    make_trainer(Random(0.1), max_epochs=1).fit(module, loader)
    remove_masks(module)
    zeros = density_of_weights(module)
    with pytest.warns(UserWarning, match="AnybodysModule has zeros and no masks: 335 of 372 weights are zero"):
        make_trainer(KeepMasks(), max_epochs=2).fit(module, loader)
    assert density_of_weights(module) == zeros == pytest.approx(0.1, abs=0.001)


class Swap(pl.Callback):
    """Replaces a layer in mid-fit, as preparing for quantisation does."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.body[0] = nn.Conv2d(1, 4, 3, padding=1)


def test_a_mask_that_vanished_is_named(name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    with pytest.raises(SparsityError, match=r"the mask of layer 'body.0' vanished"):
        make_trainer(PRUNERS[name](), Swap(), max_epochs=6).fit(make_module(), loader)


class LateLayers(pl.LightningModule):
    """Makes its layers where Lightning lets it."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        if where != "configure_model":
            self.first = nn.Linear(16, 8)

    def setup(self, stage: str) -> None:
        if self.where == "setup" and not hasattr(self, "last"):
            self.last = nn.Linear(8, 3)

    def configure_model(self) -> None:
        if self.where == "configure_model" and not hasattr(self, "last"):
            self.first, self.last = nn.Linear(16, 8), nn.Linear(8, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.last(self.first(batch[0].flatten(1)).relu()), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", -self.training_step(batch, batch_idx))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Adam(self.parameters(), lr=0.01)


@pytest.mark.parametrize("where", ["setup", "configure_model"])
def test_layers_made_late_are_masked_resumed_and_tested(
    where: str, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any
) -> None:
    module, path = LateLayers(where), tmp_path / "late.ckpt"
    trainer = make_trainer(Random(0.1), max_epochs=1)
    trainer.fit(module, loader)
    assert sorted(masks(module)) == ["first", "last"]
    assert density_of_weights(module) == pytest.approx(0.1, abs=0.01)
    trainer.save_checkpoint(path)
    resumed = LateLayers(where)
    make_trainer(Random(0.1), max_epochs=2).fit(resumed, loader, ckpt_path=path)
    assert all(torch.equal(m, masks(module)[n]) for n, m in masks(resumed).items())
    fresh = LateLayers(where)
    make_trainer(KeepMasks()).test(fresh, loader, ckpt_path=path, verbose=False)
    assert all(torch.equal(m, masks(module)[n]) for n, m in masks(fresh).items())


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_a_sparse_checkpoint_is_evaluated_by_a_fresh_module(
    stage: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any
) -> None:
    module, path = make_module(), tmp_path / "sparse.ckpt"
    module.test_step = module.validation_step
    trainer = make_trainer(SynFlow(0.2), max_epochs=1)
    trainer.fit(module, loader, loader)
    trainer.save_checkpoint(path)
    fresh = make_module()
    fresh.test_step = fresh.validation_step
    fresh.predict_step = lambda batch, batch_idx: fresh(batch[0])
    getattr(make_trainer(SynFlow(0.2)), stage)(fresh, loader, ckpt_path=path)
    assert all(torch.equal(t, module.state_dict()[n]) for n, t in fresh.state_dict().items())


def test_a_dense_checkpoint_is_a_start_for_a_pruner(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any
) -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(make_module(), loader)
    trainer.save_checkpoint(tmp_path / "dense.ckpt")
    module = make_module()
    make_trainer(Magnitude(0.2), max_epochs=2).fit(module, loader, ckpt_path=tmp_path / "dense.ckpt")
    assert sum(kept(module).values()) == 74


@pytest.mark.parametrize("inside", [True, False])
def test_an_average_of_the_network_is_no_part_of_it_and_is_as_sparse(
    inside: bool, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Averaging(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            body = make_module()
            self.network = nn.ModuleDict({"own": body}) if inside else body
            self.own = body
            average = AveragedModel(body, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
            if inside:
                self.network["ema"] = average
            self.ema = average

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self.own(batch[0]), batch[1])

        def on_train_batch_end(self, *_: Any) -> None:
            self.ema.update_parameters(self.own)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return SGD(self.own.parameters(), lr=0.05)

    module = Averaging()
    make_trainer(GradualMagnitude(0.2, interval=2), max_epochs=4).fit(module, loader)
    assert sum(sizes(module.network).values()) == 372
    assert sum(kept(module.network).values()) == 74
    layers = masked(module.ema.module)
    assert all(torch.equal(m, layers[n].mask) for n, m in masks(module.own).items())
    assert density_of_weights(module.ema) <= 0.2
    assert module.ema.module.head.weight.any()


class ByHand(pl.LightningModule):
    """Steps as it likes, several times a batch."""

    def __init__(self, optimizers: int = 1, steps: int = 2) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        self.number, self.steps = optimizers, steps

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for _ in range(self.steps):
                optimizer.zero_grad()
                self.manual_backward(F.cross_entropy(self.network(batch[0]), batch[1]))
                optimizer.step()

    def configure_optimizers(self) -> Any:
        return [SGD(layer.parameters(), lr=0.1) for layer in (self.network, self.network[3])][: self.number]


def test_manual_optimisation_is_right_or_refused(name: str, make_trainer: Any, loader: DataLoader[Any]) -> None:
    for module in (ByHand(steps=2), ByHand(optimizers=2, steps=1)):
        pruner = PRUNERS[name]()
        try:
            make_trainer(pruner, max_epochs=6).fit(module, loader)
        except SparsityError as error:
            assert "optimisation" in str(error) or "has 2" in str(error)  # noqa: PT017
            continue
        assert pruner.is_final
        assert sum(kept(module.network).values()) == round(0.2 * 152)
        assert density_of_weights(module) <= 0.2


def test_a_plan_counts_batches_and_not_steps_of_manual_optimisation(make_trainer: Any, loader: DataLoader[Any]) -> None:
    changes = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            changes.append(density(pl_module.network))

    make_trainer(GradualMagnitude(0.2, start=0, stop=0.75, interval=6), Watch(), max_epochs=6).fit(ByHand(), loader)
    assert changes[18] > changes[-1]  # of 36 batches the last cut comes at the 27th
    assert len(set(changes)) == 6


class Endless(IterableDataset[Any]):
    """Never has class 2."""

    def __iter__(self) -> Iterator[Any]:
        number = 0
        while True:
            yield torch.randn(1, 4, 4), number % 2
            number += 1


def test_data_without_an_end_that_lack_a_class_are_given_up(make_module: Any, make_trainer: Any) -> None:
    trainer = make_trainer(SNIP(0.5, samples_per_class=1), max_epochs=1, limit_train_batches=2)
    with pytest.warns(UserWarning, match="class 2 has 0 training images among the 3,0"):
        trainer.fit(make_module(), DataLoader(Endless(), batch_size=8))


def test_data_without_an_end_need_a_length_for_a_plan(make_module: Any, make_trainer: Any) -> None:
    with pytest.raises(SparsityError, match=r"set trainer.max_steps, or max_epochs where"):
        make_trainer(RigL(0.5), max_epochs=1).fit(make_module(), DataLoader(Endless(), batch_size=8))


def with_labels(loader: DataLoader[Any], labels: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(loader.dataset.tensors[0], labels), batch_size=8)  # type: ignore[attr-defined]


@pytest.mark.parametrize("pruner", [SNIP, GraSP])
def test_labels_that_do_not_fit_are_said_before_training(
    pruner: Callable[..., PruningCallback], make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    for labels, reason in (
        (torch.arange(48) % 5, "labels go from 0 to 4, and the network has 3 outputs"),
        (torch.arange(48) - 50, "labels go from -"),
        (torch.rand(48), r"batches of \(images, class indices\)"),
    ):
        with pytest.raises(SparsityError, match=reason):
            make_trainer(pruner(0.5)).fit(make_module(), with_labels(loader, labels))
    ignored = torch.where(torch.arange(48) % 4 == 0, -100, torch.arange(48) % 3)
    module = make_module()
    make_trainer(pruner(0.5, samples_per_class=2)).fit(module, with_labels(loader, ignored))
    assert density(module) == 0.5


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda module: weight_norm(module.head), "layer 'head' is computed by a parametrisation"),
        (lambda module: nn.utils.spectral_norm(module.head), "layer 'head' is computed anew in every forward pass"),
        (lambda module: prune.random_unstructured(module.head, "weight", 0.5), "pruned by torch.nn.utils.prune"),
        (lambda module: setattr(module, "head", nn.LazyLinear(3)), "layer 'head' is lazy"),
        (lambda module: setattr(module.body[3], "weight", module.body[0].weight), "share one weight"),
    ],
)
def test_weights_that_are_no_ordinary_parameters_are_refused(
    break_it: Callable[[Any], Any], reason: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    break_it(module)
    with pytest.raises(SparsityError, match=reason):
        make_trainer(Random(0.5)).fit(module, loader)


def test_lightnings_own_pruning_beside_ours_is_refused(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match="Lightning's ModelPruning has masks of its own"):
        make_trainer(Random(0.5), ModelPruning("l1_unstructured")).fit(make_module(), loader)


@pytest.mark.parametrize("end", [nn.ReLU6(), nn.Softmax(1)])
def test_weights_chosen_by_lot_are_told(end: nn.Module, make_trainer: Any, loader: DataLoader[Any]) -> None:
    class Saturated(ByHand):
        def __init__(self) -> None:
            super().__init__(steps=1)
            nn.init.constant_(self.network[1].weight, 30.0)
            self.network.append(end)

    with pytest.warns(UserWarning, match=r"SynFlow chose \d+.\d+% of the weights it keeps by lot.*\(of .*1"):
        make_trainer(SynFlow(0.2)).fit(Saturated(), loader)


def test_a_head_of_zeros_is_told(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = make_module()
    nn.init.zeros_(module.head.weight)
    with pytest.warns(UserWarning, match=r"SNIP chose .*% of the weights it keeps by lot"):
        make_trainer(SNIP(0.9, samples_per_class=2)).fit(module, loader)


def test_a_run_that_ends_before_its_pruner_says_so(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = True

    with pytest.warns(UserWarning, match=r"before GradualMagnitude was done: the network has density 0\.\d+, not"):
        make_trainer(GradualMagnitude(0.1, start=0.0, interval=1), Stop(), max_epochs=6).fit(make_module(), loader)


def test_a_second_fit_saves_its_own_best(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    saving = SparseCheckpoint()
    for _ in range(2):
        make_trainer(Random(0.5), saving, enable_checkpointing=True).fit(make_module(), loader, loader)
        assert saving.best_model_score is not None
    paths = {saving.best_model_path}
    make_trainer(Random(0.5), saving, enable_checkpointing=True).fit(make_module(), loader, loader)
    assert saving.best_model_path not in paths


def test_masks_of_a_file_without_masks_are_what_is_not_zero(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Any
) -> None:
    module = make_module()
    make_trainer(Random(0.3), max_epochs=1).fit(module, loader)
    found = {n: m.clone() for n, m in masks(module).items()}
    remove_masks(module)
    torch.save(module.state_dict(), tmp_path / "zeros.pt")
    other = make_module()
    make_trainer(MaskFrom(str(tmp_path / "zeros.pt")), max_epochs=1).fit(other, loader)
    assert all(torch.equal(m, found[n]) for n, m in masks(other).items())
