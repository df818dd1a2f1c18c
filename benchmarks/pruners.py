"""Every pruner on FC and MNIST at several densities and seeds: the table of docs/pruners.md.

    python benchmarks/pruners.py --output runs/pruners --jobs 2

Every run is an ordinary `sparsity fit` in a folder of its own; runs that are finished are not repeated.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

# Side by side, more than one thread each only gets into the others' way.
os.environ["OMP_NUM_THREADS"] = "1"

METHODS = {
    "Random": ["--pruner", "Random", "--pruner.rescale", "kept_fan_in"],
    "Random, ERK": ["--pruner", "Random", "--pruner.rescale", "kept_fan_in", "--pruner.allocation", "erk"],
    "Clustered": ["--pruner", "Clustered", "--pruner.rescale", "kept_fan_in"],
    "Magnitude, per layer": ["--pruner", "Magnitude", "--pruner.rescale", "kept_fan_in", "--pruner.scope", "layer"],
    "LAMP": ["--pruner", "LAMP", "--pruner.rescale", "kept_fan_in"],
    "SNIP": ["--pruner", "SNIP", "--pruner.rescale", "kept_fan_in"],
    "SNIP, 100 iterations": ["--pruner", "SNIP", "--pruner.rescale", "kept_fan_in", "--pruner.iterations", "100"],
    "GraSP": ["--pruner", "GraSP", "--pruner.rescale", "kept_fan_in"],
    "SynFlow": ["--pruner", "SynFlow", "--pruner.rescale", "kept_fan_in"],
    "EdgePopup": ["--pruner", "EdgePopup"],
    "GemMiner": ["--pruner", "GemMiner"],
    "IterativeMagnitude": ["--pruner", "IterativeMagnitude"],
    "IterativeMagnitude, per layer": ["--pruner", "IterativeMagnitude", "--pruner.scope", "layer"],
    "GradualMagnitude": ["--pruner", "GradualMagnitude"],
    "SET": ["--pruner", "SET"],
    "RigL": ["--pruner", "RigL"],
}
COMMON = [
    "fit", "--data", "MNIST", "--model.network", "FC", "--model.optimizer", "Adam", "--model.optimizer.lr", "0.002",
    "--trainer.max_epochs", "10", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
    "--test_after_fit", "true",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/pruners"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--densities", nargs="+", type=float, default=[0.1, 0.05, 0.02, 0.01])
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 42, 63])
    options = parser.parse_args()

    runs = [(options.output, "dense", 1.0, seed) for seed in options.seeds]
    runs += [
        (options.output, method, density, seed)
        for density in options.densities
        for seed in options.seeds
        for method in options.methods
    ]
    # Fresh interpreters, so that the number of threads is set before torch is imported.
    with get_context("spawn").Pool(options.jobs) as pool:
        for done, line in enumerate(pool.imap_unordered(run, runs), start=1):
            print(f"{done}/{len(runs)} {line}", flush=True)
    print("\n".join(table(options.output, ["dense", *options.methods], options.densities, options.seeds)))


def run(job: tuple[Path, str, float, int]) -> str:
    """Fit once, unless that was done, and say what came out."""
    from sparsity.cli import main as sparsity

    sys.argv = ["sparsity"]  # the arguments of this script are none of its
    folder, method = folder_of(*job), job[1]
    if not (summary := result(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        pruner = [] if method == "dense" else [*METHODS[method], "--pruner.density", str(job[2])]
        arguments = [*COMMON, *pruner, "--seed_everything", str(job[3]), "--trainer.default_root_dir", str(folder)]
        with (folder / "log.txt").open("w") as log, redirect_stdout(log), redirect_stderr(log):
            try:
                sparsity(arguments)
            except SystemExit:
                return f"{folder.name}: failed, see {folder / 'log.txt'}"
        summary = result(folder)
    assert summary is not None
    return f"{folder.name}: {summary['test_accuracy']}"


def folder_of(output: Path, method: str, density: float, seed: int) -> Path:
    return output / f"{method.replace(', ', '_').replace(' ', '_')}-{density:g}-{seed}"


def result(folder: Path) -> dict[str, dict[str, float]] | None:
    found = sorted(folder.glob("lightning_logs/version_*/summary.json"))
    return json.loads(found[-1].read_text()) if found else None


def table(output: Path, methods: list[str], densities: list[float], seeds: list[int]) -> Iterator[str]:
    """Mean and standard deviation over seeds of the test accuracy of the best epoch, in percent."""
    yield "| method | " + " | ".join(f"{density:g}" for density in densities) + " |"
    yield "|---|" + "---|" * len(densities)
    for method in methods:
        # The dense network is the same in every column.
        kept = [1.0] * len(densities) if method == "dense" else densities
        cells = [cell(output, method, density, seeds) for density in kept]
        yield f"| {method} | " + " | ".join(cells) + " |"


def cell(output: Path, method: str, density: float, seeds: list[int]) -> str:
    found = [result(folder_of(output, method, density, seed)) for seed in seeds]
    accuracies = [100 * r["test_accuracy"]["best"] for r in found if r is not None]
    spread = f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return f"{mean(accuracies):.2f}{spread}" if len(accuracies) == len(seeds) else "failed"


if __name__ == "__main__":
    main()
