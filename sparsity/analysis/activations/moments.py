"""Means, variances and cross-products of units' responses, gathered batch by batch."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, cast

import numpy as np

from sparsity.graph.weights import BoolArray, FloatArray


class LayerMoments:
    """Of one layer of several networks: every network's moments, and the cross-products of every two.

    Args:
        networks: Their names.
        units: Of the layer, in all of them.
        rounding: Of a response, relative. Batches of different sizes are summed in different orders, so that a constant
            unit may differ by so much between them; within a batch it does not.
    """

    def __init__(self, networks: Sequence[str], units: int, rounding: float = 0.0) -> None:
        self._of = {network: _Moments(units, rounding) for network in networks}
        self._own = {network: np.zeros((units, units)) for network in networks}
        self._cross = {pair: np.zeros((units, units)) for pair in combinations(networks, 2)}

    def add(self, columns: Mapping[str, FloatArray]) -> None:
        """Take in a batch: `[rows, units]` of each network."""
        steps = {network: self._of[network].add(found) for network, found in columns.items()}
        for (a, b), cross in self._cross.items():
            x, y = steps[a], steps[b]
            cross += x.apart.T @ y.apart + np.outer(x.shift, y.shift) * x.share
        for network, x in steps.items():
            self._own[network] += x.apart.T @ x.apart + np.outer(x.shift, x.shift) * x.share

    def correlation(self, a: str, b: str) -> FloatArray:
        """`[units, units]`; 0 for constant units, told by their range."""
        x, y = self._of[a], self._of[b]
        both, norm = np.outer(x.varies, y.varies), np.outer(x.scale, y.scale)
        cross = self._cross[a, b]
        return np.clip(np.divide(cross, norm, out=np.zeros_like(norm), where=both & (norm > 0)), -1, 1)

    def products(self, network: str) -> FloatArray:
        """`[units, units]`, summed products of the deviations of one network's units; 0 for constant units."""
        varies = self._of[network].varies
        return np.where(np.outer(varies, varies), self._own[network], 0)

    def cross_products(self, a: str, b: str) -> FloatArray:
        """`[units, units]`, summed products of the deviations of two networks' units; 0 for constant units."""
        return np.where(np.outer(self._of[a].varies, self._of[b].varies), self._cross[a, b], 0)


class _Step(NamedTuple):
    """What a batch adds to the cross-products: deviations from its mean, and how far that is from the mean before."""

    apart: FloatArray
    shift: FloatArray
    share: float


class _Moments:
    """Means and variances of one network's units, merged batch by batch (Chan et al. 1983)."""

    def __init__(self, units: int, rounding: float) -> None:
        self._rounding = rounding
        self._count = 0
        self._mean = np.zeros(units)
        self._squares = np.zeros(units)
        self._low = np.full(units, np.inf)
        self._high = np.full(units, -np.inf)
        self._within = np.zeros(units, dtype=np.bool_)

    def add(self, x: FloatArray) -> _Step:
        """Take in a batch `[rows, units]`."""
        rows, mean = len(x), x.mean(axis=0)
        step = _Step(x - mean, mean - self._mean, self._count * rows / (self._count + rows))
        self._squares += (step.apart**2).sum(axis=0) + step.shift**2 * step.share
        self._count += rows
        self._mean += step.shift * rows / self._count
        low, high = x.min(axis=0), x.max(axis=0)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._within |= low < high
        return step

    @property
    def scale(self) -> FloatArray:
        """`[units]`, the root of the summed squares of deviations."""
        return cast(FloatArray, np.sqrt(self._squares))

    @property
    def varies(self) -> BoolArray:
        """`[units]`, whether a unit's responses differ within a batch, or between batches by more than rounding."""
        between: BoolArray = self._high - self._low > self._rounding * np.maximum(np.abs(self._low), np.abs(self._high))
        found: BoolArray = (self._within | between) & (self.scale > 0)
        return found
