from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sparsity.callbacks import EdgePopup
from sparsity.errors import SparsityError
from sparsity.masks import kept, masked, masks


class Follow(pl.Callback):
    """Scores, weights in use and gradients at every step."""

    def __init__(self, pruner: EdgePopup) -> None:
        self.pruner = pruner
        self.scores: list[dict[str, Tensor]] = []
        self.masks: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.scores.append({n: s.clone() for n, s in self.pruner.scores.items()})
        self.masks.append({n: m.clone() for n, m in masks(pl_module).items()})
        self.weights.append({n: layer.weight.detach().clone() for n, layer in masked(pl_module).items()})

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.pruner.scores:
            self.gradients.append({n: layer.weight.grad.clone() for n, layer in masked(pl_module).items()})


def follow(module: Any, make_trainer: Any, loader: DataLoader[Any], epochs: int = 4, **options: Any) -> Follow:
    pruner = EdgePopup(0.25, **options)
    watch = Follow(pruner)
    make_trainer(pruner, watch, max_epochs=epochs).fit(module, loader)
    return watch


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_every_step_uses_the_highest_scores(
    scope: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    watch = follow(make_module(), make_trainer, loader, scope=scope)
    assert len(watch.masks) == 24
    for scores, mask in zip(watch.scores, watch.masks, strict=True):
        layers = [(s.abs(), mask[n]) for n, s in scores.items()]
        if scope == "global":
            layers = [(torch.cat([s.flatten() for s, _ in layers]), torch.cat([m.flatten() for _, m in layers]))]
        for score, m in layers:
            assert int(m.sum()) == round(0.25 * m.numel())
            assert score[m].min() >= score[~m].max()


def test_the_weights_in_use_never_change_their_value(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    sign = module.head.weight.detach().sign()
    watch = follow(module, make_trainer, loader)
    for weights, mask in zip(watch.weights, watch.masks, strict=True):
        # sqrt(2 / fan_in), divided by the root of the density
        expected = sign * (2 / 64 / 0.25) ** 0.5 * mask["head"]
        assert torch.allclose(weights["head"], expected)
    assert not torch.equal(watch.masks[0]["head"], watch.masks[-1]["head"])


def test_scores_take_the_straight_through_gradient(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    rate = 0.1
    sgd = lambda p: torch.optim.SGD(p, lr=rate)  # noqa: E731
    constant = lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)  # noqa: E731
    module = make_module()
    frozen = module.head.weight.detach().sign() * (2 / 64 / 0.25) ** 0.5
    watch = follow(module, make_trainer, loader, optimizer=sgd, lr_scheduler=constant)
    for step in range(5):
        score, after = watch.scores[step]["head"], watch.scores[step + 1]["head"]
        # Weights that are not in use have a gradient too: that is how they pop up.
        assert torch.allclose(after, score - rate * watch.gradients[step]["head"] * frozen * score.sign())


def test_an_annealed_density_falls_exponentially_to_the_one_asked(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    watch = follow(make_module(), make_trainer, loader, epochs=6, scope="global", search_epochs=5, period=2)
    counts = [sum(int(m.sum()) for m in mask.values()) for mask in watch.masks]
    # Cuts at the ends of epochs 2 and 4.
    assert counts == [372] * 18 + [186] * 12 + [93] * 6


def test_finetuning_trains_the_weights_of_the_last_subnetwork(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    watch = follow(module, make_trainer, loader, search_epochs=2)
    final = watch.masks[12]
    assert all(torch.equal(mask["head"], final["head"]) for mask in watch.masks[12:])
    assert all(torch.equal(m, final[n]) for n, m in masks(module).items())
    changed = module.head.weight.detach() != watch.weights[12]["head"]
    assert changed[final["head"]].float().mean() > 0.9  # the others read a unit that is always 0
    assert not changed[~final["head"]].any()
    assert sum(kept(module).values()) == 93


def test_epochs_that_do_not_add_up_are_refused(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    with pytest.raises(SparsityError, match="search_epochs 5 is more than"):
        make_trainer(EdgePopup(0.2, search_epochs=5), max_epochs=4).fit(make_module(), loader)
    with pytest.raises(SparsityError, match="no cut falls into a search of 2 epochs with period 2"):
        make_trainer(EdgePopup(0.2, search_epochs=2, period=2), max_epochs=4).fit(make_module(), loader)
