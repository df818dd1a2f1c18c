"""What comparing networks gives: records of layers, of pairs of networks, and of all pairs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from sparsity.analysis.activations.correlation import ActivationCorrelation
from sparsity.analysis.activations.similarity import RepresentationSimilarity
from sparsity.analysis.comparison.overlap import MaskOverlap
from sparsity.analysis.records import PER_UNIT
from sparsity.graph.weights import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LayerDistance:
    """How far apart two layers are once their units are matched one to one.

    Args:
        mean_matched: Mean distance of matched units, in [0, 1]; the lowest that any matching reaches.
        whole_layer: The same measure on the two layers as single vectors after reordering the second, in [0, 1].
            Where several matchings are optimal it depends on which one was taken.
        matching: `[units]`, the unit of the second layer for each unit of the first.
    """

    mean_matched: float
    whole_layer: float
    matching: IntArray = field(metadata=PER_UNIT)


@dataclass(frozen=True, eq=False)
class NetworkDistance:
    """How far apart two networks are, layer by layer.

    Args:
        layers: By layer name of the first network, in order.
        mean: Mean of the layers' `mean_matched`, in [0, 1].
    """

    layers: dict[str, LayerDistance]
    mean: float


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks compared.

    Args:
        a: Name of the first.
        b: Name of the second.
        distances: By name of the distance measure.
        overlap: Of the masks, units in their given order.
        correlation: Of the activations on the same images; None if there were none.
        similarity: Of the representations of the same images; None if there were none.
    """

    a: str
    b: str
    distances: Mapping[str, NetworkDistance]
    overlap: MaskOverlap
    correlation: ActivationCorrelation | None
    similarity: RepresentationSimilarity | None


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
