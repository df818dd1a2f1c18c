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
from sparsity.graph.layers import analysed_layers, weight_of
from sparsity.masks import MASK

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

Weights = Mapping[str, Array]
"""Effective weights by layer name in forward order: `[out, in]` of a Linear, `[out, in, kh, kw]` of a Conv2d."""


def layer_weights(network: nn.Module) -> dict[str, Array]:
    """The effective weights, `weight * mask`, of a network's masked layers.

    Args:
        network: Any network; one without masks gives all its Linear and Conv2d layers.

    Returns:
        Copies by layer name, in the order in which the network registers its layers: `[out, in]` of a Linear,
        `[out, in, kh, kw]` of a Conv2d.

    Raises:
        SparsityError: If the network has no such layer.
        NonFiniteError: If a weight is NaN or infinite.
    """
    weights = {}
    for name, layer in analysed_layers(network).items():
        weight = weight_of(layer).detach()
        mask = layer._buffers.get(MASK)
        # masked_fill and not a product: 0 * inf would be NaN, and a pruned weight does not count whatever it holds.
        weights[name] = _to_numpy(weight if mask is None else weight.masked_fill(~mask, 0))
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
        name: _to_numpy(layer.get_buffer(MASK)) if MASK in layer._buffers else _to_numpy(weight_of(layer).detach()) != 0
        for name, layer in analysed_layers(network).items()
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
