"""What holds for every pruner in every pattern that it takes, after every step and after a resumption."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader

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
    SynFlow,
)
from sparsity.compaction import compact
from sparsity.errors import SparsityError
from sparsity.masks import masked, masks

RANKING: dict[str, Callable[..., PruningCallback]] = {
    "Random": Random,
    "Magnitude": Magnitude,
    "LAMP": LAMP,
    "SynFlow": partial(SynFlow, iterations=4),
    "SNIP": partial(SNIP, samples_per_class=2),
    "SNIP iterative": partial(SNIP, samples_per_class=2, iterations=3, schedule="cubic"),
    "GraSP": partial(GraSP, samples_per_class=2),
    "IterativeMagnitude": partial(IterativeMagnitude, rounds=2),
    "GradualMagnitude": partial(GradualMagnitude, interval=3),
}
MOVING: dict[str, Callable[..., PruningCallback]] = {"SET": partial(SET, interval=3), "RigL": partial(RigL, interval=3)}
DENSITIES = {"2:4": 0.5, "1:4": 0.25, "3x2": 0.3, "4x1": 0.3, "kernel": 0.3, "unit": 0.4, "fan_in": 0.3}
CASES = [(name, pattern) for name in RANKING for pattern in DENSITIES]
CASES += [(name, pattern) for name in MOVING for pattern in ("2:4", "1:4", "fan_in")]
# Of the 372 weights of a convolution of 36, one of 144 and a Linear of 192: n:m keeps all of the first's one input.
FINAL = {"2:4": {36 + 72 + 96}, "1:4": {36 + 36 + 48}, "unit": {3 * 9 + 9 * 3 * 2 + 3 * 32, 2 * 9 + 2 * 9 * 3 + 3 * 48}}


def make(name: str, pattern: str) -> PruningCallback:
    more = {"min_kept": 9} if pattern == "kernel" else {}
    return (RANKING | MOVING)[name](density=DENSITIES[pattern], pattern=pattern, **more)


def same_of_each_group(mask: Tensor, size: int, axis: int) -> set[int]:
    return {int(part.sum()) for row in mask.movedim(axis, -1).flatten(0, -2) for part in row.split(size)}


def require_pattern(pattern: str, module: nn.Module, mask: dict[str, Tensor]) -> None:
    """Whether each layer of `AnybodysModule` is in the pattern."""
    first, second, head = (mask[name] for name in ("body.0", "body.3", "head"))
    if ":" in pattern:
        n = int(pattern[0])
        assert first.all()
        [kept], [kept_of_head] = same_of_each_group(second, 4, 1), same_of_each_group(head, 4, 1)
        assert 4 >= kept == kept_of_head >= n
    elif pattern == "fan_in":
        for one in (first, second, head):
            fan_in = one.flatten(1).sum(1)
            assert fan_in[fan_in > 0].unique().numel() == 1
        assert head.any(1).all()  # its units are the classes
    elif pattern == "unit":
        live, live_second = first.flatten(1).any(1), second.flatten(1).any(1)
        assert torch.equal(first, live.view(4, 1, 1, 1).expand_as(first))
        assert torch.equal(second, (live_second[:, None] & live[None]).view(4, 4, 1, 1).expand_as(second))
        assert torch.equal(head, live_second.repeat_interleave(16).expand_as(head))
    elif pattern == "kernel":
        for one in (first, second):
            assert torch.equal(one, one[:, :, :1, :1].expand_as(one))
    else:
        r, c = map(int, pattern.split("x"))
        for one in (first, second, head.view(*head.shape, 1, 1)):
            for rows in one.split(r):
                for block in rows.split(c, dim=1):
                    assert torch.equal(block, block[:1, :1].expand_as(block))


class Watch(pl.Callback):
    """Looks after every step, before any other callback acts."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.steps = 0
        self.before: dict[str, Tensor] | None = None
        self.came_back = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        mask = {name: m.clone() for name, m in masks(pl_module).items()}
        require_pattern(self.pattern, pl_module, mask)
        for name, place in masked(pl_module).items():
            assert not place.weight[~mask[name]].any()
            if self.before is not None:
                self.came_back += int((mask[name] & ~self.before[name]).sum())
        self.before = mask
        self.steps += 1


def count(module: nn.Module) -> int:
    return sum(int(m.sum()) for m in masks(module).values())


@pytest.mark.filterwarnings("ignore:.*by lot")  # of so few weights some have a saliency of 0
@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_the_pattern_is_exact_after_every_step(
    name: str, pattern: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, pruner, watch = make_module(partial(Adam, lr=0.01, weight_decay=1e-3)), make(name, pattern), Watch(pattern)
    make_trainer(watch, pruner, max_epochs=6).fit(module, loader)
    assert watch.steps == 36
    assert pruner.is_final
    assert (watch.came_back > 0) == (name in MOVING)
    asked = round(DENSITIES[pattern] * 372)
    if ":" in pattern:
        assert count(module) in FINAL[pattern]
    elif pattern == "unit":
        assert 0.25 * 372 < count(module) <= asked
    elif name in MOVING:  # half a weight of each unit
        assert abs(count(module) - asked) <= 4 + 2 + 2 + 1.5
    else:  # less than one block, or one fan-in of a layer
        assert asked - 9 < count(module) <= asked


@pytest.mark.filterwarnings("ignore:.*by lot")
@pytest.mark.parametrize("step", [13, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 22))])
@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_a_resumed_fit_goes_on_in_the_pattern_to_the_bit(
    name: str, pattern: str, step: int, make_module: Any, make_trainer: Any, resumable: Callable[[], Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    uninterrupted, resumed = make_module(partial(Adam, lr=0.01)), make_module(partial(Adam, lr=0.01))
    resumed.load_state_dict(uninterrupted.state_dict())
    make_trainer(make(name, pattern), Save(), max_epochs=6).fit(uninterrupted, resumable())
    watch = Watch(pattern)
    trainer = make_trainer(watch, make(name, pattern), max_epochs=6)
    trainer.fit(resumed, resumable(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert watch.steps == 36 - step
    other = resumed.state_dict()
    assert all(torch.equal(tensor, other[key]) for key, tensor in uninterrupted.state_dict().items())


def test_a_run_goes_on_in_its_own_pattern_alone(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    trainer = make_trainer(RigL(0.5, pattern="2:4"), max_epochs=1)
    trainer.fit(make_module(), loader)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(SparsityError, match="of a run with pattern 2:4, and this one has fan_in; use the same"):
        make_trainer(RigL(0.5, pattern="fan_in"), max_epochs=2).fit(
            make_module(), loader, ckpt_path=tmp_path / "end.ckpt", weights_only=True
        )


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_units_are_compacted_away(
    scope: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:  # fmt: skip
    module = make_module()
    make_trainer(SNIP(0.41, pattern="unit", scope=scope), max_epochs=2).fit(module, loader)
    live = {name: int(place.by_unit(place.mask).flatten(1).any(1).sum()) for name, place in masked(module).items()}
    found = compact(module, (1, 4, 4))
    assert {name: layer.units for name, layer in found.layers.items()} == live
    assert sum(layer.weights for layer in found.layers.values()) == count(module) <= 152
    if scope == "layer":
        assert live == {"body.0": 2, "body.3": 2, "head": 3}
    images = next(iter(loader))[0]
    with torch.no_grad():
        assert torch.allclose(module.eval()(images), found.network.eval()(images), atol=1e-5)


def test_units_are_ablated_and_the_others_share_what_they_had(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    module, kept = make_module(), make_module()
    kept.load_state_dict(module.state_dict())
    with caplog.at_level("INFO"):
        make_trainer(RigL(0.3, pattern="fan_in", interval=2, ablation_threshold=0.9), max_epochs=6).fit(module, loader)
    make_trainer(RigL(0.3, pattern="fan_in", interval=2, ablation_threshold=0), max_epochs=6).fit(kept, loader)
    require_pattern("fan_in", module, masks(module))
    gone = sum(int((~m.flatten(1).any(1)).sum()) for m in masks(module).values())
    assert gone > 0
    assert f"RigL ablated {gone} of 11 units" in caplog.text
    assert all(m.flatten(1).any(1).all() for m in masks(kept).values())
    for name, m in masks(module).items():
        assert abs(int(m.sum()) - int(masks(kept)[name].sum())) <= 2


@pytest.mark.parametrize(
    "pruner", [*(partial(p, 0.5) for p in (Clustered, GemMiner, EdgePopup)), partial(MaskFrom, "x")]
)
def test_pruners_that_do_not_rank_have_no_pattern(pruner: Any) -> None:
    with pytest.raises(TypeError, match="pattern"):
        pruner(pattern="2:4")


@pytest.mark.parametrize(
    ("pruner", "sentence"),
    [
        (lambda: RigL(0.5, pattern="4x1"), "RigL moves weights one by one, not 4x1; choose the pattern weight"),
        (lambda: SET(0.5, pattern="unit"), "SET moves weights one by one, not unit"),
        (lambda: RigL(0.5, pattern="fan_in", ablation_threshold=1.5), r"ablation_threshold is a fraction in \[0, 1\]"),
        (lambda: SNIP(0.1, pattern="2:4"), r"the pattern 2:4 keeps 2 of 4 weights; set density to 0\.5, not 0\.1"),
        (lambda: SNIP(0.1, pattern="2by4"), "no pattern is called '2by4'; choose weight, n of m inputs such as 2:4"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(pruner: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(SparsityError, match=sentence):
        pruner()


@pytest.mark.parametrize(
    ("pruner", "sentence"),
    [
        (Magnitude(0.5, pattern="2:4", allocation="erk"), "the pattern 2:4 says itself how many weights each layer"),
        (RigL(0.5, pattern="2:4", allocation="balanced"), "leave allocation out"),
        (Magnitude(0.5, pattern="unit", allocation="erk"), "the pattern unit says itself"),
        (Magnitude(0.01, pattern="unit"), r"cannot keep 4 weights: without all units that can be taken out, but one"),
        (
            Magnitude(0.5, pattern="2:4", min_kept=80),
            r"'body\.3' 72 weights, and min_kept is 80; lower it",
        ),
    ],
)
def test_what_a_network_does_not_allow_is_refused_before_training(
    pruner: PruningCallback, sentence: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match=sentence):
        make_trainer(pruner).fit(make_module(), loader)


@pytest.mark.parametrize("ablation", ["shuffle", "random_same_ratios", "invert"])
def test_ablations_that_move_single_weights_are_refused(
    ablation: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    pruner = Magnitude(0.5, pattern="2:4")
    pruner.ablation = ablation
    with pytest.raises(SparsityError, match=f"{ablation} moves single weights, and breaks the pattern 2:4"):
        make_trainer(pruner).fit(make_module(), loader)


def test_the_density_that_is_reached_is_said_with_the_reason(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        make_trainer(Magnitude(0.5, pattern="2:4"), max_epochs=1).fit(make_module(), loader)
        make_trainer(GradualMagnitude(0.3, pattern="4x1"), max_epochs=4).fit(make_module(), loader)
        make_trainer(Magnitude(1.0, pattern="4x1"), max_epochs=1).fit(make_module(), loader)
    said = [record.getMessage() for record in caplog.records if "reaches density" in record.getMessage()]
    assert said[0] == (
        "Magnitude reaches density 0.548387 by the pattern 2:4, 204 weights and not 186: "
        "body.0 has 1 inputs and keeps all"
    )
    assert said[1].startswith("GradualMagnitude reaches density 0.29")
    assert len(said) == 2
