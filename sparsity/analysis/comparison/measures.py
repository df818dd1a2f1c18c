"""The measures of how two networks differ: one record each, which tables, figures, reports and the command line read.

A new distance of units is one `DistanceMeasure` in `MEASURES` and nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from typing_extensions import override

from sparsity.analysis.activations.correlation import ActivationCorrelation, LayerCorrelation
from sparsity.analysis.activations.similarity import Similarity
from sparsity.analysis.comparison.overlap import LayerOverlap
from sparsity.analysis.comparison.results import Pair
from sparsity.analysis.comparison.unit_distance import maed, nnstd, sasd
from sparsity.graph.weights import FloatArray


class Values(NamedTuple):
    """What a measure says of two networks.

    Args:
        mean: Of the networks as a whole.
        layers: By layer name of the first network, in order.
    """

    mean: float
    layers: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Measure(ABC):
    """A number that tells how two networks, or two layers, differ.

    Args:
        name: In files, and where a measure is asked for.
        heading: Of its column in tables that are read; without one it is in files only.
        label: Of an axis, with what the ends of its range mean.
        title: What its matrix shows, in a few words; without a title it is not drawn.
        caption: How its matrix is read.
        section: Of a report, that its matrix belongs under.
        value_range: Its lowest and highest possible value; None, and colours span the values that there are.
        of_itself: Its value for a network and that network itself; NaN if that says nothing.
    """

    name: str
    heading: str = ""
    label: str = ""
    title: str = ""
    caption: str = ""
    section: str = "distances"
    value_range: tuple[float, float] | None = (0.0, 1.0)
    of_itself: float = 0.0

    @abstractmethod
    def of(self, pair: Pair) -> Values | None:
        """Its values for two networks; None if they were not compared in that respect."""


@dataclass(frozen=True, kw_only=True)
class DistanceMeasure(Measure):
    """A distance of units; networks are compared by it after their units are matched one to one.

    Args:
        between_units: Takes the units of two layers, float64 `[units_a, n]` and `[units_b, n]`, and returns the
            distance of every two, `[units_a, units_b]`, in [0, 1], with 0 for two units without weights.
    """

    between_units: Callable[[FloatArray, FloatArray], FloatArray]

    @override
    def of(self, pair: Pair) -> Values | None:
        found = pair.distances.get(self.name)
        if found is None:
            return None
        return Values(found.mean, {name: layer.mean_matched for name, layer in found.layers.items()})


@dataclass(frozen=True, kw_only=True)
class OverlapMeasure(Measure):
    """A number of two masks' overlap.

    Args:
        number: Which one.
    """

    number: Callable[[LayerOverlap], float]

    @override
    def of(self, pair: Pair) -> Values:
        layers = {name: self.number(layer) for name, layer in pair.overlap.layers.items()}
        return Values(self.number(pair.overlap.overall), layers)


@dataclass(frozen=True, kw_only=True)
class CorrelationMeasure(Measure):
    """A mean correlation of two networks' activations.

    Args:
        number: Which one.
    """

    number: Callable[[LayerCorrelation | ActivationCorrelation], float]

    @override
    def of(self, pair: Pair) -> Values | None:
        if pair.correlation is None:
            return None
        layers = {name: self.number(layer) for name, layer in pair.correlation.layers.items()}
        return Values(self.number(pair.correlation), layers)


@dataclass(frozen=True, kw_only=True)
class SimilarityMeasure(Measure):
    """A similarity of two networks' representations.

    Args:
        number: Which one.
    """

    number: Callable[[Similarity], float]

    @override
    def of(self, pair: Pair) -> Values | None:
        found = pair.similarity
        if found is None or isnan(mean := self.number(found.mean)):
            return None
        return Values(mean, {name: self.number(layer) for name, layer in found.layers.items()})


_MATCHED = "Units are matched one to one first, so that their order does not count. Dark is alike."

_ROTATED = "Compared are images, so that units may be rotated into each other. Light is alike."

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        DistanceMeasure(
            name="nnstd",
            heading="NNSTD",
            label="NNSTD (0 equal, 1 no shared input)",
            title="Distance of inputs",
            caption=f"NNSTD: by which inputs units keep. {_MATCHED}",
            between_units=nnstd,
        ),
        DistanceMeasure(
            name="sasd",
            heading="SaSD",
            label="SaSD (0 equal, 1 no shared sign)",
            title="Distance of signed inputs",
            caption=f"SaSD: by which inputs units keep, with which sign. {_MATCHED}",
            between_units=sasd,
        ),
        DistanceMeasure(
            name="maed",
            heading="MAED",
            label="MAED (0 equal, 1 as far as can be)",
            title="Distance of weights",
            caption=f"MAED: by the weights themselves. {_MATCHED}",
            between_units=maed,
        ),
        OverlapMeasure(
            name="iou",
            heading="IoU",
            label="shared share of the masks (IoU)",
            title="Overlap of masks",
            caption="Weights that both keep, as a share of those that either keeps; units in their given order. Light "
            "is alike; the table says what chance would give.",
            of_itself=1.0,
            number=lambda overlap: overlap.iou,
        ),
        OverlapMeasure(name="chance_iou", heading="IoU by chance", number=lambda overlap: overlap.chance_iou),
        OverlapMeasure(name="overlap_z", value_range=None, number=lambda overlap: overlap.z),
        CorrelationMeasure(
            name="correlation",
            heading="correlation",
            label="mean correlation of matched units",
            title="Correlation, one to one",
            caption="Correlation of the activations of matched units on the same test images, mean over all units; one "
            "that never varies counts 0. Light is alike.",
            section="correlations",
            value_range=None,
            of_itself=float("nan"),
            number=lambda correlation: correlation.one_to_one,
        ),
        CorrelationMeasure(
            name="semi_correlation",
            heading="best partner",
            label="mean correlation with the best partner",
            title="Correlation with the best partner",
            caption="The same with each unit's best partner, which several units may share. Light is alike.",
            section="correlations",
            value_range=None,
            of_itself=float("nan"),
            number=lambda correlation: correlation.semi,
        ),
        SimilarityMeasure(
            name="linear_cka",
            heading="CKA",
            label="linear CKA (1 alike but for rotation and scale)",
            title="Linear CKA",
            caption=f"Do layers tell the same images apart? {_ROTATED}",
            section="representations",
            value_range=None,
            of_itself=1.0,
            number=lambda similarity: similarity.linear_cka,
        ),
        SimilarityMeasure(
            name="rbf_cka",
            heading="RBF CKA",
            label="CKA with a Gaussian kernel (1 alike)",
            title="RBF CKA",
            caption=f"The same with a kernel that looks at near images most. {_ROTATED}",
            section="representations",
            value_range=None,
            of_itself=1.0,
            number=lambda similarity: similarity.rbf_cka,
        ),
        SimilarityMeasure(
            name="procrustes",
            heading="Procrustes",
            label="Procrustes similarity (1 alike but for rotation and scale)",
            title="Procrustes similarity",
            caption="How well the best rotation of one layer's activations gives the other's. Light is alike.",
            section="representations",
            of_itself=1.0,
            number=lambda similarity: similarity.procrustes,
        ),
        SimilarityMeasure(
            name="svcca",
            heading="SVCCA",
            label="mean canonical correlation (1 alike)",
            title="SVCCA",
            caption="Mean correlation of the best-matching directions among those that explain 99 % of each layer's "
            "variance. Light is alike.",
            section="representations",
            of_itself=1.0,
            number=lambda similarity: similarity.svcca,
        ),
    )
}
"""All of them by name, in the order of tables and figures."""


def distance_measures() -> dict[str, DistanceMeasure]:
    """Those of `MEASURES` that are distances of units, by name."""
    return {name: measure for name, measure in MEASURES.items() if isinstance(measure, DistanceMeasure)}


def pair_means(pair: Pair) -> dict[str, float]:
    """The numbers of two networks as a whole, by measure: those of `MEASURES` in which they were compared."""
    return {name: found.mean for name, measure in MEASURES.items() if (found := measure.of(pair)) is not None}
