"""From the same weights every pruner finds the same mask on a GPU as on the CPU."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sparsity.callbacks import LAMP, SNIP, Clustered, GraSP, Magnitude, PruningCallback, Random, SynFlow
from sparsity.masks import masks, sizes
from sparsity.networks import FC, ResNet20
from tests.callbacks.conftest import AnybodysModule
from tests.callbacks.test_every_pruner import PRUNERS

BEFORE_TRAINING = {
    "Random": partial(Random, 0.1),
    "Magnitude": partial(Magnitude, 0.1),
    "LAMP": partial(LAMP, 0.1),
    "Clustered": partial(Clustered, 0.1),
    "SynFlow": partial(SynFlow, 0.1, iterations=20),
    "SNIP": partial(SNIP, 0.1, samples_per_class=4),
    "GraSP": partial(GraSP, 0.1, samples_per_class=4),
}
NEIGHBOURS = {"SNIP": 1e-3, "GraSP": 1e-2}
"""The share of all weights that may differ: saliencies are float32 sums over images, which devices add in orders of
their own, so that neighbours in the ranking may change places at the cut. The other methods look at no images."""


class Module(pl.LightningModule):
    """A network and SGD."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loader(*shape: int, classes: int = 10, images: int = 80, batch: int = 40) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(images) % classes
    pixels = torch.randn(images, *shape, generator=generator) + labels.view(-1, 1, 1, 1) / classes
    return DataLoader(TensorDataset(pixels, labels), batch_size=batch, generator=generator)


def found(
    module: pl.LightningModule,
    data: DataLoader[Any],
    pruner: PruningCallback,
    accelerator: str,
    root: Path,
    **more: Any,
) -> dict[str, Tensor]:
    """The masks after a fit."""
    trainer = pl.Trainer(
        accelerator=accelerator, devices=1, callbacks=[pruner], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=root, **more,
    )  # fmt: skip
    trainer.fit(module, data)
    return {name: mask.cpu() for name, mask in masks(module).items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> int:
    assert a.keys() == b.keys()
    return sum(int((mask != b[name]).sum()) for name, mask in a.items())


@pytest.mark.parametrize(
    ("accelerator", "network"),
    [
        ("cpu", FC),
        pytest.param("gpu", FC, marks=pytest.mark.gpu),
        pytest.param("gpu", ResNet20, marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("name", BEFORE_TRAINING)
def test_the_mask_before_training(name: str, network: Any, accelerator: str, tmp_path: Path) -> None:
    def mask(where: str) -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(3)
        module = Module(network())
        data = loader(*((1, 28, 28) if network is FC else (3, 32, 32)))
        masks_found = found(module, data, BEFORE_TRAINING[name](), where, tmp_path, max_steps=1)
        return masks_found, sum(sizes(module).values())

    (expected, total), (here, _) = mask("cpu"), mask(accelerator)
    differ = differing(expected, here)
    for masks_found in (expected, here):
        assert sum(int(mask.sum()) for mask in masks_found.values()) == round(0.1 * total)
    allowed = 0.0 if accelerator == "cpu" else NEIGHBOURS.get(name, 0.0)
    print(f"{name}, {network.__name__}, {accelerator}: {differ} of {total} bits differ")  # shown by pytest -rP
    assert differ <= allowed * total


@pytest.mark.parametrize("name", PRUNERS)
def test_the_mask_after_training_in_float64(name: str, accelerator: str, tmp_path: Path) -> None:
    """What is added in another order differs by 1e-16 there, and after 36 steps by too little to change a ranking."""

    def mask(where: str) -> dict[str, Tensor]:
        torch.manual_seed(3)
        data = loader(1, 4, 4, classes=3, images=48, batch=8)
        return found(AnybodysModule(), data, PRUNERS[name](), where, tmp_path, max_epochs=6, precision="64-true")

    assert differing(mask("cpu"), mask(accelerator)) == 0
