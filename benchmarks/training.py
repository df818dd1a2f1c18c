"""Images per second of a `sparsity fit`, as a ratio to loops written by hand, in the same process and turn by turn.

    python benchmarks/training.py --task fc --threads 1
    python benchmarks/training.py --task fc --threads 2
    python benchmarks/training.py --task resnet --threads 2

The fit is that of the command line with masks, TensorBoard, checkpoints, learning-rate and density logging and the
progress bar, without validation; the loops are (a) dense, on float images in memory, with nothing else in them, and (b)
the usual torchvision DataLoader with PIL transforms and weight * mask in the forward pass. Needs MNIST or CIFAR-10.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from timing import timed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from sparsity.cli import main as sparsity
from sparsity.datamodules import CIFAR10, MNIST
from sparsity.datamodules.images import ImageDataModule
from sparsity.masks import add_masks, masked
from sparsity.networks import FC, ResNet20

BATCH = 128
TASKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], ImageDataModule], list[str], int]] = {
    "fc": (FC, lambda: MNIST(batch_size=BATCH), ["--data", "MNIST", "--model.network", "FC"], 55_000),
    "resnet": (
        ResNet20,
        lambda: CIFAR10(batch_size=BATCH, verify=False),
        ["--data", "CIFAR10", "--data.verify", "false", "--model.network", "ResNet20"],
        2_560,
    ),
}


class EpochTimer(pl.Callback):
    """Notes how long each epoch takes from its first batch to its last."""

    seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="fc")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--original", action="store_true", help="also measure the loop (b)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    sides: dict[str, Iterator[float]] = {"fit": fits(options.task), "(a) by hand": by_hand(options.task)}
    if options.original:
        sides["(b) DataLoader"] = original(options.task)
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.turns):
        for name, side in sides.items():
            measured[name].append(next(side))
    medians = {name: median(rates) for name, rates in measured.items()}
    for name, rate in medians.items():
        ratios = [fit / other for fit, other in zip(measured["fit"], measured[name], strict=True)]
        print(f"{name:16} {rate:9,.0f} images/s   fit is {median(ratios):.2f} of it")


def fits(task: str, extra: Sequence[str] = ()) -> Iterator[float]:
    """Epochs of our own fit, the better of two in each run, after a first one has warmed everything up."""
    arguments, images = TASKS[task][2:]
    sys.argv = ["sparsity"]
    while True:
        EpochTimer.seconds.clear()
        with tempfile.TemporaryDirectory() as folder:
            sparsity([
                "fit", *arguments, "--data.batch_size", str(BATCH), "--data.limit", str(images), "--pruner", "Random",
                "--pruner.density", "0.1", "--trainer.max_epochs", "3", "--trainer.limit_val_batches", "0",
                "--trainer.accelerator", "cpu", "--trainer.callbacks", f"{EpochTimer.__module__}.EpochTimer",
                "--trainer.default_root_dir", folder, *extra,
            ])  # fmt: skip
        yield images / min(EpochTimer.seconds[1:])


def by_hand(task: str) -> Iterator[float]:
    """The loop (a)."""
    make, data, _, number = TASKS[task]
    images, labels = in_memory(data(), number)
    network = make()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def epoch() -> None:
        for chosen in torch.randperm(number).split(BATCH):
            batch = images.index_select(0, chosen)
            loss = F.cross_entropy(network(batch), labels.index_select(0, chosen))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    while True:
        yield number / min(timed(epoch)[0] for _ in range(2))


def original(task: str) -> Iterator[float]:
    """The loop (b)."""
    from torchvision import transforms
    from torchvision.transforms.functional import to_pil_image

    make, data, _, number = TASKS[task]
    module = data()
    images, labels = raw(module, number)
    crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if task == "resnet" else []
    steps = [*crop, transforms.ToTensor(), transforms.Normalize(module.mean, module.std)]
    transform = transforms.Compose(steps)
    samples = [(to_pil_image(image), int(label)) for image, label in zip(images, labels, strict=True)]
    loader: DataLoader[Any] = DataLoader(
        _Transformed(samples, transform),  # type: ignore[arg-type]
        batch_size=BATCH,
        shuffle=True,
    )
    network = make()
    add_masks(network)
    masks = {f"{name}.weight": layer.mask.float() for name, layer in masked(network).items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def epoch() -> None:
        for batch, target in loader:
            weights = {name: network.get_parameter(name) * mask for name, mask in masks.items()}
            loss = F.cross_entropy(torch.func.functional_call(network, weights, (batch,)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    while True:
        yield number / timed(epoch)[0]


class _Transformed:
    def __init__(self, samples: list[Any], transform: Callable[[Any], Tensor]) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.samples[index]
        return self.transform(image), label


def raw(module: ImageDataModule, number: int) -> tuple[Tensor, Tensor]:
    module.prepare_data()
    images, labels = module.read(train=True)
    return images[:number], labels[:number]


def in_memory(module: ImageDataModule, number: int) -> tuple[Tensor, Tensor]:
    images, labels = module.on_after_batch_transfer(raw(module, number), 0)
    return images, labels


if __name__ == "__main__":
    main()
