"""Every pruner in one process and in two with the same global batch, and resumed in the other number of processes.

    python benchmarks/processes.py                # float64: masks equal, weights equal up to rounding
    python benchmarks/processes.py --precision 32-true --width 100 --depth 6 --epochs 24

Prints, for each pruner, how many mask bits differ from the run in one process, and by how much the weights do at most.
The network has no BatchNorm, whose statistics are those of each process's own images.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from sparsity import callbacks
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.networks import FC

GLOBAL_BATCH = 32
STEPS_PER_EPOCH = 8
SETTINGS = ("precision", "epochs", "width", "depth")
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


class SaveInTheMiddle(pl.Callback):
    """Saves a checkpoint in mid-epoch, as one that is killed later would have left it."""

    def __init__(self, path: str, epochs: int) -> None:
        self.path = path
        self.step = epochs // 2 * STEPS_PER_EPOCH - STEPS_PER_EPOCH // 2

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="64-true")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--folder")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    if options.folder:
        fits(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        for resume in ((), ("--resume",)):
            for devices in ("1", "2"):
                command = [
                    sys.executable, __file__, "--folder", folder, "--devices", devices,
                    *(part for name in SETTINGS for part in (f"--{name}", str(getattr(options, name)))), *resume,
                ]  # fmt: skip
                subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
        print(f"{'':20}{'two processes':>22}{'two, then one':>22}{'one, then two':>22}")
        for name in PRUNERS:
            one, two, back, forth = (
                torch.load(Path(folder, f"{name}_{run}.pt"), weights_only=True)
                for run in ("1", "2", "resumed_1", "resumed_2")
            )
            print(f"{name:20}" + "".join(f"{difference(one, other):>22}" for other in (two, back, forth)))


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    bits = sum(int((mask != other[name]).sum()) for name, mask in one.items() if name.endswith("_mask"))
    largest = max(float((t - other[name]).abs().max()) for name, t in one.items() if t.is_floating_point())
    return f"{bits} bits, {largest:.0e}"


def fits(options: argparse.Namespace) -> None:
    folder, devices = Path(options.folder), options.devices
    for name in PRUNERS:
        # In one process from what two have saved, and the other way round.
        checkpoint = str(folder / f"{name}_{3 - devices if options.resume else devices}.ckpt")
        where = {"resume_from": checkpoint} if options.resume else {"save_to": checkpoint}
        state = fit(name, devices, **where, **{setting: getattr(options, setting) for setting in SETTINGS})
        run = f"resumed_{devices}" if options.resume else devices
        if rank_zero_only.rank == 0:
            torch.save(state, folder / f"{name}_{run}.pt")


def fit(
    name: str,
    devices: int,
    save_to: str | None = None,
    resume_from: str | None = None,
    precision: Any = "64-true",
    epochs: int = 4,
    width: int = 20,
    depth: int = 3,
) -> dict[str, torch.Tensor]:
    """The network after a fit that sees the same images at each step, in however many processes."""
    pl.seed_everything(7, verbose=False)
    network = FC((1, 28, 28), num_classes=10, width=width, depth=depth)
    module = SparseClassifier(network, partial(torch.optim.SGD, lr=0.1))
    saving = [SaveInTheMiddle(save_to, epochs)] if save_to else []
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=epochs,
        precision=precision, callbacks=[PRUNERS[name](density=0.2), *saving],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = Digits(batch_size=GLOBAL_BATCH // devices, limit=STEPS_PER_EPOCH * GLOBAL_BATCH)
    trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    return module.network.state_dict()


if __name__ == "__main__":
    main()
