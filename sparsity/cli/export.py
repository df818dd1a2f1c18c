"""The command `export`."""

from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from sparsity.analysis.output import write_json
from sparsity.atomic import new_folder
from sparsity.checkpoints.exported import CARD, FILES, REPORT, Format
from sparsity.checkpoints.layouts import MaskChoice
from sparsity.checkpoints.loading import load_like
from sparsity.cli.checkpoints import checkpoint_in
from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.compaction import compact as smaller
from sparsity.compaction.card import card, units_in_words
from sparsity.compaction.compact import uncompacted, without_negative_zeros
from sparsity.compaction.export import config_is_known, read_back, require_packages, write_network
from sparsity.compaction.outputs import BATCH, deviation, outputs_of, random_batches
from sparsity.compaction.report import Origin, Report, size_of
from sparsity.errors import SparsityError
from sparsity.evaluation import known_accuracy, read_test_images
from sparsity.forward.passes import refusing
from sparsity.graph.sample import Given, sample_of, shape_by_data
from sparsity.graph.trace import Sample
from sparsity.masks import density, remove_masks
from sparsity.runs.folder import folder_of
from sparsity.runs.summary import RunSummary

TOLERANCE: dict[Format, float] = {"pytorch": 1e-5, "safetensors": 1e-5, "torch-export": 1e-5, "onnx": 1e-4}
"""Largest deviation of outputs that is taken for rounding; ONNX Runtime has kernels of its own."""


def parser() -> OneSentenceParser:
    """Of the arguments of `export`."""
    return parser_of("export", export, "checkpoint", "A checkpoint that analyze reads, or a run's folder.")


def export(
    checkpoint: str,
    output: str,
    format: Format = "pytorch",
    compact: bool = True,
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    data: LightningDataModule | None = None,
    mask: MaskChoice = "effective",
) -> None:
    """Write a network as a smaller equal one, with a model card and a report, and check that it computes the same.

    Args:
        checkpoint: A file of this program, SynFlow's, Gem-Miner's, OpenLTH or others; or a run's folder.
        output: The folder to write; it must not exist, or be empty. It appears complete or not at all.
        format: Of the network's file: pytorch and safetensors are read by this program, safetensors without its zeros;
            onnx by ONNX Runtime and others; torch-export by PyTorch alone, without the network's code.
        compact: Take out the units that no output depends on, or that are constant; else all layers keep their sizes.
        network: Of the checkpoint's architecture, if its class is not one of ours: my_module.MyNetwork, a function that
            returns one, or a YAML file of class_path and init_args.
        input_shape: Of one sample, if neither network nor data say it.
        data: Test images on which outputs are compared and accuracies measured, for example MNIST.
        mask: For Gem-Miner's files: the mask its forward pass uses, or the flags alone.

    Raises:
        SparsityError: If the checkpoint cannot be read or written so, the folder exists, or outputs differ.
    """
    require_packages(format)
    require_new(output)
    path = checkpoint_in(checkpoint)
    before = load_like(path, network, mask).eval()
    origin = origin_of(path, density(before), data)
    remove_masks(before)
    without_negative_zeros(before)
    given: Given = input_shape if input_shape is not None else shape_by_data(data, [before])
    sample = sample_of(before, given)
    images, labels = read_test_images(data)
    if images is not None:
        with refusing(before, images[:1]):
            outputs_of(before, images[:1])
    found = smaller(before, given) if compact else uncompacted(before)
    try:
        with new_folder(Path(output)) as folder:
            batch = write_network(found.network, before, sample, format, folder)
            after = read_back(folder, format, before, batch)
            deviations = _deviations(before, after, sample, images, TOLERANCE[format])
            accuracies = _accuracies(before, after, images, labels)
            report = Report(
                network=type(before).__name__,
                origin=origin,
                format=format,
                file=FILES[format],
                file_bytes=(folder / FILES[format]).stat().st_size,
                input_shape=tuple(sample.shape[1:]) if isinstance(sample, Tensor) else None,
                batch=batch,
                compact=compact,
                before=size_of(before, given),
                after=size_of(found.network, given),
                layers=found.layers,
                kept=found.kept,
                deviation=deviations,
                accuracy=accuracies,
            )
            (folder / CARD).write_text(card(report, output, config_is_known(before)), encoding="utf-8")
            write_json(folder / REPORT, report)
    except FileExistsError:
        raise _taken(output) from None
    except OSError as error:
        raise SparsityError(f"cannot write {output}: {error.strerror or error}") from error
    _say(report, output)


def require_new(output: str) -> None:
    """Refuse a place where there is something, before anything is computed.

    Raises:
        SparsityError: If it is not free.
    """
    path = Path(output)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise _taken(output)


def origin_of(checkpoint: str, reached: float, data: LightningDataModule | None) -> Origin:
    """What a checkpoint's run says of it, if it is of one, and what its inputs are normalised by.

    Args:
        checkpoint: The file.
        reached: The density of its masked weights.
        data: That the export is checked with.
    """
    run = folder_of(Path(checkpoint).absolute())
    summary = RunSummary.read(run) if run.is_run and run.is_finished else None
    return Origin(
        checkpoint=checkpoint,
        method=None if summary is None else summary.method,
        density_asked=None if summary is None else summary.density_asked,
        density=reached,
        accuracy_recorded=None if summary is None else summary.test_accuracy.get(Path(checkpoint).stem),
        data=None if data is None else type(data).__name__,
        mean=getattr(data, "mean", None),
        std=getattr(data, "std", None),
    )


def _taken(output: str) -> SparsityError:
    return SparsityError(f"{output} exists and is not overwritten; give another folder")


def _deviations(
    before: nn.Module, after: nn.Module, sample: Sample, images: Tensor | None, tolerance: float
) -> dict[str, float]:
    """By kind of inputs.

    Raises:
        SparsityError: If one is above what rounding makes.
    """
    found = {"random": deviation(before, after, random_batches(sample))}
    if images is not None:
        found["test"] = deviation(before, after, torch.split(images, BATCH))
    for kind, value in found.items():
        if not value <= tolerance:
            raise SparsityError(
                f"outputs for {kind} inputs differ by {value:.2g} from those of the network before, more than the "
                f"{tolerance:g} that rounding makes; nothing was written"
            )
    return found


def _accuracies(before: nn.Module, after: nn.Module, images: Tensor | None, labels: Tensor | None) -> dict[str, float]:
    if images is None:
        return {}
    found = {name: known_accuracy(one, images, labels) for name, one in (("before", before), ("after", after))}
    return {name: value for name, value in found.items() if value is not None}


def _say(report: Report, output: str) -> None:
    before, after = report.before, report.after
    print(units_in_words(report))
    for reason in report.kept:
        print(f"  {reason}")
    print(
        f"parameters {before.parameters:,} -> {after.parameters:,} ({after.nonzero:,} not zero), "
        f"bytes {before.bytes:,} -> {after.bytes:,} ({after.bytes_packed:,} without zeros, {report.file_bytes:,} in "
        f"the file), multiply-adds {_count(before.multiply_adds)} -> {_count(after.multiply_adds)}"
    )
    print("largest deviation:", ", ".join(f"{value:.2g} on {kind} inputs" for kind, value in report.deviation.items()))
    if report.accuracy:
        print("test accuracy:", ", ".join(f"{value:.2%} {name}" for name, value in report.accuracy.items()))
    if report.batch is not None:
        print(f"it takes batches of {report.batch} and no others, since the network's code counts on it")
    print(f"written to {output}")


def _count(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


run = export
