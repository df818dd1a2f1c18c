"""What the analysis reads from a network: effective weights and masks as arrays, by layer name."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparsity.errors import NonFiniteError, SparsityError
from sparsity.forward.non_finite import layer_in_words
from sparsity.graph.layers import analysed

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

Weights = Mapping[str, Array]
"""Effective weights by name, `[units, inputs, ...]`: `[out, in]` of a Linear, `[out, in, kh, kw]` of a Conv2d."""


def layer_weights(network: nn.Module) -> dict[str, Array]:
    """The effective weights, `weight * mask`, of a network's masked layers.

    Args:
        network: Any network; one without masks gives all its weights that could be masked.

    Returns:
        Copies by the weight's name, in the order in which the network registers its layers, with one unit in each
        row whatever the layer: `[out, in]` of a Linear, `[out, in, kh, kw]` of a Conv2d, transposed or not.

    Raises:
        SparsityError: If the network has no such layer.
        NonFiniteError: If a weight is NaN or infinite.
    """
    weights = {}
    for name, place in analysed(network).items():
        weight = place.weight.detach()
        # masked_fill and not a product: 0 * inf would be NaN, and a pruned weight does not count whatever it holds.
        effective = weight.masked_fill(~place.mask, 0) if place.has_mask else weight
        weights[name] = _to_numpy(place.by_unit(effective))
    return _checked(weights)


def layer_masks(network: nn.Module | Weights) -> dict[str, BoolArray]:
    """Which weights are kept, by layer name; without masks (a map, a plain network) those that are not zero.

    Args:
        network: A network, or effective weights by layer name.

    Raises:
        SparsityError: As `layer_weights`.
    """
    if not isinstance(network, nn.Module):
        return {name: weight != 0 for name, weight in as_weights(network).items()}
    return {
        name: _to_numpy(place.by_unit(place.mask if place.has_mask else place.weight.detach() != 0))
        for name, place in analysed(network).items()
    }


def as_weights(network: nn.Module | Weights) -> dict[str, Array]:
    """Effective weights of a network, or the given map after a check.

    Raises:
        SparsityError: If there is no layer, or one is not an array of at least two axes.
        NonFiniteError: If a weight is NaN or infinite.
    """
    if isinstance(network, nn.Module):
        return layer_weights(network)
    if not network:
        raise SparsityError("there are no layers to analyse; give at least one array of weights by layer name")
    return _checked({name: np.asarray(weight) for name, weight in network.items()})


def unit_vectors(weight: Array) -> FloatArray:
    """A layer's units as float64 vectors, `[units, ...]` to `[units, n]`.

    Raises:
        SparsityError: If the array has fewer than two axes.
    """
    if weight.ndim < 2:
        raise SparsityError(f"a layer's weights have the shape [units, ...], not {list(weight.shape)}")
    return weight.reshape(len(weight), math.prod(weight.shape[1:])).astype(np.float64)


def _to_numpy(tensor: Tensor) -> Array:
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.float()  # NumPy has no bfloat16
    array: Array = tensor.cpu().numpy()
    return array.copy()


def _checked(weights: dict[str, Array]) -> dict[str, Array]:
    for name, weight in weights.items():
        if weight.ndim < 2:
            raise SparsityError(f"the weights of layer {name!r} have the shape [units, ...], not {list(weight.shape)}")
        if not np.isfinite(weight).all():
            raise NonFiniteError(
                f"{layer_in_words(name)} has a weight that is NaN or infinite; analyse an earlier checkpoint"
            )
    return weights
