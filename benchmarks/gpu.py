"""What a fit reaches on a GPU, as ratios to loops written by hand, in one run of a few minutes.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --images 640 --epochs 2 --tasks "FC B 64"    # only to see that it runs

Needs no data: images are random, which costs what others cost. Three loops by hand, dense, on uint8 images on the
device, normalised there: eager; the whole step captured as one CUDA graph; the same in bfloat16 with the channels last.
The fit is that of the command line, with masks at density 0.1, TensorBoard, checkpoints and progress bar, without
validation. Rates are images per second of the better of two epochs after a first one.
"""

import argparse
import contextlib
import copy
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.cli import main as sparsity
from sparsity.datamodules.augmentation import random_crop_and_flip
from sparsity.datamodules.images import ImageDataModule
from sparsity.forward.passes import eval_mode
from sparsity.masks import add_masks, masked_weights, masks, set_mask
from sparsity.networks import FC, ResNet20
from sparsity.pruning.drop_and_grow import drop_and_grow
from sparsity.pruning.iterative import prune_iteratively
from sparsity.pruning.saliency import SynapticFlow
from sparsity.trainer.captured import cuda_graph

DENSITY = 0.1


class RandomImages(ImageDataModule):
    """As large as the data set whose shape they have."""

    num_classes = 10
    number = 50_000

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (self.number, *self.input_shape), dtype=torch.uint8, generator=generator)
        return images, torch.randint(10, (self.number,), generator=generator)


class LikeMNIST(RandomImages):
    """Grey images that are not augmented."""

    input_shape, mean, std = (1, 28, 28), (0.13,), (0.31,)


class LikeCIFAR(RandomImages):
    """Coloured images, cropped and flipped."""

    input_shape, mean, std = (3, 32, 32), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    augmentation = staticmethod(random_crop_and_flip)


@dataclass(frozen=True)
class Task:
    """What is trained.

    Args:
        network: Makes it.
        data: Class of the images.
        batch: Images per step.
    """

    network: Callable[[], nn.Module]
    data: type[RandomImages]
    batch: int


TASKS = {
    "ResNet20 B 128": Task(ResNet20, LikeCIFAR, 128),
    "ResNet20 B 512": Task(ResNet20, LikeCIFAR, 512),
    "FC B 64": Task(FC, LikeMNIST, 64),
}


class EpochTimer(pl.Callback):
    """Notes how long each epoch takes, from its first batch until the device is done with its last."""

    seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        wait(pl_module.device)
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        wait(pl_module.device)
        self.seconds.append(time.perf_counter() - self.start)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--images", type=int, default=25_600, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="of a measurement, the first of which warms up")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu only shows that the script runs")
    torch.set_float32_matmul_precision("high")
    RandomImages.number = options.images
    device = torch.device(options.device, 0 if options.device == "cuda" else None)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{card}, torch {torch.__version__}, Lightning {pl.__version__}")
    found: dict[str, Any] = {"card": card, "torch": torch.__version__}
    for name in options.tasks:
        found[name] = rates(TASKS[name], device, options.epochs)
        show(name, found[name])
    found["methods"] = {name: measure(device) for name, measure in METHODS.items()}
    for name, value in found["methods"].items():
        print(f"{name:34} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def show(name: str, found: dict[str, float]) -> None:
    print(f"\n{name}")
    captured = found.get("by hand, captured")
    fast = found.get("by hand, captured, bf16 + channels_last")
    for side, value in found.items():
        if side.startswith("peak"):
            print(f"  {side:46} {value / 2**20:9,.0f} MiB")
            continue
        loops = {"captured": captured, "captured bf16": fast}
        of = [f"{value / rate:.2f} of the {kind} loop" for kind, rate in loops.items() if rate]
        print(f"  {side:46} {value:9,.0f} images/s  {', '.join(of)}")


def rates(task: Task, device: torch.device, epochs: int) -> dict[str, float]:
    """Images per second of each side, and the fits' peak memory in bytes."""
    bf16 = {"dtype": torch.bfloat16, "channels_last": True}
    found: dict[str, float] = {"by hand, eager": by_hand(task, device, epochs)}
    if device.type == "cuda":
        found["by hand, captured"] = by_hand(task, device, epochs, captured=True)
        found["by hand, captured, bf16 + channels_last"] = by_hand(task, device, epochs, captured=True, **bf16)
    masked = ["--pruner", "Random", "--pruner.density", str(DENSITY)]
    low = ["--trainer.precision", "bf16-mixed", "--model.channels_last", "true"]
    capture = ["--model.capture", "true"]
    sides = {"fit": masked}
    if device.type == "cuda":
        sides |= {
            "fit, bf16": [*masked, *low],
            "fit, captured": [*masked, *capture],
            "fit, captured, without masks": capture,
            "fit, captured, bf16": [*masked, *low, *capture],
        }
    for name, extra in sides.items():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        found[name] = fit(task, device, epochs, extra)
        if device.type == "cuda":
            found[f"peak of {name}"] = float(torch.cuda.max_memory_allocated(device))
    return found


def fit(task: Task, device: torch.device, epochs: int, extra: list[str]) -> float:
    """Images per second of a fit of the command line."""
    EpochTimer.seconds.clear()
    sys.argv = ["sparsity"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        sparsity([
            "fit", "--data", f"{__name__}.{task.data.__name__}", "--data.val_size", "0",
            "--data.batch_size", str(task.batch), "--model.network", f"sparsity.networks.{task.network.__name__}",
            "--trainer.max_epochs", str(epochs), "--trainer.accelerator", "gpu" if device.type == "cuda" else "cpu",
            "--trainer.devices", "1", "--trainer.callbacks", f"{__name__}.EpochTimer",
            "--trainer.default_root_dir", folder, "--trainer.limit_val_batches", "0", *extra,
        ])  # fmt: skip
    return task.data.number / min(EpochTimer.seconds[1:])


def by_hand(
    task: Task, device: torch.device, epochs: int, captured: bool = False, dtype: torch.dtype | None = None,
    channels_last: bool = False,
) -> float:  # fmt: skip
    """Images per second of a loop with nothing else in it; whole batches only."""
    data = task.data(val_size=0)
    images, labels = (tensor.to(device) for tensor in data.read(train=True))
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (data.mean, data.std))
    network = task.network().to(device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    chosen = torch.zeros(task.batch, dtype=torch.int64, device=device)

    def step() -> None:
        batch = (images.index_select(0, chosen).float() / 255 - mean) / std
        with torch.autocast(device.type, dtype, enabled=dtype is not None, cache_enabled=False):
            loss = F.cross_entropy(network(batch), labels.index_select(0, chosen))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    run = cuda_graph(step) if captured else step

    def epoch() -> int:
        order = torch.randperm(len(labels), device=device)
        batches = order[: len(order) // task.batch * task.batch].view(-1, task.batch)
        for batch in batches:
            chosen.copy_(batch)
            run()
        wait(device)
        return batches.numel()

    return max(rate_of(epoch) for _ in range(epochs))


def rate_of(epoch: Callable[[], int]) -> float:
    start = time.perf_counter()
    done = epoch()
    return done / (time.perf_counter() - start)


@contextlib.contextmanager
def stopwatch(device: torch.device) -> Iterator[list[float]]:
    seconds: list[float] = []
    wait(device)
    start = time.perf_counter()
    yield seconds
    wait(device)
    seconds.append(time.perf_counter() - start)


def synflow(device: torch.device) -> str:
    """100 iterations, in float64, and whether its mask is that of the CPU."""
    network = ResNet20()
    add_masks(network)
    there, here = copy.deepcopy(network).to(device), copy.deepcopy(network)
    seconds = []
    for side, where in ((there, device), (here, torch.device("cpu"))):
        with stopwatch(where) as taken, eval_mode(side):
            prune_iteratively(side, SynapticFlow(side, (3, 32, 32)), DENSITY, 100)
        seconds += taken
    differing = sum(int((a.cpu() != b).sum()) for a, b in zip(masks(there).values(), masks(here).values(), strict=True))
    return f"{seconds[0]:.2f} s ({seconds[1]:.2f} s on the CPU), {differing} bits of the mask differ"


def rigl(device: torch.device) -> str:
    """One update of all layers."""
    network = ResNet20().to(device)
    add_masks(network)
    generator = torch.Generator().manual_seed(0)
    shapes = {name: mask.shape for name, mask in masks(network).items()}
    draws = {name: torch.rand(shape, generator=generator).to(device) for name, shape in shapes.items()}
    set_mask(network, {name: draw < DENSITY for name, draw in draws.items()})
    growth = {name: torch.rand(shape, generator=generator).to(device) for name, shape in shapes.items()}
    weights = masked_weights(network)
    for _ in range(2):
        with stopwatch(device) as taken:
            set_mask(network, drop_and_grow(weights, growth, masks(network), 0.3).masks)
    return f"{1000 * taken[0]:.1f} ms"


def search_step(device: torch.device) -> str:
    """Gem-Miner's search, as part of the rate of a dense fit."""
    task, search = TASKS["ResNet20 B 128"], ["--pruner", "GemMiner", "--pruner.density", str(DENSITY)]
    dense = fit(task, device, 2, [])
    fit(task, device, 3, [*search, "--pruner.search_epochs", "2"])
    searching = task.data.number / EpochTimer.seconds[1]  # the third one finetunes
    return f"{searching:,.0f} images/s, {searching / dense:.2f} of a dense fit"


METHODS: dict[str, Callable[[torch.device], str]] = {
    "SynFlow, 100 iterations, ResNet20": synflow,
    "RigL, one update of ResNet20": rigl,
    "Gem-Miner, search of ResNet20": search_step,
}


if __name__ == "__main__":
    main()
