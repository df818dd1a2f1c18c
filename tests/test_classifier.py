from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from sparsity.callbacks import KeepMasks
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.masks import masks, nonzero_pruned, remove_masks, set_mask, sizes
from sparsity.networks import FC


def test_weight_decay_acts_on_weights_alone_unless_asked() -> None:
    make = partial(torch.optim.SGD, lr=0.1, weight_decay=0.01)
    groups = SparseClassifier(FC(), optimizer=make).configure_optimizers().param_groups
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    assert [{p.ndim for p in g["params"]} for g in groups] == [{2}, {1}]
    (everything,) = SparseClassifier(FC(), optimizer=make, decay_all=True).configure_optimizers().param_groups
    assert everything["weight_decay"] == 0.01


def test_dense_layers_are_not_masked() -> None:
    assert "fc1" not in sizes(SparseClassifier(FC(), exclude=["fc1"]).network)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_label_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(SparsityError, match="label_smoothing"):
        SparseClassifier(FC(), label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("network", "message"),
    [(FC((1, 14, 14)), r"Digits has input_shape \(1, 28, 28\), .* made for \(1, 14, 14\)"),
     (FC(num_classes=7), "num_classes 10")],
)  # fmt: skip
def test_data_that_the_network_was_not_made_for_are_refused(network: nn.Module, message: str, tmp_path: Any) -> None:
    trainer = pl.Trainer(max_epochs=1, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    with pytest.raises(SparsityError, match=message):
        trainer.fit(SparseClassifier(network), Digits())


def test_evaluation_gives_the_accuracy_computed_by_hand(tmp_path: Any) -> None:
    module, data = SparseClassifier(FC()), Digits()
    trainer = pl.Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path, enable_progress_bar=False)
    (metrics,) = trainer.test(module, data, verbose=False)
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        logits = module.network.eval()(images)
    assert metrics["test/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert metrics["test/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("together", [1, 3_000, 1_000_000])
def test_training_counts_every_image_once_however_many_are_counted_together(
    together: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsity.classifier.COUNTED_TOGETHER", together)
    torch.manual_seed(0)
    module, data = SparseClassifier(FC(), optimizer=partial(SGD, lr=0.0)), Digits(batch_size=100)
    trainer = pl.Trainer(
        max_epochs=2, limit_val_batches=0, logger=False, accelerator="cpu", default_root_dir=tmp_path,
        enable_progress_bar=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, data)
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(labels) % 100
    with torch.no_grad():
        logits = module.network(images)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged["train/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert logged["train/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item(), rel=1e-5)


def test_a_sparse_network_that_nothing_keeps_sparse_is_not_trained_on(tmp_path: Any) -> None:
    data, options = Digits(), {"max_epochs": 2, "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "limit_train_batches": 2, "limit_val_batches": 1}

    def module() -> SparseClassifier:
        made = SparseClassifier(FC(depth=2, width=6))
        set_mask(made.network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(made.network).items()})
        return made

    with pytest.raises(SparsityError, match=r"^[\d,]+ pruned weights are not zero after epoch 0, since nothing keeps"):
        pl.Trainer(**options).fit(module(), data)
    pl.Trainer(**options, callbacks=[KeepMasks()]).fit(kept := module(), data)
    assert nonzero_pruned(kept.network) == 0
    remove_masks((dense := module()).network)
    pl.Trainer(**options).fit(dense, data)
