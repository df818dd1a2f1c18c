"""All that can be compared between several networks: distances, overlaps, correlations, pair by pair, as tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, get_args

import numpy as np
from torch import Tensor, nn

from sparsity.analysis.activations.correlation import ActivationCorrelation, activation_correlation
from sparsity.analysis.activations.responses import Point
from sparsity.analysis.comparison.distance import Align, NetworkDistance, network_distance
from sparsity.analysis.comparison.overlap import MaskOverlap, mask_overlap
from sparsity.analysis.comparison.unit_distance import Measure
from sparsity.analysis.records import Row, layer_rows
from sparsity.errors import SparsityError
from sparsity.graph.chain import chain_weights
from sparsity.graph.layers import analysed_layers, weight_of
from sparsity.graph.weights import FloatArray

MEASURES: tuple[Measure, ...] = get_args(Measure)

Names = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks compared.

    Args:
        a: Name of the first.
        b: Name of the second.
        distances: By measure.
        overlap: Of the masks, units in their given order.
        correlation: Of the activations on the same images; None if there were none.
    """

    a: str
    b: str
    distances: Mapping[Measure, NetworkDistance]
    overlap: MaskOverlap
    correlation: ActivationCorrelation | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """All pairs of some networks with the same layer shapes.

    Args:
        names: Of the networks.
        layers: Names of the layers, in order, as the first network calls them.
        pairs: Every two networks, in the order of their names.
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def matrix(self, values: Iterable[float], of_itself: float) -> FloatArray:
        """A symmetric matrix over the networks, `[names, names]`.

        Args:
            values: One for each pair, in order.
            of_itself: The diagonal.
        """
        matrix = np.full((len(self.names), len(self.names)), of_itself, dtype=np.float64)
        for pair, value in zip(self.pairs, values, strict=True):
            i, j = self.names.index(pair.a), self.names.index(pair.b)
            matrix[i, j] = matrix[j, i] = value
        return matrix


def comparable_groups(networks: Mapping[str, nn.Module]) -> list[dict[str, nn.Module]]:
    """Sort networks into groups of equal layer shapes, within which they can be compared.

    Args:
        networks: By name.
    """
    groups: dict[tuple[tuple[int, ...], ...], dict[str, nn.Module]] = {}
    for name, network in networks.items():
        groups.setdefault(_shapes(network), {})[name] = network
    return list(groups.values())


def require_comparable(a: nn.Module, b: nn.Module) -> None:
    """Refuse networks whose layers differ.

    Raises:
        SparsityError: Names the first layer that differs.
    """
    layers_a, layers_b = list(analysed_layers(a)), list(analysed_layers(b))
    shapes_a, shapes_b = _shapes(a), _shapes(b)
    if len(shapes_a) != len(shapes_b):
        raise SparsityError(f"one network has {len(shapes_a)} masked layers and the other {len(shapes_b)}")
    for name_a, name_b, shape_a, shape_b in zip(layers_a, layers_b, shapes_a, shapes_b, strict=True):
        if shape_a != shape_b:
            raise SparsityError(
                f"layer {name_a!r} is shaped {list(shape_a)} in one network, and {name_b!r} in the other "
                f"{list(shape_b)}"
            )


def require_alignable(networks: Mapping[str, nn.Module], align: Align) -> None:
    """Refuse `align='propagate'` for networks that are not chains, before anything is computed.

    Raises:
        SparsityError: Names the network and says where its chain breaks.
    """
    if align != "propagate":
        return
    for name, network in networks.items():
        _require_chain(name, network)


def compare(
    networks: Mapping[str, nn.Module],
    images: Tensor | None = None,
    align: Align = "independent",
    point: Point = "post",
    track: Callable[[Sequence[Names]], Iterable[Names]] = iter,
) -> Comparison:
    """Compare every two of some networks.

    Args:
        networks: Two or more by name, all with the same layer shapes; left unchanged.
        images: `[n, *input_shape]`, on which activations are correlated; none, no correlations.
        align: How units are matched, as in `network_distance`.
        point: Where activations are taken, as in `responses`.
        track: Passes on the pairs' names one by one; for a progress bar.

    Raises:
        SparsityError: If the networks' layers differ, or `propagate` is asked for networks that are not chains.
    """
    names = list(networks)
    pairs = []
    for a, b in track(list(combinations(names, 2))):
        first, second = networks[a], networks[b]
        pairs.append(
            Pair(
                a=a,
                b=b,
                distances={measure: network_distance(first, second, measure, align) for measure in MEASURES},
                overlap=mask_overlap(first, second),
                correlation=None if images is None else activation_correlation(first, second, images, point),
            )
        )
    return Comparison(tuple(names), tuple(analysed_layers(networks[names[0]])), tuple(pairs))


def distance_rows(comparison: Comparison) -> list[Row]:
    """One row per pair, measure and layer: `a`, `b`, `measure`, `layer` and the values of `LayerDistance`."""
    return [
        {"a": pair.a, "b": pair.b, "measure": measure, **row}
        for pair in comparison.pairs
        for measure, distance in pair.distances.items()
        for row in layer_rows(distance.layers)
    ]


def overlap_rows(comparison: Comparison) -> list[Row]:
    """One row per pair and layer: `a`, `b`, `layer` and the values of `LayerOverlap`."""
    return [{"a": p.a, "b": p.b, **row} for p in comparison.pairs for row in layer_rows(p.overlap.layers)]


def correlation_rows(comparison: Comparison) -> list[Row]:
    """One row per pair and layer: `a`, `b`, `layer` and the values of `LayerCorrelation`."""
    return [
        {"a": pair.a, "b": pair.b, **row}
        for pair in comparison.pairs
        if pair.correlation is not None
        for row in layer_rows(pair.correlation.layers)
    ]


def distance_record(comparison: Comparison) -> dict[str, Any]:
    """Every measure as matrices over the networks, of the mean and layer by layer, and every matching.

    A matching lists, for each unit of the layer in network `a`, the unit in network `b`.
    """
    return {
        "networks": list(comparison.names),
        "measures": {measure: _distance_matrices(comparison, measure) for measure in MEASURES},
        "matchings": [
            {
                "a": pair.a,
                "b": pair.b,
                "measure": measure,
                "layers": {name: layer.matching.tolist() for name, layer in distance.layers.items()},
            }
            for pair in comparison.pairs
            for measure, distance in pair.distances.items()
        ],
    }


def correlation_record(comparison: Comparison) -> list[dict[str, Any]]:
    """Of every pair the mean correlations, and layer by layer the matching and each unit's best partner."""
    return [
        {
            "a": pair.a,
            "b": pair.b,
            "one_to_one": pair.correlation.one_to_one,
            "semi": pair.correlation.semi,
            "layers": {
                name: {
                    "one_to_one": layer.one_to_one,
                    "semi": layer.semi,
                    "matching": layer.matching.tolist(),
                    "partner": layer.partner.tolist(),
                }
                for name, layer in pair.correlation.layers.items()
            },
        }
        for pair in comparison.pairs
        if pair.correlation is not None
    ]


def correlation_matrices(comparison: Comparison) -> dict[str, FloatArray]:
    """The correlations of all pairs of units, `[units of a, units of b]`, by `a/b/layer`."""
    return {
        f"{pair.a}/{pair.b}/{name}": layer.correlation
        for pair in comparison.pairs
        if pair.correlation is not None
        for name, layer in pair.correlation.layers.items()
    }


def pair_means(pair: Pair) -> dict[str, float]:
    """The numbers of two networks as a whole.

    Returns:
        `nnstd`, `sasd`, `maed`; `iou` and `chance_iou` of the masks and `overlap_z`, by how many standard deviations
        they overlap more than chance; `correlation` (one to one) and `semi_correlation` if there are any.
    """
    means: dict[str, float] = {measure: distance.mean for measure, distance in pair.distances.items()}
    overall = pair.overlap.overall
    means |= {"iou": overall.iou, "chance_iou": overall.chance_iou, "overlap_z": overall.z}
    if pair.correlation is not None:
        means |= {"correlation": pair.correlation.one_to_one, "semi_correlation": pair.correlation.semi}
    return means


def layer_means(pair: Pair) -> dict[str, dict[str, float]]:
    """The same numbers by layer: of every measure the mean distance of matched units."""
    means: dict[str, dict[str, float]] = {
        measure: {name: layer.mean_matched for name, layer in distance.layers.items()}
        for measure, distance in pair.distances.items()
    }
    overlaps = pair.overlap.layers.items()
    means["iou"] = {name: layer.iou for name, layer in overlaps}
    means["chance_iou"] = {name: layer.chance_iou for name, layer in overlaps}
    means["overlap_z"] = {name: layer.z for name, layer in overlaps}
    if pair.correlation is not None:
        correlations = pair.correlation.layers.items()
        means["correlation"] = {name: layer.one_to_one for name, layer in correlations}
        means["semi_correlation"] = {name: layer.semi for name, layer in correlations}
    return means


def _shapes(network: nn.Module) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(weight_of(layer).shape) for layer in analysed_layers(network).values())


def _distance_matrices(comparison: Comparison, measure: Measure) -> dict[str, Any]:
    distances = [pair.distances[measure] for pair in comparison.pairs]
    # By layer, what each pair has there: networks may call a layer differently, and its place is what counts.
    by_layer = zip(*(distance.layers.values() for distance in distances), strict=True)
    return {
        "mean": comparison.matrix([distance.mean for distance in distances], 0.0),
        "layers": {
            name: {
                "mean_matched": comparison.matrix([layer.mean_matched for layer in layers], 0.0),
                "whole_layer": comparison.matrix([layer.whole_layer for layer in layers], 0.0),
            }
            for name, layers in zip(comparison.layers, by_layer, strict=True)
        },
    }


def _require_chain(name: str, network: nn.Module) -> None:
    try:
        chain_weights(network)
    except SparsityError as error:
        raise SparsityError(f"{name}: {error}") from error
