"""How many units each unit of a layer reads, and by how many it is read."""

from dataclasses import dataclass

import numpy as np

from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, FloatArray


@dataclass(frozen=True)
class Degrees:
    """The distribution of a degree over units, those of degree 0 among them.

    Args:
        mean: Of the degrees.
        variance: Of the degrees (over all units, not an estimate).
        largest: Of the degrees.
        gini: How unequal they are, see `gini`; 0 if all are 0.
    """

    mean: float
    variance: float
    largest: int
    gini: float


def unit_matrix(weight: Array, groups: int = 1) -> FloatArray:
    """How strongly each unit of a layer reads each unit before it: the layer's bipartite graph.

    A convolution's kernel is one edge, as heavy as the sum of its weights' magnitudes.

    Args:
        weight: `[units, inputs, ...]`, pruned weights 0.
        groups: Of a grouped convolution, whose units read different inputs.

    Returns:
        `[units, inputs * groups]`, not negative.

    Raises:
        SparsityError: If the units do not divide into groups.
    """
    kernels: FloatArray = np.abs(weight.astype(np.float64)).reshape(*weight.shape[:2], -1).sum(axis=2)
    units, inputs = kernels.shape
    if groups < 1 or units % groups:
        raise SparsityError(f"{units} units do not divide into {groups} groups")
    matrix = np.zeros((groups, units // groups, groups, inputs))
    own = np.arange(groups)
    matrix[own, :, own] = kernels.reshape(groups, units // groups, inputs)
    return matrix.reshape(units, groups * inputs)


def degrees(counts: Array) -> Degrees:
    """Describe degrees.

    Args:
        counts: `[units]`, whole numbers, not negative.
    """
    if not counts.size:
        return Degrees(float("nan"), float("nan"), 0, float("nan"))
    return Degrees(float(counts.mean()), float(counts.var()), int(counts.max()), gini(counts))


def gini(values: Array) -> float:
    """The Gini coefficient: half the mean absolute difference of two values over their mean, in [0, 1).

    Args:
        values: `[n]`, not negative.

    Returns:
        0 if all are equal or zero, towards 1 if one has everything.
    """
    ordered = np.sort(values.astype(np.float64))
    total = ordered.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, len(ordered) + 1)
    return float(((2 * ranks - len(ordered) - 1) * ordered).sum() / (len(ordered) * total))
