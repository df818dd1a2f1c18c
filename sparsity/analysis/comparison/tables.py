"""A comparison as rows of tables, as records, and as arrays."""

from typing import Any

from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.records import Row, layer_rows
from sparsity.graph.weights import FloatArray


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


def similarity_rows(comparison: Comparison) -> list[Row]:
    """One row per pair and layer: `a`, `b`, `layer` and the values of `Similarity`."""
    return [
        {"a": pair.a, "b": pair.b, **row}
        for pair in comparison.pairs
        if pair.similarity is not None
        for row in layer_rows(pair.similarity.layers)
    ]


def distance_record(comparison: Comparison) -> dict[str, Any]:
    """Every measure as matrices over the networks, of the mean and layer by layer, and every matching.

    A matching lists, for each unit of the layer in network `a`, the unit in network `b`.
    """
    return {
        "networks": list(comparison.names),
        "measures": {measure: _distance_matrices(comparison, measure) for measure in comparison.pairs[0].distances},
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


def _distance_matrices(comparison: Comparison, measure: str) -> dict[str, Any]:
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
