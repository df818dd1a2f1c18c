"""What the subcommand `report` does."""

import sys
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path

from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from sparsity import __version__
from sparsity.analysis.comparison.networks import compare
from sparsity.analysis.output import results_folder
from sparsity.errors import require_whole_number
from sparsity.evaluation import known_accuracy, read_test_images
from sparsity.forks import one_thread
from sparsity.graph.sample import own_shape
from sparsity.report.networks import by_setting, compared, read_runs
from sparsity.report.page import Section, page
from sparsity.report.properties import properties, properties_of
from sparsity.report.reading import read_network
from sparsity.report.sections import (
    choices,
    differences,
    lead,
    not_reported,
    notes,
    real_sizes,
    reasons,
    repeat,
    results,
    shell,
)
from sparsity.report.significance import significance
from sparsity.report.sources import Choice, find_sources
from sparsity.report.summary import summary
from sparsity.tracking import tracked

PAGE = "index.html"


def report(
    paths: list[str],
    output: str,
    data: LightningDataModule | None = None,
    images: int = 600,
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    trust_config: bool = False,
    checkpoint: Choice = "best",
    title: str = "Sparse networks",
) -> None:
    """Write one HTML page on studies, runs and published networks: index.html, and its figures as PDF.

    Runs that differ in their seeds only are averaged, networks of one architecture and density compared pair by pair.
    What cannot be read or is not finished is left out, and named with the reason on the page and on stderr.

    Args:
        paths: Folders, of which every run is taken, and checkpoint files, in any mix.
        output: A new or empty folder.
        data: Test images to correlate activations on and to measure bare checkpoints' accuracy, for example MNIST.
        images: How many test images to correlate activations on.
        network: Of the architecture of checkpoints whose class is not one of ours: my_module.MyNetwork, a function that
            returns one, such as torchvision.models.resnet18, or a YAML file of class_path and init_args.
        input_shape: Of one sample, if neither networks nor runs nor data say it.
        trust_config: Make the networks that the runs' own config.yaml name, which imports their modules.
        checkpoint: Which network of a run: the best on the validation images, or the last.
        title: Of the page.

    Raises:
        SparsityError: If nothing is left to report on, the data cannot be read, or the folder is not empty.
    """
    # Imported here: drawing takes a second that `--help` should not.
    from sparsity.report.rendering import sections_of_figures

    require_whole_number("images", images, at_least=1)
    sources = find_sources(paths, checkpoint)
    inputs, labels = read_test_images(data)
    measure = None if inputs is None else partial(_accuracy, inputs, labels)
    left_out = list(sources.left_out)
    given = input_shape or own_shape(data)
    read = partial(read_network, network=network, input_shape=given, trust_config=trust_config)
    with one_thread():
        settings = by_setting(read_runs(sources.finished, read, measure, left_out))
    missing = reasons(sources.unfinished, left_out)
    with results_folder(output) as folder, one_thread():
        seen = None if inputs is None else inputs[:images]
        comparisons = {
            setting: compare({run.name: run.network for run in runs}, seen, track=partial(tracked, what="pairs"))
            for setting, runs in {key: compared(repeats) for key, repeats in settings.items()}.items()
            if len(runs) > 1
        }
        told = properties_of(settings)
        before = {
            "real-size": real_sizes(settings),
            "significance": significance(settings),
            "properties": properties(told, settings),
        }
        drawn = sections_of_figures(settings, comparisons, told, folder, before)
        whose = _whose(network, input_shape, trust_config)
        command = _command(paths, output, data, images, checkpoint, title, whose)
        sections = [
            Section("results", "Results", results(settings)),
            *drawn,
            Section("differences", "Differences in numbers", differences(settings, comparisons)),
            Section("left-out", "Not in this report", not_reported(missing)),
            Section("repeat", "How to repeat it", repeat(settings, command)),
        ]
        foot = f"Made by sparsity {__version__} on {date.today().isoformat()}."
        above = [lead(settings), *summary(settings)]
        (folder / PAGE).write_text(page(title, above, sections, foot, choices(settings)), encoding="utf-8")
    for text in notes(settings):
        print(f"note: {text}", file=sys.stderr)
    for text in missing:
        print(f"left out: {text}", file=sys.stderr)
    print(f"written to {Path(output) / PAGE}")


def _accuracy(inputs: Tensor, labels: Tensor | None, network: nn.Module, count: int | None) -> float | None:
    return known_accuracy(network, inputs[:count], None if labels is None else labels[:count])


def _whose(network: nn.Module | None, input_shape: Sequence[int] | None, trust_config: bool) -> list[str]:
    """The words of the command that say whose networks there are."""
    words = [] if network is None else ["--network", f"{type(network).__module__}.{type(network).__qualname__}"]
    words += [] if input_shape is None else ["--input_shape", f"[{','.join(map(str, input_shape))}]"]
    return words + ["--trust_config", "true"] * trust_config


def _command(
    paths: Sequence[str],
    output: str,
    data: LightningDataModule | None,
    images: int,
    checkpoint: str,
    title: str,
    whose: Sequence[str],
) -> str:
    """The command of this report, without the data's and the network's own arguments."""
    words = ["--output", output, "--checkpoint", checkpoint, "--title", title, *whose]
    if data is not None:
        words += ["--data", type(data).__name__, "--images", str(images)]
    return shell("report", *paths, *words)
