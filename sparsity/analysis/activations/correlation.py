"""Convergent learning (Li et al. 2015): do two networks have units that answer alike?"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple, cast

import numpy as np
from torch import Tensor, nn

from sparsity.analysis.activations.responses import AN_OPERATION, Point, seen_responses, unit_axis
from sparsity.analysis.assignment import assign
from sparsity.analysis.records import PER_UNIT
from sparsity.errors import SparsityError
from sparsity.graph.layers import analysed
from sparsity.graph.weights import BoolArray, FloatArray, IntArray
from sparsity.masks import Place


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
    layers = {network: list(analysed(module).items()) for network, module in networks.items()}
    _require_same_units([[place.units for _, place in found] for found in layers.values()])
    if len(images) == 0:
        raise SparsityError("there are no images to correlate responses over; give at least one")
    moments: list[_LayerMoments] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        answers = {network: seen_responses(module, batch, point) for network, module in networks.items()}
        if not moments:
            layers = _seen(layers, answers)
            moments = [_LayerMoments(list(networks), place.units) for _, place in next(iter(layers.values()))]
        for place, of_all in enumerate(moments):
            names = {network: found[place][0] for network, found in layers.items()}
            columns = {
                network: _columns(answers[network].pop(names[network]), found[place][1])
                for network, found in layers.items()
            }
            _require_same_positions(names, columns, len(batch))
            of_all.add(columns)
    return {
        (a, b): _whole(
            {name: _matched(of_all.correlation(a, b)) for (name, _), of_all in zip(layers[a], moments, strict=True)}
        )
        for a, b in combinations(networks, 2)
    }


def _seen(
    layers: Mapping[str, Sequence[tuple[str, Place]]], answers: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, list[tuple[str, Place]]]:
    """The layers whose answers are seen in all networks; the others are named in a warning.

    Raises:
        SparsityError: If there is none.
    """
    rows = list(zip(*layers.values(), strict=True))
    seen = [all(name in answers[network] for network, (name, _) in zip(layers, row, strict=True)) for row in rows]
    left_out = [row[0][0] for row, is_seen in zip(rows, seen, strict=True) if not is_seen]
    if not any(seen):
        raise SparsityError(f"no layer runs as {AN_OPERATION}: there are no answers to correlate")
    if left_out:
        # From one place, so that Python says it once.
        warnings.warn(
            f"activations of {', '.join(left_out)} are left out: they do not run as {AN_OPERATION}", stacklevel=1
        )
    return {
        network: [layer for layer, kept in zip(found, seen, strict=True) if kept] for network, found in layers.items()
    }


def _require_same_units(units: Sequence[Sequence[int]]) -> None:
    for others in units[1:]:
        if others != units[0]:
            raise SparsityError(
                f"only networks with the same units per layer can be matched; these have {units[0]} and {others}"
            )


def _require_same_positions(names: Mapping[str, str], columns: Mapping[str, FloatArray], images: int) -> None:
    (first, of_first), *others = columns.items()
    for other, of_other in others:
        if len(of_other) != len(of_first):
            raise SparsityError(
                f"layers {names[first]!r} and {names[other]!r} answer at different numbers of positions, "
                f"{len(of_first) // images} and {len(of_other) // images}"
            )


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


def _columns(response: Tensor, place: Place) -> FloatArray:
    """Responses as `[images * positions, units]`."""
    columns = response.movedim(unit_axis(place), -1).flatten(0, -2)
    return columns.cpu().double().numpy()


class _LayerMoments:
    """Of one layer of several networks: every network's moments, and the cross-products of every two.

    Args:
        networks: Their names.
        units: Of the layer, in all of them.
    """

    def __init__(self, networks: Sequence[str], units: int) -> None:
        self._of = {network: _Moments(units) for network in networks}
        self._cross = {pair: np.zeros((units, units)) for pair in combinations(networks, 2)}

    def add(self, columns: Mapping[str, FloatArray]) -> None:
        """Take in a batch: `[rows, units]` of each network."""
        steps = {network: self._of[network].add(found) for network, found in columns.items()}
        for (a, b), cross in self._cross.items():
            x, y = steps[a], steps[b]
            cross += x.apart.T @ y.apart + np.outer(x.shift, y.shift) * x.share

    def correlation(self, a: str, b: str) -> FloatArray:
        """`[units, units]`; 0 for constant units, told by their range since rounding leaves them some variance."""
        x, y = self._of[a], self._of[b]
        both, norm = np.outer(x.varies, y.varies), np.outer(x.scale, y.scale)
        cross = self._cross[a, b]
        return np.clip(np.divide(cross, norm, out=np.zeros_like(norm), where=both & (norm > 0)), -1, 1)


class _Step(NamedTuple):
    """What a batch adds to the cross-products: deviations from its mean, and how far that is from the mean before."""

    apart: FloatArray
    shift: FloatArray
    share: float


class _Moments:
    """Means and variances of one network's units, merged batch by batch (Chan et al. 1983)."""

    def __init__(self, units: int) -> None:
        self._count = 0
        self._mean = np.zeros(units)
        self._squares = np.zeros(units)
        self._low = np.full(units, np.inf)
        self._high = np.full(units, -np.inf)

    def add(self, x: FloatArray) -> _Step:
        """Take in a batch `[rows, units]`."""
        rows, mean = len(x), x.mean(axis=0)
        step = _Step(x - mean, mean - self._mean, self._count * rows / (self._count + rows))
        self._squares += (step.apart**2).sum(axis=0) + step.shift**2 * step.share
        self._count += rows
        self._mean += step.shift * rows / self._count
        self._low = np.minimum(self._low, x.min(axis=0))
        self._high = np.maximum(self._high, x.max(axis=0))
        return step

    @property
    def scale(self) -> FloatArray:
        """`[units]`, the root of the summed squares of deviations."""
        return cast(FloatArray, np.sqrt(self._squares))

    @property
    def varies(self) -> BoolArray:
        """`[units]`, whether a unit's responses differ at all."""
        return (self._low < self._high) & (self.scale > 0)
