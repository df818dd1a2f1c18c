"""The figures of an analysis: which ones there are, and what goes into each; how they look is `plots`' business.

Importing this module imports matplotlib. Figures come one by one, with a name for a file or a tag, so that only one
is in memory at a time.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparsity.analysis.activations.maps import exciting_patches, feature_maps
from sparsity.analysis.comparison.measures import MEASURES, Measure, Values
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.topology.network import Topology, positive_shares
from sparsity.graph.weights import Array, layer_weights, unit_vectors
from sparsity.plotting.plots import (
    density_figure,
    feature_map_figure,
    first_layer_figure,
    kernel_sheet,
    layer_lines_figure,
    matrix_figure,
    patch_sheet,
    violin_figure,
)

NamedFigure = tuple[str, Figure]

_MOST_LINES = 6
"""More pairs than these are not told apart as lines of one figure; they get a matrix per layer instead."""


def topology_figures(topologies: Mapping[str, Topology]) -> Iterator[NamedFigure]:
    """What one or several networks look like, side by side.

    Args:
        topologies: By network name, of networks with the same layers.
    """
    yield "density", density_figure({name: found.densities for name, found in topologies.items()})
    yield (
        "effective_density",
        layer_lines_figure(
            {
                name: {layer: c.effective_density for layer, c in found.connectivity.layers.items()}
                for name, found in topologies.items()
            },
            "share of weights on a path",
        ),
    )
    yield (
        "gaps",
        violin_figure(
            {name: {layer: gaps.gap for layer, gaps in found.gaps.items()} for name, found in topologies.items()},
            "distance to the next kept input",
        ),
    )
    yield (
        "runs",
        violin_figure(
            {name: {layer: runs.count for layer, runs in found.runs.items()} for name, found in topologies.items()},
            "runs of neighbouring inputs per unit",
        ),
    )
    yield (
        "positive_shares",
        violin_figure(
            {
                name: {layer: positive_shares(weight) for layer, weight in found.weights.items()}
                for name, found in topologies.items()
            },
            "share of positive weights per unit",
        ),
    )
    yield from _kernel_figures(topologies)
    if maps := {name: found.first_layer for name, found in topologies.items() if found.first_layer is not None}:
        yield "first_layer", first_layer_figure(maps)


def comparison_figures(comparison: Comparison) -> Iterator[NamedFigure]:
    """How several networks differ: a matrix of every measure over the networks, and what lies behind it by layer.

    Args:
        comparison: Of two or more networks.
    """
    yield from pair_matrices(comparison)
    for measure, values in _measured(comparison):
        yield from _by_layer(comparison, measure, values)


def pair_matrices(comparison: Comparison) -> Iterator[NamedFigure]:
    """A matrix of every measure over the networks; none of two networks, of which a table says as much.

    Args:
        comparison: Of two or more networks.
    """
    if len(comparison.names) == 2:
        return
    for measure, values in _measured(comparison):
        matrix = comparison.matrix([found.mean for found in values], measure.of_itself)
        yield (
            measure.name,
            matrix_figure(matrix, comparison.names, measure.label, value_range=measure.value_range),
        )


def image_figures(network: nn.Module, images: Tensor, first_layer: str) -> Iterator[NamedFigure]:
    """What a network's first layer makes of images: its maps of the first one, and the patches that excite it most.

    Args:
        network: Any network; left unchanged.
        images: `[n, channels, height, width]`; patches are drawn of one or three channels.
        first_layer: Its name.
    """
    maps = feature_maps(network, images[:1], first_layer)[0]
    if maps.ndim == 3:
        yield "feature_maps", feature_map_figure(maps, f"{first_layer}, first image")
    if images.shape[1] in (1, 3):
        yield "exciting_patches", patch_sheet(_patches(network, images, first_layer), f"{first_layer}, most exciting")


def _kernel_figures(topologies: Mapping[str, Topology]) -> Iterator[NamedFigure]:
    if not any(found.kernels for found in topologies.values()):
        return
    yield (
        "kernel_scores",
        violin_figure(
            {name: {layer: k.score for layer, k in found.kernels.items()} for name, found in topologies.items()},
            "mean cluster score of a filter's kernels",
        ),
    )
    common = {name: found.common_kernels for name, found in topologies.items()}
    yield "common_kernels", kernel_sheet({name: kernels for name, kernels in common.items() if kernels is not None})


def _measured(comparison: Comparison) -> Iterator[tuple[Measure, list[Values]]]:
    """The measures that are drawn, with their values of all pairs."""
    for measure in MEASURES.values():
        values = [found for pair in comparison.pairs if (found := measure.of(pair)) is not None]
        if measure.title and len(values) == len(comparison.pairs):
            yield measure, values


def _by_layer(comparison: Comparison, measure: Measure, values: Sequence[Values]) -> Iterator[NamedFigure]:
    pairs = {f"{pair.a} - {pair.b}": found.layers for pair, found in zip(comparison.pairs, values, strict=True)}
    if len(pairs) <= _MOST_LINES:
        yield f"{measure.name}_layers", layer_lines_figure(pairs, measure.label)
        return
    for place, layer in enumerate(comparison.layers):
        matrix = comparison.matrix([list(found.values())[place] for found in pairs.values()], measure.of_itself)
        yield (
            f"{measure.name}_{layer}",
            matrix_figure(matrix, comparison.names, measure.label, layer, measure.value_range),
        )


def _patches(network: nn.Module, images: Tensor, layer: str) -> list[Array]:
    found = exciting_patches(network, images, layer)
    pixels = images.numpy()
    edges = np.stack([found.image, found.top, found.bottom, found.left, found.right], axis=1).tolist()
    patches = [pixels[image, :, top:bottom, left:right] for image, top, bottom, left, right in edges]
    # Nothing excites a unit without inputs: its patch stays empty instead of showing the first image.
    sees = np.count_nonzero(unit_vectors(layer_weights(network)[layer]), axis=1) > 0
    return [patch if seeing else np.zeros_like(patch) for patch, seeing in zip(patches, sees, strict=True)]
