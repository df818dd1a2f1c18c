"""Predictions are written, in the data's order, and nothing is overwritten."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sparsity.callbacks.predictions import PredictionWriter, write_predictions
from sparsity.datamodules import Digits
from sparsity.errors import SparsityError
from sparsity.interop import load_network, save_checkpoint
from sparsity.networks import FC

SMALL = [
    "--data", "Digits", "--model.network", "FC", "--model.network.width", "10", "--model.network.depth", "2",
    "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
]  # fmt: skip


def test_predict_writes_a_row_per_image_and_says_where(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(FC(width=10, depth=2), "network.ckpt")
    outcome = sparsity("predict", *SMALL, "--ckpt_path", "network.ckpt")
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip().endswith("359 predictions written to predictions")
    images, labels = Digits().read(train=False)
    network = load_network("network.ckpt").eval()
    expected = network((images / 255 - Digits.mean[0]) / Digits.std[0]).softmax(1)
    found = torch.load("predictions/predictions.pt", weights_only=True)
    torch.testing.assert_close(found["probabilities"], expected)
    assert torch.equal(found["labels"], labels)
    with open("predictions/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(359))
    assert [int(row["label"]) for row in rows] == labels.tolist()
    assert [int(row["predicted"]) for row in rows] == found["predicted"].tolist()
    assert float(rows[3]["probability_7"]) == pytest.approx(float(found["probabilities"][3, 7]), rel=1e-8)


def test_predictions_are_never_overwritten(sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(FC(width=10, depth=2), "network.ckpt")
    for _ in range(2):
        assert sparsity("predict", *SMALL, "--ckpt_path", "network.ckpt", "--output", "a/mine").code == 0
    assert {path.name for path in Path("a").iterdir()} == {"mine", "mine_2"}


def test_a_prediction_that_fails_leaves_no_folder(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(FC(width=10, depth=2), "network.ckpt")
    outcome = sparsity("predict", *SMALL, "--ckpt_path", "network.ckpt", "--trainer.limit_predict_batches", "0")
    assert {path.name for path in tmp_path.iterdir()} == {"network.ckpt"}
    assert outcome.code == 2, outcome.out


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Conv2d(1, 3, 1), r"predict_step of Predicts gives a Tensor shaped \[2, 3, 4, 4\]"),
        (nn.LSTM(4, 4), "predict_step of Predicts gives a tuple"),
    ],
)
def test_predictions_of_what_does_not_classify_are_refused(
    network: nn.Module, reason: str, tmp_path: Path, make_trainer: Any
) -> None:
    class Predicts(pl.LightningModule):
        def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
            return network(batch[0][:, 0] if isinstance(network, nn.LSTM) else batch[0])

    trainer = make_trainer(PredictionWriter(str(tmp_path / "predictions")))
    with pytest.raises(SparsityError, match=reason):
        trainer.predict(Predicts(), DataLoader(TensorDataset(torch.rand(4, 1, 4, 4)), batch_size=2))
    assert not (tmp_path / "predictions").exists()


def test_labels_that_are_no_class_indices_have_no_column(tmp_path: Path, make_trainer: Any) -> None:
    class Predicts(pl.LightningModule):
        def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            return batch[0].softmax(1)

    trainer = make_trainer(PredictionWriter(str(tmp_path / "predictions")))
    trainer.predict(Predicts(), DataLoader(TensorDataset(torch.rand(4, 3), torch.rand(4, 2)), batch_size=2))
    assert "labels" not in torch.load(tmp_path / "predictions" / "predictions.pt", weights_only=True)


def test_images_without_labels_have_no_column_for_them(tmp_path: Path) -> None:
    write_predictions(tmp_path, torch.tensor([[0.25, 0.75], [1.0, 0.0]]), None)
    assert (tmp_path / "predictions.csv").read_text() == (
        "index,predicted,probability_0,probability_1\n0,1,0.25,0.75\n1,0,1,0\n"
    )
    assert set(torch.load(tmp_path / "predictions.pt", weights_only=True)) == {"probabilities", "predicted"}


def test_a_table_without_its_tensors_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "predictions.pt").write_text("somebody else's")
    with pytest.raises(FileExistsError):
        write_predictions(tmp_path, torch.rand(3, 2), None)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.pt"]
    assert (tmp_path / "predictions.pt").read_text() == "somebody else's"
