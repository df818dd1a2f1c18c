"""What `analyze` says of predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.analysis.predictions.corruptions import CORRUPTIONS
from sparsity.cli.analyze_predictions import predictions
from sparsity.datamodules import Digits
from sparsity.interop import save_checkpoint
from sparsity.networks import FC
from tests.saved_runs import save_network


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_data_bring_numbers_beyond_accuracy_and_corruptions_only_if_asked(sparsity: Any, tmp_path: Path) -> None:
    for seed in (1, 2):
        save_network(tmp_path / f"n{seed}.ckpt", seed)
    given = tmp_path / "n1.ckpt", tmp_path / "n2.ckpt", "--data", "Digits", "--images", "20", "--figures", "none"
    outcome = sparsity("analyze", *given, "--output", tmp_path / "out", "--corruptions", "true")
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["n1"]
    assert {"expected_calibration_error", "negative_log_likelihood", "brier_score"} <= set(summary)
    by_class = [row for row in rows(tmp_path / "out" / "class_accuracies.csv") if row["network"] == "n1"]
    images = [int(row["images"]) for row in by_class]
    assert sum(images) == 359
    right = sum(count * float(row["accuracy"]) for count, row in zip(images, by_class, strict=True))
    assert right / 359 == pytest.approx(summary["test_accuracy"])
    corrupted = [row for row in rows(tmp_path / "out" / "corruptions.csv") if row["network"] == "n1"]
    assert len(corrupted) == 5 * len(CORRUPTIONS)
    mean = sum(float(row["accuracy"]) for row in corrupted) / len(corrupted)
    assert summary["corrupted_accuracy"] == pytest.approx(mean)
    assert not (tmp_path / "out" / "exemplars.csv").exists()  # there is no dense network


def test_corruptions_without_data_are_refused(sparsity: Any, tmp_path: Path) -> None:
    save_checkpoint(FC(depth=2, width=4), tmp_path / "a.ckpt")
    outcome = sparsity("analyze", tmp_path / "a.ckpt", "--output", tmp_path / "out", "--corruptions", "true")
    assert outcome.code == 2
    assert "corruptions are of test images; give --data" in outcome.err


class Says(nn.Module):
    """Says a class of each image, whatever it shows."""

    def __init__(self, *classes: int) -> None:
        super().__init__()
        self.classes = torch.tensor(classes)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(self.classes, 4).float()


def test_images_that_pruning_makes_different_are_listed_with_what_was_said() -> None:
    networks = {f"d{k}": Says(0, 1, 2) for k in range(3)} | {f"p{k}": Says(0, 3, 2) for k in range(3)}
    images = torch.arange(3.0).view(3, 1, 1, 1)
    found = predictions(networks, {"d0", "d1", "d2"}, images, torch.tensor([0, 1, 1]))
    assert found.tables["exemplars.csv"] == [{"image": 1, "label": 1, "dense": 1, "pruned": 3}]
    assert found.exemplars is not None
    assert found.exemplars.flatten().tolist() == [1]
    assert found.summaries["d0"]["test_accuracy"] == pytest.approx(2 / 3)


def test_images_that_are_no_whole_numbers_are_not_corrupted() -> None:
    from sparsity.errors import SparsityError
    from sparsity.evaluation import read_test_pixels

    class Floats(Digits):
        def read(self, train: bool) -> tuple[Tensor, Tensor]:
            images, labels = super().read(train)
            return images.float(), labels

    with pytest.raises(SparsityError, match="must give images as uint8, from 0 to 255"):
        read_test_pixels(Floats())
