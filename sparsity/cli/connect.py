"""The command `connect`."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningDataModule
from rich.console import Console
from rich.table import Table
from torch import nn

from sparsity.analysis.comparison.aligned import IMAGES_TO_ALIGN_BY, apply
from sparsity.analysis.comparison.aligned import align as find_alignment
from sparsity.analysis.landscape.linear_path import LinearPath, has_statistics, linear_path
from sparsity.analysis.output import results_folder, write_json, write_rows
from sparsity.checkpoints.loading import load_like
from sparsity.cli.checkpoints import checkpoint_in
from sparsity.cli.parser import OneSentenceParser, add_options_of, command_parser
from sparsity.errors import SparsityError, require_whole_number
from sparsity.evaluation import read_test_images, read_training_images
from sparsity.graph.sample import shape_by_data
from sparsity.runs.folder import runs_below

Alignments = Literal["none", "weights", "activations"]

_IMAGES_FOR_STATISTICS = 5000


def parser() -> OneSentenceParser:
    """Of the arguments of `connect`."""
    own = command_parser("connect")
    own.add_argument(
        "checkpoints", nargs="*", type=str, help="Two checkpoints of one architecture, or folders of runs."
    )
    add_options_of(own, connect, given=("checkpoints",))
    return own


def connect(
    checkpoints: list[str],
    output: str,
    data: LightningDataModule,
    spawn: str | None = None,
    step: int = 0,
    order_seeds: tuple[int, int] = (1, 2),
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    align: Alignments = "none",
    points: int = 30,
    images: int | None = None,
) -> None:
    """Measure loss and accuracy on the straight line between two networks: linear mode connectivity.

    Of two checkpoints, or of two children of one training that see their data in different orders after some step
    (instability, Frankle et al. 2020). Writes connect.csv, summary.json and a figure.

    Args:
        checkpoints: Two files of one architecture, or folders of runs.
        output: A new or empty folder; children are trained in OUTPUT_runs beside it.
        data: Test images to measure on, for example MNIST.
        spawn: Instead of checkpoints, the config of a fit, whose children are trained here.
        step: Of the fit that is spawned, the optimizer step after which its children part.
        order_seeds: Of the children's order of data and augmentation.
        network: As in analyze, if its class is not one of ours.
        input_shape: Of one sample, if neither network nor data say it.
        align: Also measure after the second network's units are put in the order of the first one's, by weights or
            by activations.
        points: On the line, the ends among them.
        images: How many test images to measure on; all by default.

    Raises:
        SparsityError: If there are not two networks of one architecture, data do not fit, or the folder is not empty.
    """
    require_whole_number("points", points, at_least=2)
    require_whole_number("step", step, at_least=0)
    if len(checkpoints) != (2 if spawn is None else 0):
        raise SparsityError(
            f"give two checkpoints, or --spawn and a config of a fit; {len(checkpoints)} checkpoints were given"
        )
    if spawn is not None:
        checkpoints = _children(Path(spawn), Path(f"{output}_runs"), step, order_seeds)
    checkpoints = [checkpoint_in(path) for path in checkpoints]
    a, b = (load_like(path, network).eval() for path in checkpoints)
    with results_folder(output) as folder:
        inputs, labels = read_test_images(data)
        if inputs is None or labels is None:
            raise SparsityError("loss and accuracy are measured on test images with class indices; give such data")
        inputs, labels = inputs[:images], labels[:images]
        needed = has_statistics(a) or align == "activations"
        training = read_training_images(data, _IMAGES_FOR_STATISTICS) if needed else None
        statistics = training if has_statistics(a) else None
        paths = {"given order": linear_path(a, b, inputs, labels, points, statistics)}
        summary: dict[str, Any] = {"checkpoints": checkpoints}
        if align != "none":
            seen = training[:IMAGES_TO_ALIGN_BY] if training is not None else None
            shape = input_shape if input_shape is not None else shape_by_data(data, [a, b])
            found = find_alignment(a, b, align, seen, shape)
            summary["cosine"] = {"given order": found.similarity_before, "aligned": found.similarity}
            paths["aligned"] = linear_path(a, apply(b, found), inputs, labels, points, statistics)
        summary["barriers"] = {
            name: {"error": path.error_barrier, "loss": path.loss_barrier} for name, path in paths.items()
        }
        _write(folder, paths, summary)
    _print(paths)
    print(f"written to {output}")


def _children(config: Path, folder: Path, step: int, order_seeds: tuple[int, int]) -> list[str]:
    """Train two children of one fit, which part after some step; their checkpoints.

    Raises:
        SparsityError: If there is no config, something is in the folder, or a fit fails.
    """
    if not config.is_file():
        raise SparsityError(f"there is no config {config}; give the YAML of a fit")
    if folder.is_dir() and any(folder.iterdir()):
        raise SparsityError(f"the folder {folder} for the children is not empty; give another --output, or remove it")
    shared: list[str] = []
    if step:
        _fit(config, folder / "parent", ["--trainer.max_steps", str(step)])
        shared = ["--ckpt_path", str(_checkpoint_of(folder / "parent", "last"))]
    found = []
    for seed in order_seeds:
        child = folder / f"order_{seed}"
        _fit(config, child, [*shared, "--data.order_seed", str(seed)])
        found.append(str(_checkpoint_of(child, "last")))
    return found


def _fit(config: Path, folder: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "sparsity", "fit", "--config", str(config), *arguments,
               "--trainer.default_root_dir", str(folder)]  # fmt: skip
    print(f"training in {folder}", flush=True)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SparsityError(f"the fit in {folder} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")


def _checkpoint_of(folder: Path, name: str) -> Path:
    for run in runs_below([folder]):
        if (found := run.saved(name)) is not None:
            return found
    raise SparsityError(f"the fit in {folder} left no checkpoint {name}; leave checkpoints on in the config")


def _write(folder: Path, paths: Mapping[str, LinearPath], summary: Mapping[str, Any]) -> None:
    from sparsity.plotting.curves import linear_paths_figure  # takes a second that `--help` should not
    from sparsity.plotting.files import save_figure

    write_rows(folder / "connect.csv", [{"order": name, **row} for name, path in paths.items() for row in path.rows()])
    write_json(folder / "summary.json", summary)
    save_figure(linear_paths_figure(paths), folder / "connect", ["png"])


def _print(paths: Mapping[str, LinearPath]) -> None:
    table = Table()
    for column in ("", "accuracy of the first", "of the second", "lowest between", "error barrier", "loss barrier"):
        table.add_column(column, justify="right" if column else "left")
    for name, path in paths.items():
        shares = (path.accuracies[0], path.accuracies[-1], path.accuracies.min(), path.error_barrier)
        table.add_row(name, *(f"{share:.2%}" for share in shares), f"{path.loss_barrier:.4f}")
    Console().print(table)


run = connect
