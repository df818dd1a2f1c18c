"""Where the kept inputs of a unit lie: runs of neighbours, gaps between them, positions."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from sparsity.analysis.records import PER_UNIT
from sparsity.graph.weights import Array, FloatArray, IntArray, unit_vectors


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of neighbouring kept inputs in the units of a layer.

    Args:
        count: `[units]`, runs of each unit; an isolated weight is a run of one.
        mean_size: Mean number of weights in a run, over the layer; NaN without runs.
        positive_share: Mean share of positive weights in a run, over the layer's runs of two or more, in [0, 1];
            NaN without such runs.
        unit: `[runs]`, the unit of each run.
        start: `[runs]`, its first input.
        size: `[runs]`, its number of weights, at least 1.
        positive: `[runs]`, its share of positive weights, in [0, 1].
    """

    count: IntArray = field(metadata=PER_UNIT)
    mean_size: float
    positive_share: float
    unit: IntArray
    start: IntArray
    size: IntArray
    positive: FloatArray


@dataclass(frozen=True, eq=False)
class Gaps:
    """Distances between successive kept inputs of a unit; 1 for neighbours.

    Args:
        mean: `[units]`, mean gap of each unit; NaN below two kept inputs.
        layer_mean: Mean over all gaps of the layer; NaN without any.
        unit: `[gaps]`, the unit of each gap.
        gap: `[gaps]`, at least 1.
    """

    mean: FloatArray = field(metadata=PER_UNIT)
    layer_mean: float
    unit: IntArray
    gap: IntArray


def input_runs(weight: Array) -> Runs:
    """Find the runs of neighbouring kept inputs of every unit.

    Args:
        weight: `[units, inputs]` of a Linear layer; any other layer's units are flattened.

    Raises:
        SparsityError: If the array has fewer than two axes.
    """
    vectors = unit_vectors(weight)
    inputs = vectors.shape[1]
    steps = np.diff((vectors != 0).astype(np.int8), axis=1, prepend=0, append=0)
    unit, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    size = end - start
    before = np.zeros((len(vectors), inputs + 1), dtype=np.intp)  # positive weights left of each place
    np.cumsum(vectors > 0, axis=1, out=before[:, 1:])
    positive = (before[unit, end] - before[unit, start]) / size
    return Runs(
        count=np.bincount(unit, minlength=len(vectors)),
        mean_size=_mean(size),
        positive_share=_mean(positive[size > 1]),
        unit=unit,
        start=start,
        size=size,
        positive=positive,
    )


def input_gaps(weight: Array) -> Gaps:
    """Measure the distances between successive kept inputs of every unit.

    Args:
        weight: `[units, ...]`; a unit is flattened.

    Raises:
        SparsityError: If the array has fewer than two axes.
    """
    vectors = unit_vectors(weight)
    units, position = np.nonzero(vectors)
    same = units[1:] == units[:-1]
    unit, gap = units[1:][same], np.diff(position)[same]
    count = np.bincount(unit, minlength=len(vectors))
    total = np.bincount(unit, weights=gap, minlength=len(vectors))
    mean = np.divide(total, count, out=np.full(len(vectors), np.nan), where=count > 0)
    return Gaps(mean=mean, layer_mean=_mean(gap), unit=unit, gap=gap)


def weight_positions(weight: Array) -> IntArray:
    """The kept weights of a layer as pairs (unit, position in the flattened unit), `[kept, 2]`, in order."""
    return cast(IntArray, np.argwhere(unit_vectors(weight)))


def kept_per_input(weight: Array) -> IntArray:
    """How many units keep each input of a layer: `[inputs]` of a Linear, `[in, kh, kw]` of a Conv2d."""
    return cast(IntArray, np.count_nonzero(weight, axis=0))


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
