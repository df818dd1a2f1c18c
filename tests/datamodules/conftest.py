"""Tiny data sets in the official file formats, and a tiny network to fit."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

WriteIdx = Callable[[Path, np.ndarray], None]


@pytest.fixture(scope="session")
def write_idx() -> WriteIdx:
    """A function that writes unsigned bytes as an IDX file."""

    def write(path: Path, array: np.ndarray) -> None:
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        path.write_bytes(header + array.tobytes())

    return write


@pytest.fixture
def mnist_root(tmp_path: Path, write_idx: WriteIdx) -> Path:
    """A data folder with 60 training and 30 test images as MNIST."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in (("train", 60), ("t10k", 30)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", rng.integers(0, 10, count, dtype=np.uint8))
    return tmp_path


def cifar_entry(count: int, label_key: str = "labels", classes: int = 10, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, label_key: rng.integers(0, classes, count).tolist(), "batch_label": "of random images"}


@pytest.fixture
def cifar_root(tmp_path: Path) -> Path:
    """A data folder with 200 training and 24 test images as CIFAR-10."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(cifar_entry(40, seed=number), protocol=2))
    (folder / "test_batch").write_bytes(pickle.dumps(cifar_entry(24, seed=6), protocol=4))
    return tmp_path


@pytest.fixture
def cifar100_root(tmp_path: Path) -> Path:
    """A data folder with 50 training and 20 test images as CIFAR-100."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for file, count in (("train", 50), ("test", 20)):
        entry = cifar_entry(count, "fine_labels", 100, seed=count) | {"coarse_labels": [0] * count}
        (folder / file).write_bytes(pickle.dumps(entry, protocol=5))
    return tmp_path


class TinyClassifier(pl.LightningModule):
    """One linear layer with momentum, so that every batch leaves its trace in weights and optimizer state."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
        self.one_cycle = False

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_idx))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test/loss", self.training_step(batch, batch_idx))

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return batch[1]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        if not self.one_cycle:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.fixture
def tiny_classifier() -> Callable[[int], TinyClassifier]:
    """Makes a network for images of so many numbers."""

    def make(features: int) -> TinyClassifier:
        module = TinyClassifier()
        module.network(torch.zeros(1, features))
        return module

    return make


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Makes a quiet trainer that writes nothing unless it is given a ModelCheckpoint."""

    def make(**options: Any) -> pl.Trainer:
        checkpoints = {"enable_checkpointing": bool(options.get("callbacks"))}
        return pl.Trainer(**{**QUIET, **checkpoints, "default_root_dir": tmp_path, **options})

    return make
