"""A task that takes milliseconds, in a LightningModule that knows nothing of this package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sparsity.datamodules.loading import EpochSampler, ResumableLoader


class AnybodysModule(pl.LightningModule):
    """Two convolutions with BatchNorm and a Linear, trained by any optimizer."""

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer] | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(64, 3)
        self.make_optimizer = optimizer or (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())


@pytest.fixture
def make_module() -> type[AnybodysModule]:
    return AnybodysModule


@pytest.fixture
def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) % 3
    images = torch.randn(48, 1, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    # With a generator of its own a loader leaves the global random state to dropout.
    return DataLoader(TensorDataset(images, labels), batch_size=8, generator=generator)


@pytest.fixture
def resumable(loader: DataLoader[Any]) -> Callable[[], ResumableLoader]:
    """Makes loaders of the same data that can go on in mid-epoch."""
    return lambda: ResumableLoader(
        loader.dataset, batch_size=8, sampler=EpochSampler(48, seed=1), generator=torch.Generator()
    )


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    def make(*callbacks: pl.Callback, max_epochs: int = 2, **arguments: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
            "enable_model_summary": False, "default_root_dir": tmp_path,
        }  # fmt: skip
        return pl.Trainer(max_epochs=max_epochs, callbacks=list(callbacks), **{**defaults, **arguments})

    return make
