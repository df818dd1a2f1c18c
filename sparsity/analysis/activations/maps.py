"""What units look at, as images: weights summed over the image, most exciting patches, feature maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.analysis.activations.responses import Point, require_seen, seen_responses, unit_axis
from sparsity.analysis.records import PER_UNIT
from sparsity.errors import SparsityError
from sparsity.graph.layers import analysed, parameter_names, without_parametrisations
from sparsity.graph.reachability import receptive_fields
from sparsity.graph.sample import trace_of
from sparsity.graph.weights import Array, FloatArray, IntArray
from sparsity.masks import Place


@dataclass(frozen=True, eq=False)
class ExcitingPatches:
    """For every unit of a layer, the part of an image that it answers to most.

    The patch of unit u is `images[image[u], :, top[u]:bottom[u], left[u]:right[u]]`: its receptive field, clipped to
    the image.

    Args:
        response: `[units]`, the highest response.
        image: `[units]`, index of the image that has it.
        top: `[units]`, first row.
        bottom: `[units]`, row after the last.
        left: `[units]`, first column.
        right: `[units]`, column after the last.
    """

    response: FloatArray = field(metadata=PER_UNIT)
    image: IntArray = field(metadata=PER_UNIT)
    top: IntArray = field(metadata=PER_UNIT)
    bottom: IntArray = field(metadata=PER_UNIT)
    left: IntArray = field(metadata=PER_UNIT)
    right: IntArray = field(metadata=PER_UNIT)


def first_layer_map(weight: Array, input_shape: Sequence[int]) -> Array:
    """Sum a first layer's weights over its units, as an image.

    Give their absolute values, or `weight != 0`, to see strength or number of connections.

    Args:
        weight: `[units, inputs]` of a Linear on flattened images, or `[units, channels, kh, kw]` of a Conv2d.
        input_shape: `[channels, height, width]` of one image.

    Returns:
        `[channels, height, width]` for a Linear, `[channels, kh, kw]` for a Conv2d.

    Raises:
        SparsityError: If the layer does not take images of this shape.
    """
    total: Array = weight.sum(axis=0)
    if weight.ndim > 2 and weight.shape[1] == input_shape[0]:
        return total
    if weight.ndim == 2 and weight.shape[1] == np.prod(input_shape):
        return total.reshape(tuple(input_shape))
    raise SparsityError(f"a layer {list(weight.shape)} is not the first to see images of shape {list(input_shape)}")


def feature_maps(network: nn.Module, images: Tensor, layer: str, point: Point = "post") -> Array:
    """The responses of one layer's units to a batch of images.

    Args:
        network: Any network; left unchanged.
        images: `[batch, *input_shape]`.
        layer: Name of a masked layer.
        point: As in `responses`.

    Returns:
        `[batch, units, height, width]` of a Conv2d, `[batch, ..., units]` of a Linear.

    Raises:
        SparsityError: If there is no such layer or the images do not fit.
    """
    _place(network, layer)
    maps: Array = _answers(network, images, layer, point).float().cpu().numpy()
    return maps


def exciting_patches(network: nn.Module, images: Tensor, layer: str, batch_size: int = 64) -> ExcitingPatches:
    """Find the patch of the given images that excites each unit of a layer most.

    Compared are the layer's own answers before the nonlinearity (`pre`), which every nonlinearity in use orders
    alike, at every position.

    Args:
        network: Any network; left unchanged.
        images: `[n, channels, height, width]`.
        layer: Name of a masked layer.
        batch_size: Images at a time; a matter of memory only.

    Raises:
        SparsityError: If there is no such layer, or the images are none or do not fit.
    """
    axis = unit_axis(_place(network, layer))
    if images.ndim != 4 or len(images) == 0:
        raise SparsityError(f"patches are cut from images [n, channels, height, width], not {list(images.shape)}")
    highest, image, place = [], [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        answers = _answers(network, batch, layer, "pre").cpu().double()
        answers = answers.movedim(axis, 0).flatten(2) if answers.ndim > 2 else answers.T[:, :, None]
        units, count, places = answers.shape  # [units, batch, positions]
        values, index = answers.reshape(units, count * places).max(dim=1)
        highest.append(values)
        image.append(index // places + start)
        place.append(index % places)
    best = torch.stack(highest).argmax(dim=0, keepdim=True)
    response, where, position = (torch.stack(found).gather(0, best)[0] for found in (highest, image, place))
    top, bottom, left, right = _fields(network, layer, tuple(images.shape[1:]), position)
    return ExcitingPatches(response.numpy(), where.numpy(), top, bottom, left, right)


def _fields(
    network: nn.Module, layer: str, input_shape: tuple[int, ...], position: Tensor
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """The receptive fields of positions in a layer's output: what their gradient reaches in the dense network."""
    distinct, which = torch.unique(position, return_inverse=True)
    plain = without_parametrisations(network)
    weight = parameter_names(plain)[_place(plain, layer).weight]
    fields = receptive_fields(trace_of(plain, input_shape), weight, distinct.tolist())
    seen = fields.any(dim=1).numpy()[which.numpy()]
    rows, columns = seen.any(axis=2), seen.any(axis=1)
    return (
        rows.argmax(axis=1),
        rows.shape[1] - rows[:, ::-1].argmax(axis=1),
        columns.argmax(axis=1),
        columns.shape[1] - columns[:, ::-1].argmax(axis=1),
    )


def _answers(network: nn.Module, images: Tensor, layer: str, point: Point) -> Tensor:
    seen = seen_responses(network, images, point)
    require_seen(seen, layer, network)
    return seen[layer]


def _place(network: nn.Module, name: str) -> Place:
    places = analysed(network)
    if name not in places:
        raise SparsityError(f"no layer is called {name!r}; there are {list(places)}")
    return places[name]
