"""Predictions are written, in the data's order, and nothing is overwritten."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.callbacks.predictions import write_predictions
from sparsity.datamodules import Digits
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


def test_images_without_labels_have_no_column_for_them(tmp_path: Path) -> None:
    write_predictions(tmp_path, torch.tensor([[0.25, 0.75], [1.0, 0.0]]), None)
    assert (tmp_path / "predictions.csv").read_text() == (
        "index,predicted,probability_0,probability_1\n0,1,0.25,0.75\n1,0,1,0\n"
    )
    assert set(torch.load(tmp_path / "predictions.pt", weights_only=True)) == {"probabilities", "predicted"}
