"""Run by `test_two_processes.py` in two processes: every pruner in one pair of them, since starting takes longest."""

import sys
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity import callbacks
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.masks import masks, sizes
from sparsity.networks import FC
from sparsity.processes import is_first_to_say

PRUNERS: dict[str, Any] = {
    "Random": partial(callbacks.Random, allocation="erk"),
    "Magnitude": callbacks.Magnitude,
    "LAMP": callbacks.LAMP,
    "SynFlow": partial(callbacks.SynFlow, iterations=3),
    "SNIP": partial(callbacks.SNIP, samples_per_class=2, iterations=2),
    "GraSP": partial(callbacks.GraSP, samples_per_class=2),
    "Clustered": callbacks.Clustered,
    "GemMiner": partial(callbacks.GemMiner, search_epochs=2),
    "EdgePopup": partial(callbacks.EdgePopup, search_epochs=2),
    "IterativeMagnitude": partial(callbacks.IterativeMagnitude, rounds=1),
    "GradualMagnitude": partial(callbacks.GradualMagnitude, interval=2),
    "SET": partial(callbacks.SET, interval=2),
    "RigL": partial(callbacks.RigL, interval=2),
}

FEW = ("SNIP", "GemMiner", "RigL")
"""One that looks at images before training, one that searches and one whose mask moves."""


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 20), nn.ReLU(),
            nn.Linear(20, 10),
        )  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveInMidEpoch(pl.Callback):
    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 12:
            trainer.save_checkpoint(self.path)


def fit_alike(name: str, devices: int, folder: str, checkpoint: str | None = None) -> dict[str, Tensor]:
    """A fit in float64 that sees the same images at each of 32 steps, in however many processes."""
    torch.manual_seed(7)
    module = SparseClassifier(FC((1, 28, 28), num_classes=10, width=20, depth=3))
    saving = SaveInMidEpoch(f"{folder}/{name}_{devices}.ckpt")
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=4,
        precision="64-true", callbacks=[PRUNERS[name](density=0.2), *([] if checkpoint else [saving])], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    data = Digits(batch_size=32 // devices, limit=256)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return module.network.state_dict()


def main(folder: str) -> None:
    for name, make in PRUNERS.items():
        # Not seeded alike on purpose: what ranks draw for themselves must not differ.
        torch.manual_seed(int(torch.randint(1000, ()).item()))
        module = Module()
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=4, callbacks=[make(density=0.2)], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module, datamodule=Digits(batch_size=32, limit=256))
        state = {n: t for n, t in module.network.state_dict().items() if "running" not in n and "num_batches" not in n}
        kept = sum(int(m.sum()) for m in masks(module.network).values())
        assert kept == round(0.2 * sum(sizes(module.network).values())), name
        torch.save(state, f"{folder}/{name}_{trainer.global_rank}.pt")
    rank = dist.get_rank()
    for name in FEW:
        torch.save(fit_alike(name, 2, folder), f"{folder}/{name}_alike_{rank}.pt")
    said = [is_first_to_say("of both"), is_first_to_say(f"of {rank}")]
    torch.save(said, f"{folder}/said_{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
