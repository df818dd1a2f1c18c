"""The command `show`."""

from pathlib import Path

from pytorch_lightning import LightningDataModule
from torch import nn

from sparsity.analysis.comparison.aligned import IMAGES_TO_ALIGN_BY, apply
from sparsity.analysis.comparison.aligned import align as find_alignment
from sparsity.analysis.comparison.networks import require_comparable
from sparsity.analysis.output import results_folder
from sparsity.atomic import write_new
from sparsity.cli.checkpoints import checkpoint_in, names_of
from sparsity.cli.connect import Alignments
from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.errors import SparsityError
from sparsity.evaluation import read_training_images
from sparsity.graph.sample import own_shape
from sparsity.report.reading import read_network
from sparsity.report.sources import Source
from sparsity.runs.folder import folder_of
from sparsity.runs.summary import RunSummary
from sparsity.viewer.build import MOST_EDGES, pictures
from sparsity.viewer.page import network_page

PAGE, IMAGE = "network.html", "network.png"


def parser() -> OneSentenceParser:
    """Of the arguments of `show`."""
    files = "One checkpoint or two, of this program, SynFlow's, Gem-Miner's, OpenLTH or others; or folders of runs."
    own = parser_of("show", show, "checkpoints", files, several=True, skip=("names",))
    own.add_argument("--names", nargs="+", type=str, help="Names of the networks. Default: from the paths.")
    return own


def show(
    checkpoints: list[str],
    output: str,
    names: list[str] | None = None,
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    trust_config: bool = False,
    data: LightningDataModule | None = None,
    align: Alignments = "none",
    edges: int = MOST_EDGES,
) -> None:
    """Draw one network, or two of one architecture side by side, as a page that can be asked: network.html.

    Units are dots in columns, layer by layer, kept weights the lines between them. The page is one file and loads
    nothing; network.png is the same as an image.

    Args:
        checkpoints: One or two files, or folders of runs.
        output: A new or empty folder.
        names: Of the networks, one per checkpoint. Default: from the paths.
        network: As in analyze, if its class is not one of ours.
        input_shape: Of one sample, if neither network nor data say it.
        trust_config: Make networks of other classes that the runs' own configs name, which imports them.
        data: Say the shape of a sample, and are what to align by with activations, for example MNIST.
        align: Put the second network's units in the order of the first one's, by weights or by activations, so that
            units that do the same stand at the same place.
        edges: Of every network that are drawn at most: the strongest of each layer.

    Raises:
        SparsityError: If a file cannot be read or its network's graph not be made, there are more than two networks or
            two that differ, or the folder is not empty.
    """
    if len(checkpoints) > 2:
        raise SparsityError(f"one network is shown, or two side by side; {len(checkpoints)} checkpoints were given")
    checkpoints = [checkpoint_in(path) for path in checkpoints]
    names = names_of(checkpoints, names)
    shape = input_shape or own_shape(data)
    read = [read_network(_source(path), network, shape, trust_config) for path in checkpoints]
    networks = {name: found for name, (found, _) in zip(names, read, strict=True)}
    given = next((told for _, told in read if told is not None), None)
    with results_folder(output) as folder:
        if len(networks) == 2 and align != "none":
            a, b = networks.values()
            require_comparable(a, b)
            images = None
            if align == "activations" and data is not None:
                images = read_training_images(data, IMAGES_TO_ALIGN_BY)
            networks[names[1]] = apply(b, find_alignment(a, b, align, images, given))
        shown = pictures(networks, given, edges)
        from sparsity.plotting.networks import networks_png  # takes a second that `--help` should not

        image = networks_png(shown)
        write_new(folder / IMAGE, image)
        write_new(folder / PAGE, network_page(shown, image, " and ".join(names)).encode())
    for name, picture in shown.items():
        print(" ".join([f"{name}: {picture.summary()}", *picture.notes()]))
    print(f"written to {Path(output) / PAGE}")


def _source(path: str) -> Source:
    """Where a checkpoint lies, and what its run, if it is of one, says of it."""
    run = folder_of(Path(path))
    config = run.read_config() if run.is_run else {}
    summary = RunSummary.read(run) if run.is_run and run.is_finished else None
    return Source(Path(path), Path(path), method="", seed="", family="", config=config, summary=summary)


run = show
