"""Every figure of networks once: its name, its words, and what draws it; callbacks, `analyze` and `report` read this.

A new figure is a function that draws and a record in one of the lists; a new measure brings its figures with it.
Importing this module imports matplotlib.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure as Figure
from torch import Tensor, nn

from sparsity.analysis.activations.maps import exciting_patches, feature_maps
from sparsity.analysis.comparison.measures import MEASURES, Measure, Values
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.topology.network import Topology, positive_shares
from sparsity.graph.weights import Array, layer_weights, unit_vectors
from sparsity.plotting.lines import density_figure, layer_lines_figure
from sparsity.plotting.matrices import matrix_figure, matrix_panels
from sparsity.plotting.sheets import feature_map_figure, first_layer_figure, kernel_sheet, patch_sheet
from sparsity.plotting.violins import violin_figure

Source = TypeVar("Source")

Topologies = Mapping[str, Topology]
"""By network name, of networks with the same layers."""


class FirstLayer(NamedTuple):
    """A network's first layer and what it looks at.

    Args:
        network: Any network; left unchanged.
        images: `[n, channels, height, width]`; patches are drawn of one or three channels.
        layer: Its name.
    """

    network: nn.Module
    images: Tensor
    layer: str


SECTIONS = {
    "accuracy": "Accuracy against density",
    "real-size": "Accuracy against real size",
    "significance": "What is significant",
    "properties": "Which property tells accuracy",
    "networks": "Networks",
    "training": "Training",
    "density": "Where weights are kept",
    "clusters": "Weight clusters",
    "kernels": "Kernels",
    "first-layers": "First layers",
    "distances": "Topological distances",
    "correlations": "Correlated activations",
    "representations": "Similar representations",
}
"""A report's headings over figures, in order."""


@dataclass(frozen=True, kw_only=True)
class FigureSpec(Generic[Source]):
    """A figure: what it is called, what is said about it, and how it is drawn.

    Args:
        name: Of its file, and on a dashboard.
        section: One of `SECTIONS`, where a report shows it; None, and a report leaves it out.
        title: What it shows, in a few words.
        caption: What is seen and how to read it.
        draw: Draws it; returns None if there is nothing to see.

    Raises:
        ValueError: If there is no such section.
    """

    name: str
    section: str | None
    title: str
    caption: str
    draw: Callable[[Source], Figure | None]

    def __post_init__(self) -> None:
        if self.section is not None and self.section not in SECTIONS:
            raise ValueError(f"figure {self.name!r} is in no section of a report; there are {', '.join(SECTIONS)}")


def drawn(specs: Iterable[FigureSpec[Source]], source: Source) -> Iterator[tuple[FigureSpec[Source], Figure]]:
    """Draw figures one by one, so that only one is in memory at a time; those with nothing to see are left out."""
    for spec in specs:
        figure = spec.draw(source)
        if figure is not None:
            yield spec, figure


def _kernel_scores(topologies: Topologies) -> Figure | None:
    scores = {name: {layer: k.score for layer, k in found.kernels.items()} for name, found in topologies.items()}
    return violin_figure(scores, "mean cluster score of a filter's kernels") if any(scores.values()) else None


def _common_kernels(topologies: Topologies) -> Figure | None:
    common = {name: found.common_kernels for name, found in topologies.items() if found.common_kernels is not None}
    return kernel_sheet(common) if common else None


def _first_layers(topologies: Topologies) -> Figure | None:
    maps = {name: found.first_layer for name, found in topologies.items() if found.first_layer is not None}
    return first_layer_figure(maps) if maps else None


_VIOLIN = "Bars span the middle half of the values, dots are medians; all units of a method's runs together."

TOPOLOGY_FIGURES: list[FigureSpec[Topologies]] = [
    FigureSpec(
        name="density",
        section="density",
        title="Density per layer",
        caption="The share of its weights that each layer keeps, mean over seeds; in the legend that of the whole "
        "network.",
        draw=lambda topologies: density_figure({name: found.densities for name, found in topologies.items()}),
    ),
    FigureSpec(
        name="effective_density",
        section="density",
        title="Effective density per layer",
        caption="The share of weights that lie on a path of kept weights from input to output, mean over seeds. Where "
        "it falls below the density, weights were kept that can do nothing.",
        draw=lambda topologies: layer_lines_figure(
            {
                name: {layer: c.effective_density for layer, c in found.connectivity.layers.items()}
                for name, found in topologies.items()
            },
            "share of weights on a path",
        ),
    ),
    FigureSpec(
        name="gaps",
        section="clusters",
        title="Gaps between kept inputs",
        caption=f"How far it is from one kept input of a unit to its next; 1 is a direct neighbour. {_VIOLIN}",
        draw=lambda topologies: violin_figure(
            {name: {layer: gaps.gap for layer, gaps in found.gaps.items()} for name, found in topologies.items()},
            "distance to the next kept input",
        ),
    ),
    FigureSpec(
        name="runs",
        section="clusters",
        title="Runs of neighbouring inputs",
        caption="Into how many runs of neighbours the kept inputs of a unit fall; fewer runs at the same density mean "
        f"larger clusters. {_VIOLIN}",
        draw=lambda topologies: violin_figure(
            {name: {layer: runs.count for layer, runs in found.runs.items()} for name, found in topologies.items()},
            "runs of neighbouring inputs per unit",
        ),
    ),
    FigureSpec(
        name="positive_shares",
        section="clusters",
        title="Signs of kept weights",
        caption=f"The share of positive weights among those that a unit keeps. {_VIOLIN}",
        draw=lambda topologies: violin_figure(
            {
                name: {layer: positive_shares(weight) for layer, weight in found.weights.items()}
                for name, found in topologies.items()
            },
            "share of positive weights per unit",
        ),
    ),
    FigureSpec(
        name="kernel_scores",
        section="kernels",
        title="Clusters in kernels",
        caption="The share of a filter's groups of touching weights that have more than one weight: 0, all weights "
        f"stand alone; 1, all hang together. {_VIOLIN}",
        draw=_kernel_scores,
    ),
    FigureSpec(
        name="common_kernels",
        section="kernels",
        title="Most common kernels",
        caption="The most frequent patterns of kept (dark) weights among all kernels of the usual size, with their "
        "share and number.",
        draw=_common_kernels,
    ),
]
"""What networks look like, side by side, or methods, the units of their runs together."""

SINGLE_NETWORK_FIGURES: list[FigureSpec[Topologies]] = [
    FigureSpec(
        name="first_layer",
        section="first-layers",
        title="Weights by place",
        caption="The weights of the first layer, summed over its units, where they lie in the image: yellow where the "
        "layer as a whole adds, blue where it subtracts, grey where nothing is kept or it cancels.",
        draw=_first_layers,
    ),
]
"""What only single networks show, not several of one method together."""


def comparison_figures() -> list[FigureSpec[Comparison]]:
    """How several networks differ: by every measure over the networks, and by every measure layer by layer."""
    measures = [measure for measure in MEASURES.values() if measure.title]
    return [_over_networks(measure) for measure in measures] + [_layer_by_layer(measure) for measure in measures]


_MOST_LINES = 6
"""More pairs than these are not told apart as lines of one figure; they get a matrix per layer instead."""


def _over_networks(measure: Measure) -> FigureSpec[Comparison]:
    def draw(comparison: Comparison) -> Figure | None:
        values = _values(measure, comparison)
        if not values or len(comparison.names) == 2:  # of two networks a table says as much
            return None
        matrix = comparison.matrix([found.mean for found in values], measure.of_itself)
        return matrix_figure(matrix, comparison.names, measure.label, value_range=measure.value_range)

    return FigureSpec(
        name=measure.name, section=measure.section, title=measure.title, caption=measure.caption, draw=draw
    )


def _layer_by_layer(measure: Measure) -> FigureSpec[Comparison]:
    def draw(comparison: Comparison) -> Figure | None:
        values = _values(measure, comparison)
        if not values:
            return None
        if len(values) <= _MOST_LINES:
            pairs = {f"{pair.a} - {pair.b}": v.layers for pair, v in zip(comparison.pairs, values, strict=True)}
            return layer_lines_figure(pairs, measure.label)
        # By place: networks may call a layer differently.
        by_layer = zip(*(found.layers.values() for found in values), strict=True)
        matrices = {
            layer: comparison.matrix(numbers, measure.of_itself)
            for layer, numbers in zip(comparison.layers, by_layer, strict=True)
        }
        return matrix_panels(matrices, comparison.names, measure.label, measure.value_range)

    title, caption = f"{measure.title}, layer by layer", f"The same for every layer. {measure.caption}"
    return FigureSpec(name=f"{measure.name}_layers", section=None, title=title, caption=caption, draw=draw)


def _values(measure: Measure, comparison: Comparison) -> list[Values]:
    """Of all pairs, or none if they were not compared in that respect."""
    values = [found for pair in comparison.pairs if (found := measure.of(pair)) is not None]
    return values if len(values) == len(comparison.pairs) else []


def _feature_maps(first: FirstLayer) -> Figure | None:
    maps = feature_maps(first.network, first.images[:1], first.layer)[0]
    return feature_map_figure(maps, f"{first.layer}, first image") if maps.ndim == 3 else None


def _exciting_patches(first: FirstLayer) -> Figure | None:
    if first.images.shape[1] not in (1, 3):
        return None
    return patch_sheet(_patches(first), f"{first.layer}, most exciting")


def _patches(first: FirstLayer) -> list[Array]:
    found = exciting_patches(first.network, first.images, first.layer)
    pixels = first.images.numpy()
    edges = np.stack([found.image, found.top, found.bottom, found.left, found.right], axis=1).tolist()
    patches = [pixels[image, :, top:bottom, left:right] for image, top, bottom, left, right in edges]
    # Nothing excites a unit without inputs: its patch stays empty instead of showing the first image.
    sees = np.count_nonzero(unit_vectors(layer_weights(first.network)[first.layer]), axis=1) > 0
    return [patch if seeing else np.zeros_like(patch) for patch, seeing in zip(patches, sees, strict=True)]


IMAGE_FIGURES: list[FigureSpec[FirstLayer]] = [
    FigureSpec(
        name="feature_maps",
        section=None,
        title="Feature maps",
        caption="What each unit of the first layer makes of the first image.",
        draw=_feature_maps,
    ),
    FigureSpec(
        name="exciting_patches",
        section=None,
        title="Most exciting patches",
        caption="The part of an image that each unit of the first layer answers to most; empty for units without "
        "inputs.",
        draw=_exciting_patches,
    ),
]
"""What a network's first layer makes of images."""

EXEMPLAR_FIGURES: list[FigureSpec[Tensor]] = [
    FigureSpec(
        name="exemplars",
        section=None,
        title="Images that pruning makes different",
        caption="The first 25 on which most pruned networks disagree with most dense ones, as rows of exemplars.csv.",
        draw=lambda images: patch_sheet(list(images[:25].numpy())) if images.shape[1] in (1, 3) else None,
    ),
]
"""Of images `[n, channels, height, width]`, at least one."""
