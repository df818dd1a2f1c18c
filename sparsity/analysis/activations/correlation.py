"""Convergent learning (Li et al. 2015): do two networks have units that answer alike?"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from sparsity.analysis.activations.responses import Point, responses, unit_axis
from sparsity.analysis.assignment import assign
from sparsity.analysis.records import PER_UNIT
from sparsity.errors import SparsityError
from sparsity.graph.layers import analysed_layers, weight_of
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
        SparsityError: If the networks' layers differ in number, units or positions, or images do not fit.
    """
    layers_a, layers_b = analysed_layers(network_a), analysed_layers(network_b)
    units_a, units_b = ([len(weight_of(layer)) for layer in ls.values()] for ls in (layers_a, layers_b))
    if units_a != units_b:
        raise SparsityError(
            f"only networks with the same units per layer can be matched; these have {units_a} and {units_b}"
        )
    if len(images) == 0:
        raise SparsityError("there are no images to correlate responses over; give at least one")
    moments = {name: _Moments(units) for name, units in zip(layers_a, units_a, strict=True)}
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        answers_a = responses(network_a, batch, point)
        answers_b = responses(network_b, batch, point)
        for name_a, name_b in zip(layers_a, layers_b, strict=True):
            x = _columns(answers_a[name_a], layers_a[name_a])
            y = _columns(answers_b[name_b], layers_b[name_b])
            if len(x) != len(y):
                raise SparsityError(
                    f"layers {name_a!r} and {name_b!r} answer at different numbers of positions, "
                    f"{len(x) // len(batch)} and {len(y) // len(batch)}"
                )
            moments[name_a].add(x, y)
    layers = {name: _matched(moment.correlation()) for name, moment in moments.items()}
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


def _columns(response: Tensor, layer: nn.Module) -> FloatArray:
    """Responses as `[images * positions, units]`."""
    columns = response.movedim(unit_axis(layer), -1).flatten(0, -2)
    return columns.cpu().double().numpy()


class _Moments:
    """Means, variances and cross-products of two sets of units, merged batch by batch (Chan et al. 1983)."""

    def __init__(self, units: int) -> None:
        self.count = 0
        self.mean = np.zeros((2, units))
        self.squares = np.zeros((2, units))
        self.cross = np.zeros((units, units))
        self.low = np.full((2, units), np.inf)
        self.high = np.full((2, units), -np.inf)

    def add(self, x: FloatArray, y: FloatArray) -> None:
        """Take in a batch: `[rows, units]` of each network."""
        rows = len(x)
        mean = np.stack([x.mean(axis=0), y.mean(axis=0)])
        x_apart, y_apart = x - mean[0], y - mean[1]
        shift = mean - self.mean
        share = self.count * rows / (self.count + rows)
        self.squares += np.stack([(x_apart**2).sum(axis=0), (y_apart**2).sum(axis=0)]) + shift**2 * share
        self.cross += x_apart.T @ y_apart + np.outer(shift[0], shift[1]) * share
        self.count += rows
        self.mean += shift * rows / self.count
        self.low = np.minimum(self.low, [x.min(axis=0), y.min(axis=0)])
        self.high = np.maximum(self.high, [x.max(axis=0), y.max(axis=0)])

    def correlation(self) -> FloatArray:
        """`[units, units]`; 0 for constant units, told by their range since rounding leaves them some variance."""
        scale = np.sqrt(self.squares)
        varies = (self.low < self.high) & (scale > 0)
        both = np.outer(varies[0], varies[1])
        norm = np.outer(scale[0], scale[1])
        return np.clip(np.divide(self.cross, norm, out=np.zeros_like(norm), where=both & (norm > 0)), -1, 1)
