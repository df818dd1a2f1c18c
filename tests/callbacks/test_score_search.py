import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from sparsity.callbacks import GemMiner
from sparsity.errors import SparsityError
from sparsity.masks import kept, masked, masks, sizes

TOTAL = 36 + 144 + 192


class Recorder(pl.Callback):
    """What each epoch starts with, seen after the pruner acted."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.weights: list[dict[str, Tensor]] = []
        self.lrs: list[float] = []
        self.optimized: list[int] = []
        self.evaluated: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, i: int) -> None:
        if i == 0:
            self.kept.append(sum(kept(pl_module).values()))
            self.weights.append({n: m.weight.detach().clone() for n, m in masked(pl_module).items()})
            self.lrs.append(trainer.optimizers[0].param_groups[0]["lr"])
            self.optimized.append(sum(len(g["params"]) for g in trainer.optimizers[0].param_groups))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.evaluated.append({n: m.weight.detach().clone() for n, m in masked(pl_module).items()})


def test_cuts_fall_exponentially_and_end_at_exactly_the_density_asked(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, recorder = make_module(), Recorder()
    # n = floor((7 - 1) / 2) = 3 cuts, at the ends of epochs 2, 4 and 6
    make_trainer(GemMiner(0.1, search_epochs=7, period=2), recorder, max_epochs=9).fit(module, loader)
    # Each takes 1 - 0.1^(1/3) = 0.5358 of those left, rounded up: 200 of 372, 93 of 172; the last leaves 0.1 * 372.
    expected = [372] * 3 + [172] * 2 + [79] * 2 + [37] * 2
    assert recorder.kept == expected


def test_the_search_leaves_weights_signed_constant_or_zero_and_finetuning_moves_them(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, recorder = make_module(), Recorder()
    signs = {n: m.weight.detach().sign() for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    make_trainer(GemMiner(0.3, search_epochs=4), recorder, max_epochs=6).fit(module, loader)
    for epoch in range(5):  # also the first epoch of finetuning starts from them
        for name, weight in recorder.weights[epoch].items():
            constant = signs[name] * math.sqrt(2 / weight[0].numel())
            assert torch.all((weight == 0) | torch.isclose(weight, constant))
    changed = recorder.weights[5]["head"][module.head.weight_mask]
    assert not torch.allclose(changed.abs(), torch.tensor(math.sqrt(2 / 64)))


def test_with_restore_finetuning_starts_with_every_weight_that_the_mask_keeps(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, recorder = make_module(), Recorder()
    make_trainer(GemMiner(0.3, search_epochs=3, penalty_weight=0.05), recorder, max_epochs=4).fit(module, loader)
    nonzero = sum(int((w != 0).sum()) for w in recorder.weights[3].values())
    assert nonzero == sum(kept(module).values()) == round(0.3 * TOTAL)


def test_without_restore_only_scores_above_one_half_survive(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, recorder = make_module(), Recorder()
    pruner = GemMiner(0.5, search_epochs=3, penalty_weight=0.02, restore=False)
    make_trainer(pruner, recorder, max_epochs=4).fit(module, loader, loader)
    rounded = recorder.evaluated[3]  # sanity check, three epochs of search
    count = sum(kept(module).values())
    assert 0 < count < round(0.5 * TOTAL)
    for name, mask in masks(module).items():
        assert (mask <= (rounded[name] != 0)).all()


def test_one_step_of_the_search_is_the_straight_through_gradient_and_the_penalty_by_hand(make_trainer: Any) -> None:
    class OneLayer(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2, bias=False)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return F.mse_loss(self.layer(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class AfterFirstStep(pl.Callback):
        def on_fit_start(self, *_: Any) -> None:
            self.before = pruner.scores["layer"].clone()

        def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
            if trainer.global_step == 1:
                self.after = pruner.scores["layer"].clone()
                self.weight = module.layer.weight.detach().clone()

    x, y = torch.rand(4, 3), torch.rand(4, 2)
    module = OneLayer()
    pruner = GemMiner(
        0.5, search_epochs=2, penalty_weight=0.01, optimizer=lambda p: torch.optim.SGD(p, lr=0.5), signed_constant=False
    )
    w0, watch = module.layer.weight.detach().clone(), AfterFirstStep()
    data = DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    make_trainer(pruner, watch, max_epochs=3).fit(module, data)

    effective = (w0 * (watch.before > 0.5)).requires_grad_()
    (gradient,) = torch.autograd.grad(F.mse_loss(x @ effective.T, y), effective)
    expected = (watch.before - 0.5 * (gradient * w0 + 0.01 * 2 * watch.before)).clamp(0, 1)
    assert torch.allclose(watch.after, expected)
    assert torch.equal(watch.weight, w0 * (watch.after > 0.5))


def test_accumulated_batches_equal_one_large_batch(make_module: Any, make_trainer: Any) -> None:
    torch.manual_seed(3)
    images, labels = torch.randn(32, 1, 4, 4), torch.arange(32) % 3
    results = []
    for batch_size, accumulate in ((32, 1), (8, 4)):
        torch.manual_seed(5)
        module = make_module()
        module.body[1], module.body[4] = nn.Identity(), nn.Identity()  # BatchNorm would see batches of other sizes
        data = DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=batch_size)
        pruner = GemMiner(0.5, search_epochs=3)
        last = LastScores(pruner)
        make_trainer(pruner, last, max_epochs=4, accumulate_grad_batches=accumulate).fit(module, data)
        results.append(last.scores)
    for name in results[0]:
        assert torch.allclose(results[0][name], results[1][name], atol=1e-5)


class LastScores(pl.Callback):
    def __init__(self, pruner: GemMiner) -> None:
        self.pruner = pruner

    def on_train_epoch_end(self, *_: Any) -> None:
        if self.pruner.scores:
            self.scores = {n: s.clone() for n, s in self.pruner.scores.items()}


def test_the_search_has_its_own_optimizer_and_cosine_schedule(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    recorder = Recorder()
    make_trainer(GemMiner(0.3, search_epochs=4), recorder, max_epochs=6).fit(make_module(), loader)
    cosine = [0.1 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]
    assert recorder.lrs == pytest.approx([*cosine, 0.05, 0.05])
    assert recorder.optimized == [1] * 4 + [10] * 2


def test_batchnorm_is_frozen_in_the_search_and_only_its_weight_is_finetuned(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, affine = make_module(), []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            norm = pl_module.body[1]
            affine.append((bool((norm.weight == 1).all()), bool((norm.bias == 0).all())))

    make_trainer(GemMiner(0.3, search_epochs=2), Watch(), max_epochs=4).fit(module, loader)
    assert affine == [(True, True), (True, True), (False, True), (False, True)]


def test_train_affine_trains_batchnorm_in_both_phases(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    recorder, module = Recorder(), make_module()
    make_trainer(GemMiner(0.3, search_epochs=2, train_affine=True), recorder, max_epochs=3).fit(module, loader)
    assert recorder.optimized == [5, 5, 10]
    assert (module.body[1].bias != 0).all()


@pytest.mark.parametrize("options", [{"rounding": "bernoulli"}, {"rounding_noise": 0.2}])
def test_random_rounding_changes_batches_but_not_evaluation(
    options: dict[str, Any], make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    pruner, patterns, mismatches = GemMiner(0.5, search_epochs=2, **options), set(), []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if pruner.scores:
                patterns.add(tuple((pl_module.head.weight != 0).flatten().tolist()))

        def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if pruner.scores:
                rounded = (pruner.scores["head"] > 0.5) & pl_module.head.weight_mask
                mismatches.append(int(((pl_module.head.weight != 0) != rounded).sum()))

    make_trainer(pruner, Watch(), max_epochs=3).fit(make_module(), loader, loader)
    assert len(patterns) == 12
    assert mismatches == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:GemMiner chose")
@pytest.mark.parametrize("score_init", ["uniform", "half", "bernoulli", "bimodal", "skew"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_every_start_ends_at_the_exact_density(
    score_init: Any, scope: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    pruner = GemMiner(0.2, search_epochs=3, score_init=score_init, scope=scope)
    make_trainer(pruner, max_epochs=4).fit(module, loader)
    assert sum(kept(module).values()) == round(0.2 * TOTAL)
    if scope == "layer":
        assert all(abs(kept(module)[n] - 0.2 * size) <= 1 for n, size in sizes(module).items())


@pytest.mark.parametrize(
    ("arguments", "max_epochs", "message"),
    [
        ({"search_epochs": 4}, 4, "search_epochs 4 leaves 4 and 0"),
        ({"search_epochs": 9}, 4, "search_epochs 9 leaves 9 and -5"),
        ({}, 3, "search_epochs 1 leaves 1 and 2"),
        ({"search_epochs": 3, "period": 3}, 6, "no cut falls into a search of 3 epochs with period 3"),
        ({}, -1, "set it"),
    ],
)
def test_epochs_that_do_not_add_up_are_refused_before_training(
    arguments: dict[str, Any], max_epochs: int, message: str, make_module: Any, make_trainer: Any,
    loader: DataLoader[Any],
) -> None:  # fmt: skip
    module = make_module()
    before = {n: p.clone() for n, p in module.named_parameters()}
    with pytest.raises(SparsityError, match=message):
        make_trainer(GemMiner(0.3, **arguments), max_epochs=max_epochs).fit(module, loader)
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters())


@pytest.mark.parametrize(
    "arguments",
    [{"search_epochs": 1}, {"period": 0}, {"penalty_weight": -1.0}, {"penalty_weight": math.nan},
     {"rounding_noise": 1.1}, {"penalty_exponents": (0.5, 1.0)}, {"min_kept": -1}],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(SparsityError, match=next(iter(arguments))):
        GemMiner(0.1, **arguments)


@pytest.mark.filterwarnings("ignore:GemMiner chose")
def test_a_layer_that_dies_is_named_and_ends_the_search(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match=r"GemMiner cut every weight of .*body.* in epoch"):
        make_trainer(GemMiner(0.003, search_epochs=2), max_epochs=4).fit(make_module(), loader)


@pytest.mark.filterwarnings("ignore:GemMiner chose")
def test_min_kept_keeps_every_layer_alive(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = make_module()
    make_trainer(GemMiner(0.01, search_epochs=2, min_kept=1), max_epochs=4).fit(module, loader)
    assert sorted(kept(module).values())[0] >= 1
    assert sum(kept(module).values()) == 4
