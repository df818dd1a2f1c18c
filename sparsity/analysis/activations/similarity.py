"""Similarity of representations: do two layers tell the same images apart, whatever their units are called?

Correlations compare units one by one; these numbers compare what all units of a layer say together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np
from torch import Tensor, nn

from sparsity.analysis.activations.kernels import FEWEST, centred, cka_of, linear_kernel, rbf_kernel
from sparsity.analysis.activations.moments import LayerMoments
from sparsity.analysis.activations.responses import Point
from sparsity.analysis.activations.statistics import ResponseStatistics, response_statistics
from sparsity.errors import SparsityError
from sparsity.graph.weights import FloatArray

SVCCA_VARIANCE = 0.99
"""The share of the variance that the directions explain which SVCCA compares, as its authors have it."""


@dataclass(frozen=True)
class Similarity:
    """Of two layers, or the means over a network's layers.

    Every number is 0 if one of the two never varies: it tells no two images apart, and shares that with nobody. Units
    that do not vary take no part.

    Args:
        linear_cka: Debiased, images as samples; at most 1. NaN for fewer than four images.
        rbf_cka: The same with a Gaussian kernel.
        procrustes: In [0, 1], images and positions as samples.
        svcca: In [0, 1], likewise.
    """

    linear_cka: float
    rbf_cka: float
    procrustes: float
    svcca: float


@dataclass(frozen=True, eq=False)
class RepresentationSimilarity:
    """Of two networks, layer by layer.

    Args:
        layers: By layer name of the first network, in order.
        mean: Means over the layers.
    """

    layers: dict[str, Similarity]
    mean: Similarity


def linear_cka(a: FloatArray, b: FloatArray) -> float:
    """Debiased centred kernel alignment with inner products as kernel; 1 for `b = s a R`, R orthogonal, s not 0.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", with the unbiased HSIC of Song et
    al. 2012 in place of the biased one, which tends to 1 for fewer samples than features whatever they are.

    Args:
        a: `[n, features]`, n at least 4.
        b: `[n, features]` of the same samples; the number of features may differ.

    Raises:
        SparsityError: If samples differ in number, are too few, or a feature is NaN or infinite.
    """
    return cka_of(linear_kernel, *_checked(a, b, FEWEST))


def rbf_cka(a: FloatArray, b: FloatArray) -> float:
    """As `linear_cka` with a Gaussian kernel, 0.8 medians of the samples' distances wide."""
    return cka_of(rbf_kernel, *_checked(a, b, FEWEST))


def procrustes_similarity(a: FloatArray, b: FloatArray) -> float:
    """The nuclear norm of the cross-covariance of centred features of unit norm, in [0, 1].

    It is 1 less half the orthogonal Procrustes distance of Ding et al. 2021, "Grounding Representation Similarity with
    Statistical Testing": how well the best rotation makes one of the other. 1 for `b = s a R`.

    Args:
        a: `[n, features]`.
        b: `[n, features]` of the same samples; the number of features may differ.

    Raises:
        SparsityError: As `linear_cka`.
    """
    x, y = map(centred, _checked(a, b, 1))
    return _procrustes(x.T @ y, float(np.linalg.norm(x) * np.linalg.norm(y)))


def svcca(a: FloatArray, b: FloatArray, variance: float = SVCCA_VARIANCE) -> float:
    """Mean correlation of canonical directions within those that explain most variance, in [0, 1].

    Raghu et al. 2017, "SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and
    Interpretability". With all of the variance it is plain CCA, the same under any invertible linear map. It needs many
    more samples than there are directions: with fewer it is 1.

    Args:
        a: `[n, features]`.
        b: `[n, features]` of the same samples; the number of features may differ.
        variance: The share that the directions explain, in (0, 1].

    Raises:
        SparsityError: As `linear_cka`, and if the share is not in (0, 1].
    """
    if not 0 < variance <= 1:
        raise SparsityError(f"the share of variance is above 0 and at most 1, not {variance}")
    x, y = map(centred, _checked(a, b, 1))
    return _svcca(_whitening(x.T @ x, variance), x.T @ y, _whitening(y.T @ y, variance))


def representation_similarity(
    network_a: nn.Module, network_b: nn.Module, images: Tensor, point: Point = "post", batch_size: int = 32
) -> RepresentationSimilarity:
    """Compare what two networks make of the same images, layer by layer.

    CKA takes images as samples and all of a layer's numbers as features, and is a mean over batches
    (Nguyen et al. 2021), so that sets of any size pass through; a last batch of fewer than four images is left out of
    it. Procrustes and SVCCA take images and a convolution's positions as samples and its units as features.

    Args:
        network_a: Any network; left unchanged.
        network_b: Another with as many layers and units, paired in forward order; left unchanged.
        images: `[n, *input_shape]`, best some hundreds.
        point: As in `responses`.
        batch_size: Images at a time, at least 4; as many as there are give CKA of the whole set at once.

    Raises:
        SparsityError: As `activation_correlation`.
    """
    statistics = response_statistics({"a": network_a, "b": network_b}, images, point, batch_size)
    (found,) = similarities_of(statistics).values()
    return found


def similarities_of(statistics: ResponseStatistics) -> dict[tuple[str, str], RepresentationSimilarity]:
    """Of every two networks, by their names in order.

    Args:
        statistics: Of the networks' responses to the same images.
    """
    layers = statistics.layers
    whitenings = [
        {network: _whitening(moments.products(network), SVCCA_VARIANCE) for network in layers}
        for moments in statistics.moments
    ]
    found = {}
    for a, b in combinations(layers, 2):
        of_layers = {}
        for place, name in enumerate(layers[a]):
            moments, kernels, white = statistics.moments[place], statistics.kernels[place], whitenings[place]
            cross = moments.cross_products(a, b)
            of_layers[name] = Similarity(
                linear_cka=kernels.linear_cka(a, b),
                rbf_cka=kernels.rbf_cka(a, b),
                procrustes=_procrustes(cross, _norm(moments, a) * _norm(moments, b)),
                svcca=_svcca(white[a], cross, white[b]),
            )
        found[a, b] = RepresentationSimilarity(of_layers, _mean(of_layers))
    return found


def _mean(layers: Mapping[str, Similarity]) -> Similarity:
    names = [field.name for field in fields(Similarity)]
    return Similarity(**{n: float(np.mean([getattr(layer, n) for layer in layers.values()])) for n in names})


def _norm(moments: LayerMoments, network: str) -> float:
    return float(np.sqrt(np.trace(moments.products(network))))


def _procrustes(cross: FloatArray, scale: float) -> float:
    return min(float(np.linalg.svd(cross, compute_uv=False).sum()) / scale, 1.0) if scale > 0 else 0.0


def _whitening(products: FloatArray, variance: float) -> FloatArray:
    """`[features, directions]`, on which features are uncorrelated and of norm 1, those of most variance."""
    values, vectors = np.linalg.eigh(products)
    values, vectors = values[::-1], vectors[:, ::-1]
    real = int((values > len(values) * np.finfo(np.float64).eps * max(values[0], 0)).sum())
    if not real:
        return vectors[:, :0]
    explained = np.cumsum(values[:real]) / values[:real].sum()
    directions = real if variance == 1 else int(np.searchsorted(explained, variance)) + 1
    whitening: FloatArray = vectors[:, :directions] / np.sqrt(values[:directions])
    return whitening


def _svcca(of_a: FloatArray, cross: FloatArray, of_b: FloatArray) -> float:
    if not of_a.size or not of_b.size:
        return 0.0
    return float(np.clip(np.linalg.svd(of_a.T @ cross @ of_b, compute_uv=False), 0, 1).mean())


def _checked(a: FloatArray, b: FloatArray, fewest: int) -> tuple[FloatArray, FloatArray]:
    a, b = (np.asarray(features, dtype=np.float64) for features in (a, b))
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < fewest:
        raise SparsityError(
            f"give features [n, features] of the same samples, at least {fewest}; these are shaped {list(a.shape)} "
            f"and {list(b.shape)}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise SparsityError("a feature is NaN or infinite, and no similarity is defined then")
    return a, b
