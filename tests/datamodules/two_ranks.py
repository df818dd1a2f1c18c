"""A fit on two processes, run by test_two_ranks.py: `two_ranks.py DATA OUT [CHECKPOINT]`.

Each rank writes its final weights and what it saw of which epoch to OUT.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from sparsity.datamodules import CIFAR10


class Recording(CIFAR10):
    """Notes the first pixels of every raw training image, which tell one from the other."""

    seen: list[tuple[int, list[tuple[int, ...]]]]

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        if self.trainer.training:
            self.seen.append((self.trainer.current_epoch, [tuple(i) for i in batch[0].flatten(1)[:, :8].tolist()]))
        return super().on_after_batch_transfer(batch, dataloader_idx)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def main(root: str, out: str, checkpoint: str | None = None) -> None:
    # No seed_everything: each process has a seed of its own, and the data module must make them agree.
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
    data: Any = Recording(batch_size=16, val_size=40, data_dir=root, verify=False)
    data.seen = []
    module = Module()
    saving = ModelCheckpoint(out, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        max_epochs=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving],
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    result = {"weight": module.network[1].weight.detach(), "seen": data.seen, "seed": data.seed}
    torch.save(result, Path(out) / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
