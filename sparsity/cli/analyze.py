"""The command `analyze`."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_warn
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from sparsity.analysis.activations.responses import Point
from sparsity.analysis.comparison.measures import MEASURES, pair_means
from sparsity.analysis.comparison.networks import comparable_groups, compare, require_alignable
from sparsity.analysis.comparison.prepared import Align
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.landscape.curvature_summary import curvature as curvature_of
from sparsity.analysis.output import results_folder, write_comparisons, write_json, write_rows, write_topologies
from sparsity.analysis.records import to_dict
from sparsity.analysis.topology.network import summary, topology
from sparsity.checkpoints.layouts import MaskChoice
from sparsity.checkpoints.loading import load_like
from sparsity.cli.analyze_predictions import Predictions, predictions
from sparsity.cli.checkpoints import checkpoint_in, names_of
from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.errors import SparsityError, require_whole_number
from sparsity.evaluation import read_test_images
from sparsity.graph.sample import Given, shape_by_data
from sparsity.tracking import tracked

Files = Literal["png", "pdf", "none"]

_MOST_PAIRS = 15
"""More are not read in a terminal."""

_OF_WEIGHTS = ("kept", "density", "effective_density", "dead", "test_accuracy")
_OF_DERIVATIVES = ("gradient_norm", "hessian_top", "hessian_trace", "sharpness", "tangent_condition", "jacobian_mean")


def parser() -> OneSentenceParser:
    """Of the arguments of `analyze`."""
    files = "Checkpoints of this program, SynFlow's, Gem-Miner's, OpenLTH or others, in any mix."
    labels = "Names of the networks in tables and figures, one per checkpoint. Default: from the paths."
    own = parser_of("analyze", analyze, "checkpoints", files, several=True, skip=("names",))
    own.add_argument("--names", nargs="+", type=str, help=labels)
    return own


def analyze(
    checkpoints: list[str],
    output: str,
    names: list[str] | None = None,
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    data: LightningDataModule | None = None,
    images: int = 600,
    align: Align = "independent",
    point: Point = "post",
    mask: MaskChoice = "effective",
    figures: Files = "png",
    curvature: bool = False,
    corruptions: bool = False,
) -> None:
    """Analyse trained networks, and compare those of one architecture pair by pair.

    Writes layers.csv, units.csv, summary.json and figures; for two networks and more also distances.csv
    and .json, overlaps.csv; with data also correlations and similarities of activations, what excites the first layers,
    test accuracies, by class too, how good the probabilities are, and if there are three dense networks and three
    pruned ones, the images on which most of them disagree.

    Args:
        checkpoints: Files of this program, SynFlow's, Gem-Miner's, OpenLTH or others, mixed; or a run's folder.
        output: A new or empty folder.
        names: Of the networks in tables and figures, one per checkpoint. Default: from the paths.
        network: Of the checkpoints' architecture, if its class is not one of ours: my_module.MyNetwork, a function that
            returns one, such as torchvision.models.resnet18, or a YAML file of class_path and init_args. A checkpoint
            cannot name it, you can.
        input_shape: Of one sample, if neither network nor data say it.
        data: Test images to compare activations on and to measure accuracy, for example MNIST.
        images: How many test images to compare activations on.
        align: Match each layer on its own, or propagate matchings along the forward pass.
        point: Take activations after the nonlinearity, before it, or of bare filters.
        mask: For Gem-Miner's files: the mask its forward pass uses, or the flags alone.
        figures: Files to draw figures into: png for looking at, pdf for print, or none, which is quickest.
        curvature: Add gradient norm, top eigenvalue and trace of the loss's Hessian, sharpness, tangent kernel and
            input-output Jacobian, on the same images. Costs some hundred times what one pass of gradients does.
        corruptions: Measure accuracy on the test images with eight corruptions of five severities too, 40 times the
            test images.

    Raises:
        SparsityError: If a file cannot be read, names do not fit, or the folder is not empty.
    """
    require_whole_number("images", images, at_least=1)
    if curvature and data is None:
        raise SparsityError("curvature is that of the loss on images; give data as well, for example --data MNIST")
    if corruptions and data is None:
        raise SparsityError("corruptions are of test images; give --data, or leave --corruptions out")
    checkpoints = [checkpoint_in(path) for path in checkpoints]
    names = names_of(checkpoints, names)
    networks = {name: load_like(path, network, mask).eval() for name, path in zip(names, checkpoints, strict=True)}
    given: Given = input_shape if input_shape is not None else shape_by_data(data, networks.values())
    require_alignable(networks, align, given)
    with results_folder(output) as folder:
        topologies = {name: topology(found, given) for name, found in tracked(networks.items(), "networks")}
        summaries = {name: {"checkpoint": path, **summary(topologies[name])}
                     for name, path in zip(names, checkpoints, strict=True)}  # fmt: skip
        inputs, labels = read_test_images(data)
        said = Predictions()
        if inputs is not None:
            dense = {name for name, found in topologies.items() if found.densities.density == 1}
            said = predictions(networks, dense, inputs, labels, data if corruptions else None)
            for name, numbers in said.summaries.items():
                summaries[name] |= numbers
        seen = None if inputs is None else inputs[:images]
        if curvature and seen is not None:
            if labels is None:
                raise SparsityError("curvature is that of the loss, and the labels of these data are no class indices")
            for name, found in tracked(networks.items(), "curvature"):
                bend = curvature_of(found, seen, labels[:images])
                summaries[name] |= to_dict(bend)
                if bend.tangent_trace is None:
                    rank_zero_warn(f"the tangent kernel of {name} is left out: it has too many parameters")

        groups = comparable_groups(networks)
        if len(groups) > 1:
            print("Networks of different architectures are compared among their own:", *map(list, groups), sep="\n  ")
        track = partial(tracked, what="pairs")
        comparisons = [compare(group, seen, align, point, track, given) for group in groups if len(group) > 1]
        write_topologies(folder, topologies)
        for file, rows in said.tables.items():
            write_rows(folder / file, rows)
        if comparisons:
            write_comparisons(folder, comparisons)
        write_json(folder / "summary.json", summaries)
        if figures != "none":
            from sparsity.cli.analyze_figures import save_figures  # takes a second that `--help` should not

            of_groups = [{name: topologies[name] for name in group} for group in groups]
            save_figures(folder, [figures], networks, of_groups, comparisons, seen, said.exemplars)
    _print_tables(summaries, comparisons)
    print(f"written to {Path(output)}")


def _print_tables(summaries: Mapping[str, Mapping[str, object]], comparisons: Sequence[Comparison]) -> None:
    console = Console()
    for columns in (_OF_WEIGHTS, _OF_DERIVATIVES):
        shown = [column for column in columns if all(column in row for row in summaries.values())]
        if shown:
            cell = _cell if columns is _OF_WEIGHTS else _number
            rows = [[name, *(cell(row[column]) for column in shown)] for name, row in summaries.items()]
            console.print(_table(["network", *(column.replace("_", " ") for column in shown)], rows))
    for comparison in comparisons:
        if len(comparison.pairs) > _MOST_PAIRS:
            print(
                f"{len(comparison.pairs)} pairs of {len(comparison.names)} networks: see distances.csv and the matrices"
            )
            continue
        means = [pair_means(pair) for pair in comparison.pairs]
        found = [measure for name, measure in MEASURES.items() if name in means[0] and measure.title]
        for section in dict.fromkeys(measure.section for measure in found):
            measures = [measure for measure in found if measure.section == section]
            rows = [
                [pair.a, pair.b, *(f"{mean[measure.name]:.3f}" for measure in measures)]
                for pair, mean in zip(comparison.pairs, means, strict=True)
            ]
            console.print(_table(["network", "and", *(measure.heading for measure in measures)], rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("network", "and") else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # what looks like markup in a name is part of it
    return table


def _number(value: object) -> str:
    return "-" if value is None else f"{value:.3g}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}"


run = analyze
