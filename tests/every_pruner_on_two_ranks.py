"""Run by `test_two_processes.py` in two processes: every pruner in one pair of them, since starting takes longest."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler

from benchmarks.processes import PRUNERS, fit
from sparsity.callbacks import PruningCallback, RigL, SynFlow
from sparsity.datamodules import Digits
from sparsity.distributed import is_first_to_say
from sparsity.masks import masks, sizes
from tests.callbacks.modules import two_inputs

FEW = ("SNIP", "GemMiner", "RigL")
"""One that looks at images before training, one that searches and one whose mask moves."""


BY_OWN_LOSS = ("SNIP", "GraSP")
"""Those that look at whatever the training step looks at."""


TWO_OF_FOUR: dict[str, Callable[..., PruningCallback]] = {
    "RigL": partial(RigL, interval=2),
    "SynFlow": partial(SynFlow, iterations=3),
}
"""One whose mask moves, and one that prunes in several cuts before training."""


class EveryMask(pl.Callback):
    """Notes all masks and what is left of the weights, after every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        network = pl_module.network
        assert isinstance(network, nn.Module)
        self.steps.append({name: tensor.clone() for name, tensor in network.state_dict().items()})


def fit_two_of_four(name: str, folder: str) -> list[dict[str, Tensor]]:
    """The state after each of eight steps, under the pattern 2:4."""
    module, steps = Module(), EveryMask()
    module.network = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
        callbacks=[TWO_OF_FOUR[name](density=0.5, pattern="2:4"), steps], enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, datamodule=Digits(batch_size=32, limit=256))
    return steps.steps


def fit_own_loss(name: str, devices: int) -> dict[str, Tensor]:
    """Masks found on the same sixteen samples, in however many processes."""
    pl.seed_everything(7, verbose=False)
    module, data = two_inputs()
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=1,
        precision="64-true", callbacks=[PRUNERS[name](density=0.2)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    # Lightning deals the same order out to several processes.
    order = DistributedSampler(data, num_replicas=1, rank=0, seed=7) if devices == 1 else None
    trainer.fit(module, DataLoader(data, batch_size=16 // devices, sampler=order))
    return masks(module.network)


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
    for name in TWO_OF_FOUR:
        torch.manual_seed(rank)
        torch.save(fit_two_of_four(name, folder), f"{folder}/{name}_two_of_four_{rank}.pt")
    for name in FEW:
        torch.save(fit(name, 2, save_to=f"{folder}/{name}_2.ckpt"), f"{folder}/{name}_alike_{rank}.pt")
    for name in BY_OWN_LOSS:
        torch.save(fit_own_loss(name, 2), f"{folder}/{name}_own_{rank}.pt")
    said = [is_first_to_say("of both"), is_first_to_say(f"of {rank}")]
    torch.save(said, f"{folder}/said_{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
