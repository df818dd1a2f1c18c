"""Peak memory of a fit against the bytes of its data, and of analysing a pair of networks against those of its weights.

    python benchmarks/memory.py

writes a CIFAR-10 of the official size with random pixels to a temporary folder, fits in fresh processes, and measures
the largest resident memory, which Linux counts.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pruned import sparse

from sparsity.analysis import (
    activation_correlation,
    connectivity,
    layer_weights,
    mask_overlap,
    network_distance,
)
from sparsity.analysis.topology.network import topology
from sparsity.networks import ResNet110

MB = 1e6
IMAGES = 50_000, 10_000
TASKS: dict[str, Callable[..., object]] = {
    "nnstd": lambda pair, weights, images: network_distance(*weights, "nnstd"),
    "sasd": lambda pair, weights, images: network_distance(*weights, "sasd"),
    "maed": lambda pair, weights, images: network_distance(*weights, "maed"),
    "overlap": lambda pair, weights, images: mask_overlap(*pair),
    "topology": lambda pair, weights, images: topology(pair[0]),
    "connectivity": lambda pair, weights, images: connectivity(pair[0]),
    "correlation": lambda pair, weights, images: activation_correlation(*pair, images),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", metavar="FOLDER", help="Only fit on these data and print the peak.")
    parser.add_argument("--task", help="Only do this task of an analysis and print the peak.")
    parser.add_argument("--width", type=int, default=16)
    options = parser.parse_args()
    if options.fit:
        print(peak_of_fit(options.fit))
    elif options.task:
        print(peak_of_task(options.task, options.width))
    else:
        report_fit()
        for width in (16, 64):
            report_pair(width)


def report_fit() -> None:
    with tempfile.TemporaryDirectory() as folder:
        small, full = Path(folder, "small"), Path(folder, "full")
        write_cifar(small, 500, 100)
        size = write_cifar(full, *IMAGES)
        peaks = [in_a_fresh_process("--fit", str(data)) for data in (small, full)]
    print(f"CIFAR-10 of {sum(IMAGES):,} images: {size / MB:.0f} MB")
    print(f"fit of ResNet-20 on 600 of them: {peaks[0] / MB:.0f} MB at most")
    print(f"on all: {peaks[1] / MB:.0f} MB, which is {(peaks[1] - peaks[0]) / size:.2f} times the data more")


def report_pair(width: int) -> None:
    size = 2 * sum(p.numel() * p.element_size() for p in ResNet110(width=width).parameters())
    print(f"two ResNet-110 of width {width}: {size / MB:.0f} MB; what analysing them needs more at most:")
    for name in TASKS:
        more = in_a_fresh_process("--task", name, "--width", str(width))
        print(f"  {name:24}{more / MB:8.0f} MB{more / size:8.2f} times the weights")


def in_a_fresh_process(*arguments: str) -> float:
    """What this script prints last, given some arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, *arguments]
    run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return float(run.stdout.splitlines()[-1])


def write_cifar(folder: Path, train: int, test: int) -> int:
    """Random images in the layout of CIFAR-10; returns the bytes of their pixels."""
    below = folder / "cifar-10-batches-py"
    below.mkdir(parents=True)
    generator = np.random.default_rng(0)
    sizes = {**{f"data_batch_{number}": train // 5 for number in range(1, 6)}, "test_batch": test}
    for name, count in sizes.items():
        pixels = generator.integers(0, 256, (count, 3072), np.uint8)
        labels = [int(label) for label in generator.integers(0, 10, count)]
        (below / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}, protocol=2))
    return sum(sizes.values()) * 3072


def peak_of_fit(data: str) -> int:
    """The largest resident memory of this process after a short fit."""
    from sparsity.cli import main as sparsity

    with tempfile.TemporaryDirectory() as folder:
        sparsity(
            ["fit", "--data", "CIFAR10", "--data.data_dir", data, "--data.verify", "false", "--data.val_size", "100",
             "--model.network", "ResNet20", "--pruner", "Random", "--pruner.density", "0.1",
             "--trainer.max_steps", "30",
             "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--test_after_fit", "true",
             "--trainer.limit_test_batches", "3", "--trainer.default_root_dir", folder]
        )  # fmt: skip
    return resident("VmHWM")


def peak_of_task(name: str, width: int) -> int:
    """How many bytes of resident memory a task needs at most, above what two networks need."""
    pair = [sparse(ResNet110(width=width), seed).eval() for seed in (0, 1)]
    weights = [layer_weights(network) for network in pair]
    images = torch.randn(600, 3, 32, 32) if name == "correlation" else torch.empty(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest so far
    before = resident("VmRSS")
    TASKS[name](pair, weights, images)
    return max(0, resident("VmHWM") - before)


def resident(what: str) -> int:
    """VmRSS, the resident memory now, or VmHWM, the largest so far, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
