"""The shapes of convolution kernels' supports: connected components and the most common patterns."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sparsity.analysis.records import PER_UNIT
from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class KernelClusters:
    """Connected components of the kept weights of every kernel.

    Args:
        score: `[units]`, mean cluster score of a filter's kernels, in [0, 1].
        mean_score: Mean over the layer's filters; NaN without filters.
        kernel_score: `[units, in]`, cluster score of each kernel, in [0, 1].
        components: `[units, in]`, number of components of each kernel.
        size: `[all components]`, number of weights of each, kernel by kernel.
    """

    score: FloatArray = field(metadata=PER_UNIT)
    mean_score: float
    kernel_score: FloatArray
    components: IntArray
    size: IntArray


@dataclass(frozen=True, eq=False)
class CommonKernels:
    """The most frequent 0/1 patterns of kernels.

    Args:
        patterns: `[n, kh, kw]`, uint8, 1 where a weight is kept; the most frequent first.
        counts: `[n]`, how many kernels have each pattern.
        total: Number of kernels looked at.
    """

    patterns: npt.NDArray[np.uint8]
    counts: IntArray
    total: int


def kernel_clusters(weight: Array, neighbours: Literal[4, 8] = 8, cluster_size: int = 1) -> KernelClusters:
    """Find the connected components of every kernel and score how clustered its weights are.

    A kernel's score is the share of its components that have more than `cluster_size` weights. As the thesis has
    it, a kernel without weights or with isolated ones only scores 0, one whose weights (two or more) all hang
    together 1.

    Args:
        weight: `[units, in, kh, kw]`.
        neighbours: 4, weights touching along an edge ("manhattan"), or 8, corners too ("euclidean").
        cluster_size: Components have to be larger than this to count as clusters; at least 1.

    Raises:
        SparsityError: If the array has not four axes, or an argument is out of range.
    """
    if weight.ndim != 4:
        raise SparsityError(f"only convolutions have kernels, [units, in, kh, kw]; this layer is {list(weight.shape)}")
    if neighbours not in (4, 8) or cluster_size < 1:
        raise SparsityError(
            "clusters need 4 or 8 neighbours and a cluster size of at least 1, "
            f"not neighbours={neighbours}, cluster_size={cluster_size}"
        )
    units, inputs, height, width = weight.shape
    kernels = weight.reshape(units * inputs, height, width) != 0
    # Three planes of which only the middle one connects: kernels stacked along the first axis stay apart.
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    labels, found = ndimage.label(kernels, structure)
    size = np.bincount(labels.ravel(), minlength=found + 1)[1:]
    kernel_of = np.zeros(found, dtype=np.intp)
    kernel_of[labels[kernels] - 1] = np.nonzero(kernels)[0]
    components = np.bincount(kernel_of, minlength=len(kernels))
    large = np.bincount(kernel_of[size > cluster_size], minlength=len(kernels))
    score = np.divide(large, components, out=np.zeros(len(kernels)), where=components > 0)
    score[(components == 1) & (kernels.sum(axis=(1, 2)) > 1)] = 1.0
    kernel_score = score.reshape(units, inputs)
    return KernelClusters(
        score=kernel_score.mean(axis=1) if inputs else np.zeros(units),
        mean_score=float(kernel_score.mean()) if kernel_score.size else float("nan"),
        kernel_score=kernel_score,
        components=components.reshape(units, inputs),
        size=size,
    )


def common_kernels(weights: Iterable[Array], kernel_size: tuple[int, int] = (3, 3), top: int = 30) -> CommonKernels:
    """Count the 0/1 patterns of all kernels of one size, over any number of layers.

    Args:
        weights: Layers' weights; those that are not convolutions with this kernel size are passed over.
        kernel_size: `(kh, kw)`.
        top: How many patterns to return; equal counts in the patterns' lexical order.

    Raises:
        SparsityError: If no layer has kernels of this size.
    """
    fitting = [w.reshape(-1, *kernel_size) for w in weights if w.ndim == 4 and w.shape[2:] == kernel_size]
    if not fitting:
        raise SparsityError(f"no layer has kernels of {kernel_size[0]} x {kernel_size[1]}")
    kernels = (np.concatenate(fitting) != 0).reshape(sum(map(len, fitting)), -1)
    # Bits packed into bytes compare in the patterns' own order, and one opaque item per kernel sorts fast.
    packed = np.packbits(kernels, axis=1)
    items = packed.view([("bits", f"V{packed.shape[1]}")]).ravel()
    _, first, counts = np.unique(items, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:top]
    patterns = kernels[first[order]].reshape(-1, *kernel_size).astype(np.uint8)
    return CommonKernels(patterns, counts[order], len(kernels))
