"""Breaking a mask at the moment it is found, in every pruner that has such a moment."""

from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader

from sparsity.callbacks import (
    SET,
    EdgePopup,
    GemMiner,
    GradualMagnitude,
    IterativeMagnitude,
    Magnitude,
    MaskFrom,
    RigL,
    SparseCheckpoint,
    SynFlow,
)
from sparsity.errors import SparsityError
from sparsity.masks import kept, masks
from sparsity.pruning.ablation import Ablation

FINDERS = {
    "Magnitude": (partial(Magnitude, 0.3), 0),
    "SynFlow": (partial(SynFlow, 0.3, iterations=3), 0),
    "GemMiner": (partial(GemMiner, 0.3, search_epochs=3), 3),
    "EdgePopup": (partial(EdgePopup, 0.3, search_epochs=3), 3),
    "IterativeMagnitude": (partial(IterativeMagnitude, 0.3, rounds=1), 2),
}
"""How to make the pruner, and the epoch in which the mask that it found starts to train."""


class AtEpoch(pl.Callback):
    """Weights and masks at the first batch of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 0):
            self.masks = {n: m.clone() for n, m in masks(pl_module).items()}
            self.weights = {n: p.detach().clone() for n, p in pl_module.named_parameters()}


def at_start_of_training(
    name: str, ablation: Ablation | None, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> AtEpoch:
    make, epoch = FINDERS[name]
    torch.manual_seed(1)
    module, pruner, watch = make_module(lambda p: SGD(p, lr=0.05)), make(), AtEpoch(epoch)
    pruner.ablation = ablation
    make_trainer(pruner, watch, max_epochs=4).fit(module, loader)
    assert all(torch.equal(m, masks(module)[n]) for n, m in watch.masks.items())
    return watch


def share(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return sum(int((a[n] & b[n]).sum()) for n in a) / sum(int(m.sum()) for m in a.values())


@pytest.mark.parametrize("name", FINDERS)
def test_an_ablation_breaks_the_mask_that_was_found_and_nothing_else(
    name: str, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    whole = at_start_of_training(name, None, make_module, make_trainer, loader)
    found = {n: int(m.sum()) for n, m in whole.masks.items()}
    for ablation in get_args(Ablation):
        broken = at_start_of_training(name, ablation, make_module, make_trainer, loader)
        if ablation == "invert":
            assert all(torch.equal(broken.masks[n], ~m) for n, m in whole.masks.items())
        else:
            assert {n: int(m.sum()) for n, m in broken.masks.items()} == found
        if ablation in ("shuffle", "random_same_ratios"):
            assert share(broken.masks, whole.masks) < 0.8
        # The weights that are kept now have their values from before pruning, none is an old zero.
        for n, m in broken.masks.items():
            weight = broken.weights[f"{n}.weight"]
            assert (weight[m] != 0).all()
            assert (weight[~m] == 0).all()
            both = m & whole.masks[n]
            same = torch.equal(weight[both], whole.weights[f"{n}.weight"][both])
            assert same == (ablation != "reinitialise" or not both.any())
        others = [n for n in whole.weights if n.removesuffix(".weight") not in whole.masks]
        assert all(torch.equal(broken.weights[n], whole.weights[n]) for n in others)


@pytest.mark.parametrize(
    "pruner",
    [SET(0.3), RigL(0.3), GradualMagnitude(0.3), EdgePopup(0.3),
     IterativeMagnitude(0.3, rounds=1, rewind="learning_rate")],
    ids=lambda pruner: type(pruner).__name__,
)  # fmt: skip
def test_pruners_without_such_a_moment_say_what_to_do_instead(
    pruner: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    pruner.ablation = "shuffle"
    with pytest.raises(SparsityError, match="MaskFrom"):
        make_trainer(pruner, max_epochs=4).fit(make_module(), loader)


def test_a_mask_from_a_checkpoint_can_be_broken_too(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    module = make_module()
    trainer = make_trainer(RigL(0.3), SparseCheckpoint(), enable_checkpointing=True)
    trainer.fit(module, loader)
    pruner, fresh = (
        MaskFrom(str(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")),
        make_module(),
    )
    pruner.ablation = "shuffle"
    make_trainer(pruner, max_epochs=1).fit(fresh, loader)
    assert kept(fresh) == kept(module)
    assert share(masks(fresh), masks(module)) < 0.8


def test_inverting_a_dense_mask_is_refused(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    pruner = Magnitude(1.0)
    pruner.ablation = "invert"
    with pytest.raises(SparsityError, match="density 1 prunes nothing"):
        make_trainer(pruner).fit(make_module(), loader)


def test_a_checkpoint_of_another_network_is_refused(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    torch.save({"head.weight_mask": torch.ones(2, 2, dtype=torch.bool), "head.weight": torch.ones(2, 2)},
               tmp_path / "other.pt")  # fmt: skip
    for path, message in ((tmp_path / "other.pt", "no known layout|another network"), (tmp_path / "no", "no file")):
        with pytest.raises(SparsityError, match=message):
            make_trainer(MaskFrom(str(path))).fit(make_module(), loader)
