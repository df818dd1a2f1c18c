"""How alike images are to a layer: centred kernels over images, whose inner products are debiased HSIC and give CKA."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sparsity.graph.weights import FloatArray

FEWEST = 4
"""Images without which debiased HSIC is not defined."""

BANDWIDTH = 0.8
"""Of the RBF kernel, in medians of the distances; of the three that Kornblith et al. 2019 tried the best (table 2)."""


def centred(features: FloatArray) -> FloatArray:
    """Features less their means; exactly 0 for one that does not vary.

    Args:
        features: `[n, features]`.
    """
    apart: FloatArray = features - features.mean(axis=0)
    apart[:, features.max(axis=0) == features.min(axis=0)] = 0  # their mean is rounded
    return apart


def linear_kernel(features: FloatArray) -> FloatArray:
    """Inner products of centred samples.

    Args:
        features: `[n, features]`.

    Returns:
        `[n, n]`; exactly 0 if no feature varies.
    """
    apart = centred(features)
    return apart @ apart.T


def rbf_kernel(features: FloatArray) -> FloatArray:
    """`exp(-d^2 / 2 s^2)` of the distances d of samples, s `BANDWIDTH` medians of those that are not 0.

    Args:
        features: `[n, features]`.

    Returns:
        `[n, n]`; exactly 1 if no feature varies.
    """
    return _rbf(linear_kernel(features))


def _rbf(products: FloatArray) -> FloatArray:
    squares = np.diag(products)
    distances = squares[:, None] + squares[None, :] - 2 * products
    distances[distances < 1e-12 * squares.max()] = 0  # what rounding leaves between equal samples
    positive = distances[distances > 0]
    if not positive.size:
        return np.ones_like(products)
    kernel: FloatArray = np.exp(-distances / (2 * BANDWIDTH**2 * np.median(np.sqrt(positive)) ** 2))
    return kernel


def u_centred(kernel: FloatArray) -> FloatArray:
    """A kernel with zero diagonal and rows that sum to zero, so that `<U(K), U(L)> / n (n - 3)` is debiased HSIC.

    That is HSIC_1 of Song et al. 2012, "Feature Selection via Dependence Maximization", eq. 5, with its terms gathered.

    Args:
        kernel: `[n, n]`, n at least `FEWEST`.
    """
    n = len(kernel)
    bare = kernel - np.diag(np.diag(kernel))
    sums = bare.sum(axis=1) / (n - 2)
    rest: FloatArray = bare - sums[:, None] - sums[None, :] + sums.sum() / (n - 1)
    np.fill_diagonal(rest, 0)
    if np.abs(rest).max() <= 1e-14 * np.abs(kernel).max():  # rounding, of a kernel without any structure
        return np.zeros_like(kernel)
    return rest


def cka(hsic: float, of_a: float, of_b: float) -> float:
    """Centred kernel alignment from HSIC of two networks and of each with itself; 0 if one of them never varies."""
    scale = np.sqrt(max(of_a, 0.0)) * np.sqrt(max(of_b, 0.0))
    return float(hsic / scale) if scale > 0 else 0.0


class LayerKernels:
    """Of one layer of several networks: debiased HSIC of every two, as a mean over batches of images.

    Each batch's is an unbiased estimate of the whole set's, so their mean is one as well, whatever the batches' size
    (Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", section 3). A batch of fewer than `FEWEST`
    images tells nothing and is left out.

    Args:
        networks: Their names.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = list(networks)
        self._linear = np.zeros((len(networks), len(networks)))
        self._rbf = np.zeros((len(networks), len(networks)))
        self._images = 0

    def add(self, features: Mapping[str, FloatArray]) -> None:
        """Take in a batch: `[images, features]` of each network."""
        images = len(features[self._networks[0]])
        if images < FEWEST:
            return
        products = [linear_kernel(features[network]) for network in self._networks]
        self._linear += _hsics(products) * images
        self._rbf += _hsics([_rbf(kernel) for kernel in products]) * images
        self._images += images

    def linear_cka(self, a: str, b: str) -> float:
        """In [-1, 1], near 0 or a little below for unrelated networks; NaN if no batch was large enough."""
        return self._cka(self._linear, a, b)

    def rbf_cka(self, a: str, b: str) -> float:
        """As `linear_cka`, with every batch's own bandwidth."""
        return self._cka(self._rbf, a, b)

    def _cka(self, sums: FloatArray, a: str, b: str) -> float:
        if not self._images:
            return float("nan")
        i, j = self._networks.index(a), self._networks.index(b)
        return cka(sums[i, j], sums[i, i], sums[j, j])


def cka_of(kernel: Callable[[FloatArray], FloatArray], a: FloatArray, b: FloatArray) -> float:
    """Debiased CKA of two sets of features of the same samples, all in one batch.

    Args:
        kernel: Of features.
        a: `[n, features]`, n at least `FEWEST`.
        b: `[n, features]`, their number may differ.
    """
    hsics = _hsics([kernel(a), kernel(b)])
    return cka(hsics[0, 1], hsics[0, 0], hsics[1, 1])


def _hsics(kernels: Sequence[FloatArray]) -> FloatArray:
    n = len(kernels[0])
    flat = np.stack([u_centred(kernel).ravel() for kernel in kernels])
    products: FloatArray = flat @ flat.T / (n * (n - 3))
    return products
