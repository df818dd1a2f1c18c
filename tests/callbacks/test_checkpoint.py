from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from sparsity.callbacks import GemMiner, Random, SparseCheckpoint
from sparsity.errors import SparsityError


class Scripted(pl.Callback):
    """Replaces the metric by given values."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.callback_metrics["val/accuracy"] = torch.tensor(self.values[trainer.current_epoch])


def epoch(path: str) -> int:
    return torch.load(path, weights_only=True)["epoch"]


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_best_is_the_best_and_last_the_last(
    mode: Any, best: int, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    checkpoint = SparseCheckpoint(mode=mode)
    trainer = make_trainer(Scripted([0.5, 0.9, 0.2, 0.7]), checkpoint, max_epochs=4, enable_checkpointing=True)
    trainer.fit(make_module(), loader, loader)
    assert epoch(checkpoint.best_model_path) == best
    assert epoch(checkpoint.last_model_path) == 3
    assert not list(Path(checkpoint.last_model_path).parent.glob(".*"))


def test_a_network_of_the_search_is_never_the_best(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    checkpoint = SparseCheckpoint()
    pruner = GemMiner(0.3, search_epochs=2)
    trainer = make_trainer(pruner, Scripted([0.9, 0.8, 0.1, 0.2]), checkpoint, max_epochs=4, enable_checkpointing=True)
    trainer.fit(make_module(), loader, loader)
    assert epoch(checkpoint.best_model_path) == 3


def test_last_exists_as_soon_as_training_starts(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    class Look(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            self.there = Path(checkpoint.last_model_path).is_file()
            trainer.should_stop = True

    checkpoint, look = SparseCheckpoint(), Look()
    make_trainer(look, checkpoint, max_epochs=1, enable_checkpointing=True).fit(make_module(), loader)
    assert look.there


def test_without_validation_there_is_only_the_last(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    checkpoint = SparseCheckpoint()
    make_trainer(checkpoint, enable_checkpointing=True).fit(make_module(), loader)
    assert checkpoint.best_model_path == ""
    assert epoch(checkpoint.last_model_path) == 1


def test_an_interval_that_is_not_positive_is_refused() -> None:
    with pytest.raises(SparsityError, match="every_n_train_steps"):
        SparseCheckpoint(every_n_train_steps=0)


def test_dropout_goes_on_where_it_was(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    def fit(max_epochs: int, seed: int, resume: str | None = None) -> tuple[dict[str, torch.Tensor], str]:
        torch.manual_seed(seed)
        module, checkpoint = make_module(), SparseCheckpoint()
        module.body.append(torch.nn.Dropout(0.5))
        trainer = make_trainer(Random(0.5), checkpoint, max_epochs=max_epochs, enable_checkpointing=True)
        trainer.fit(module, loader, loader, ckpt_path=resume)
        return module.state_dict(), checkpoint.last_model_path

    whole, _ = fit(4, seed=1)
    _, half = fit(2, seed=1)
    resumed, _ = fit(4, seed=2, resume=half)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_a_module_with_other_names_for_its_metrics_is_told_which_to_monitor(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class Renamed(make_module):  # type: ignore[misc]
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self(batch[0]).mean())

    trainer = make_trainer(SparseCheckpoint(), max_epochs=1, enable_checkpointing=True)
    with pytest.warns(UserWarning, match="monitors 'val/accuracy', which is not logged, .* there are val_loss"):
        trainer.fit(Renamed(), loader, loader)
