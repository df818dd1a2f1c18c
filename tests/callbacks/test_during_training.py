from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from sparsity.callbacks import SET, GradualMagnitude, RigL
from sparsity.errors import SparsityError
from sparsity.masks import kept, masked, masks, sizes
from sparsity.pruning.allocation import erk


class Follow(pl.Callback):
    """Weights, masks and dense gradients, before and after every step."""

    def __init__(self) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.masks: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        layers = masked(pl_module)
        self.before.append({n: layer.weight.detach().clone() for n, layer in layers.items()})
        self.masks.append({n: m.clone() for n, m in masks(pl_module).items()})

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.gradients.append({n: layer.weight.grad.clone() for n, layer in masked(pl_module).items()})

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.after.append({n: m.clone() for n, m in masks(pl_module).items()})


def changes(follow: Follow) -> list[int]:
    """The steps before which the mask changed."""
    pairs = enumerate(zip(follow.masks, follow.after, strict=True))
    return [step for step, (old, new) in pairs if any(not torch.equal(old[n], new[n]) for n in old)]


def test_gradual_magnitude_follows_its_cubic_to_the_weight(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    # 60 steps: from step 12 to 45, every 4 steps, and at the last.
    make_trainer(GradualMagnitude(0.1, interval=4), follow, max_epochs=10).fit(module, loader)
    due = [*range(12, 45, 4), 45]
    expected = [372] * 60
    for step in range(60):
        at = max((d for d in due if d <= step), default=None)
        if at is not None:
            expected[step] = round((0.1 + 0.9 * (1 - (at - 12) / 33) ** 3) * 372)
    expected[45:] = [37] * 15
    assert [sum(int(m.sum()) for m in after.values()) for after in follow.after] == expected


def test_gradual_magnitude_cuts_the_smallest_weights(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    make_trainer(GradualMagnitude(0.1, interval=4), follow, max_epochs=10).fit(module, loader)
    step = changes(follow)[3]
    cut = {n: follow.masks[step][n] & ~follow.after[step][n] for n in follow.after[step]}
    largest_cut = max(float(follow.before[step][n][c].abs().max()) for n, c in cut.items() if c.any())
    smallest_kept = min(float(follow.before[step][n][m].abs().min()) for n, m in follow.after[step].items())
    assert largest_cut <= smallest_kept


@pytest.mark.parametrize("pruner", [SET, RigL])
def test_layers_keep_their_share_and_the_mask_moves_until_the_last_step(
    pruner: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    make_trainer(pruner(0.3, interval=4), follow, max_epochs=10).fit(module, loader)
    shapes = {n: tuple(m.shape) for n, m in masks(module).items()}
    assert kept(module) == erk(shapes, 0.3)
    for after in follow.after:
        assert {n: int(m.sum()) for n, m in after.items()} == kept(module)
    moved = changes(follow)
    assert set(moved) <= set(range(0, 45, 4))
    assert len(moved) >= 8


def test_the_number_that_moves_falls_along_a_cosine(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    make_trainer(SET(0.5, allocation="uniform", interval=15), follow, max_epochs=10).fit(module, loader)
    # 96 of 192 weights of the head; cos at 0, 15, 30 of 45 steps: 1, 0.75, 0.25. Those that grow at random may be
    # ones just dropped, so fewer than 29, 22 and 7 positions change.
    for step, dropped in ((0, 29), (15, 22), (30, 7)):
        old, new = follow.masks[step]["head"], follow.after[step]["head"]
        largest_stay = follow.before[step]["head"].abs().masked_fill(~old, 0).flatten().topk(96 - dropped).indices
        assert new.flatten()[largest_stay].all()
        assert 0 < int((old & ~new).sum()) <= dropped
    assert torch.equal(follow.masks[45]["head"], follow.after[45]["head"])


def test_rigl_grows_where_the_dense_gradient_is_largest(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    make_trainer(RigL(0.3, interval=4), follow, max_epochs=10).fit(module, loader)
    for step in changes(follow):
        for name, new in follow.after[step].items():
            old, gradient = follow.masks[step][name], follow.gradients[step][name].abs()
            if (grown := new & ~old).any():
                assert gradient[grown].min() >= gradient[~new & ~old].max()


def test_a_dense_layer_stays_dense(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = make_module()
    densities = {"body.0": 1.0, "body.3": 0.5, "head": 0.2}
    density = (36 + 72 + 38) / 372
    make_trainer(RigL(density, allocation=densities, interval=2), max_epochs=4).fit(module, loader)
    assert kept(module) == {"body.0": 36, "body.3": 72, "head": 38}


def test_steps_follow_from_the_length_of_the_run_and_are_said(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    pruner = RigL(0.3)
    with caplog.at_level("INFO"):
        make_trainer(pruner, max_epochs=20).fit(make_module(), loader)
    assert "RigL: a new mask every 3 steps, from step 0 to 90 of 120" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"start": 0.8}, "0 <= start < stop <= 1, not 0.8, 0.75"), ({"stop": 1.5}, "not 0.0, 1.5"),
     ({"interval": 0}, "interval must be a whole number of at least 1"),
     ({"drop_fraction": 1.0}, r"drop_fraction is a fraction in \(0, 1\)")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        SET(0.1, **arguments)


def test_a_run_that_is_too_short_or_of_unknown_length_is_refused(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    with pytest.raises(SparsityError, match=r"finds no step between 0\.5 and 0\.55 of a run of 6 steps"):
        make_trainer(GradualMagnitude(0.2, start=0.5, stop=0.55), max_epochs=1).fit(make_module(), loader)
    with pytest.raises(SparsityError, match="needs to know the length of the run"):
        make_trainer(SET(0.2), max_epochs=-1, max_time="00:00:00:10").fit(make_module(), loader)


@pytest.mark.parametrize("rescale", ["none", "kept_fan_in"])
def test_the_first_weights_are_those_of_the_initialisation_or_rescaled(
    rescale: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module, follow = make_module(), Follow()
    dense = module.head.weight.detach().clone()
    make_trainer(SET(0.3, rescale=rescale), follow, max_epochs=4).fit(module, loader)
    mask = follow.masks[0]["head"]
    factor = 1.0
    if rescale == "kept_fan_in":
        factor = dense.norm(dim=1, keepdim=True) / (dense * mask).norm(dim=1, keepdim=True)
    assert torch.allclose(follow.before[0]["head"], dense * mask * factor)
    assert sizes(module)["head"] == 192


def test_rigl_moves_nothing_where_gradients_overflow(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Overflow(pl.Callback):
        def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.global_step == 3:
                pl_module.head.weight.grad[0, 0] = torch.inf

    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=128.0))
    follow = Follow()
    make_trainer(RigL(0.2, interval=3), Overflow(), follow, plugins=[scaled]).fit(make_module(), loader)
    assert changes(follow) == [0, 6]  # without it 3 too; at 9 the cosine is 0
