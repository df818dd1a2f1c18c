"""Convergent learning (Li et al. 2015): do two networks have units that answer alike?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from torch import Tensor, nn

from sparsity.analysis.activations.responses import Point
from sparsity.analysis.activations.statistics import ResponseStatistics, response_statistics
from sparsity.analysis.assignment import assign
from sparsity.analysis.records import PER_UNIT
from sparsity.graph.weights import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LayerCorrelation:
    """Correlations of the units of two layers.

    Args:
        one_to_one: Mean correlation of units matched one to one at the highest total, in [-1, 1].
        semi: Mean correlation of the first layer's units with their best partners, repeats allowed, in [-1, 1].
        matching: `[units]`, the one-to-one partner of each unit of the first layer.
        partner: `[units]`, its best partner.
        correlation: `[units, units]`, all pairs, in [-1, 1]; 0 for a unit whose response is constant.
    """

    one_to_one: float
    semi: float
    matching: IntArray = field(metadata=PER_UNIT)
    partner: IntArray = field(metadata=PER_UNIT)
    correlation: FloatArray


@dataclass(frozen=True, eq=False)
class ActivationCorrelation:
    """Correlations of two networks' units, layer by layer.

    Args:
        layers: By layer name of the first network, in order.
        one_to_one: Mean of the layers' `one_to_one`.
        semi: Mean of the layers' `semi`; not symmetric in the networks.
    """

    layers: dict[str, LayerCorrelation]
    one_to_one: float
    semi: float


def activation_correlation(
    network_a: nn.Module, network_b: nn.Module, images: Tensor, point: Point = "post", batch_size: int = 32
) -> ActivationCorrelation:
    """Correlate the responses of all pairs of units of two networks, layer by layer, and match the units.

    A unit's responses are taken over images, and over positions in a convolution (Li et al. 2015, "Convergent
    Learning: Do different neural networks learn the same representations?", sections 3 and 3.1). They pass through in
    batches: means and cross-products are kept in float64, responses are not.

    Args:
        network_a: Any network; left unchanged.
        network_b: Another with as many layers, paired in forward order; left unchanged.
        images: `[n, *input_shape]`.
        point: `post`, `pre` or `filters`; see `responses`.
        batch_size: Images at a time; a matter of memory only.

    Raises:
        SparsityError: If the networks' layers differ in number, units or positions, or images do not fit, or no layer's
            answers are seen; those of single layers are left out with a warning.
    """
    (found,) = activation_correlations({"a": network_a, "b": network_b}, images, point, batch_size).values()
    return found


def activation_correlations(
    networks: Mapping[str, nn.Module], images: Tensor, point: Point = "post", batch_size: int = 32
) -> dict[tuple[str, str], ActivationCorrelation]:
    """Correlate every two of some networks, as `activation_correlation` does; every network sees every image once.

    Args:
        networks: By name; left unchanged.
        images: `[n, *input_shape]`.
        point: As in `responses`.
        batch_size: Images at a time; a matter of memory only, of which responses of all networks take some.

    Returns:
        By the names of the two, in the order of `networks`.

    Raises:
        SparsityError: As `activation_correlation`.
    """
    return correlations_of(response_statistics(networks, images, point, batch_size))


def correlations_of(statistics: ResponseStatistics) -> dict[tuple[str, str], ActivationCorrelation]:
    """Of every two networks, by their names in order.

    Args:
        statistics: Of the networks' responses to the same images.
    """
    layers = statistics.layers
    return {
        (a, b): _whole(
            {
                name: _matched(moments.correlation(a, b))
                for name, moments in zip(layers[a], statistics.moments, strict=True)
            }
        )
        for a, b in combinations(layers, 2)
    }


def _whole(layers: dict[str, LayerCorrelation]) -> ActivationCorrelation:
    return ActivationCorrelation(
        layers,
        one_to_one=float(np.mean([layer.one_to_one for layer in layers.values()])),
        semi=float(np.mean([layer.semi for layer in layers.values()])),
    )


def _matched(correlation: FloatArray) -> LayerCorrelation:
    rows = np.arange(len(correlation))
    matching, partner = assign(-correlation), correlation.argmax(axis=1)
    return LayerCorrelation(
        one_to_one=float(correlation[rows, matching].mean()),
        semi=float(correlation[rows, partner].mean()),
        matching=matching,
        partner=partner,
        correlation=correlation,
    )
