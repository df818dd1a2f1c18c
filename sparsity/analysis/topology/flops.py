"""Multiply-adds of one sample, dense or of the kept weights only."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.forward.passes import evaluating
from sparsity.graph.layers import counted_layers, observing, placement, refusing
from sparsity.graph.uses import WeightUses
from sparsity.masks import masked


class UncountedError(SparsityError):
    """Multiply-adds that are not known, with the first weight whose are not."""


def output_positions(network: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """How often each layer's weights are applied to one sample, counted in a forward pass of zeros.

    Args:
        network: Any network; left unchanged (weights, buffers, mode, hooks).
        input_shape: Shape of one sample, without the batch axis.

    Returns:
        By name of each Linear, Conv2d and masked layer: output height times width for a Conv2d, the product of the
        axes between batch and features for a Linear (1 normally). A layer that runs several times adds up, one that
        never runs has 0. One without mask that shares a masked layer's weight adds to that layer.

    Raises:
        UncountedError: If other weights take part in products, as those of recurrent layers and attention do.
        SparsityError: If the network has no layer to count, or cannot take a sample of that shape.
    """
    layers = counted_layers(network)
    positions = dict.fromkeys(layers, 0)
    owners = {id(place.stored): name for name, place in masked(network).items()}

    def count(name: str, output: Tensor) -> None:
        features = output.shape[-1] if isinstance(layers[name], nn.Linear) else output.shape[1]
        owner = owners.get(id(layers[name]._parameters.get("weight")), name)
        # The batch is one sample, and modules may fold axes into it: everything but the features is a position.
        positions[owner] += output.numel() // features

    device, dtype = placement(network)
    uses, given = WeightUses(network, layers.values()), f"a sample of shape {tuple(input_shape)}"
    with evaluating(network), observing(layers, count), uses, refusing(network, given):
        network(torch.zeros((1, *input_shape), device=device, dtype=dtype))
    if uses.in_products:
        raise UncountedError(
            f"the multiply-adds of {type(network).__name__} are not known, since {uses.in_products[0]} takes part "
            "outside of a Linear or Conv2d layer; they are left out"
        )
    return positions


def known_positions(network: nn.Module, input_shape: Sequence[int] | None) -> dict[str, int] | None:
    """As `output_positions`, or None and a warning that says why they are not known.

    Args:
        network: Any network; left unchanged.
        input_shape: Shape of one sample; None if nobody knows.
    """
    try:
        if input_shape is None:
            raise UncountedError(
                f"the multiply-adds of {type(network).__name__} are not known, since nothing says what a sample looks "
                "like; they are left out (example_input_array would say it)"
            )
        return output_positions(network, input_shape)
    except UncountedError as error:
        warnings.warn(str(error), stacklevel=1)  # from one place, so that Python says it once
    except SparsityError as error:
        warnings.warn(f"multiply-adds are left out: {error}", stacklevel=1)
    return None


def flops(weights_per_layer: Mapping[str, int], positions: Mapping[str, int]) -> int:
    """Multiply-adds of one sample: each layer's number of weights times the positions where they are applied.

    Right for grouped convolutions too, whose weights each see one input channel. Biases, normalisation, and products
    of activations with each other are left out, as is usual.

    Args:
        weights_per_layer: Number of weights to count by layer: the kept ones, or all for the dense network.
        positions: From `output_positions`; may name more layers.

    Raises:
        SparsityError: If a layer has no number of positions.
    """
    if unknown := [name for name in weights_per_layer if name not in positions]:
        raise SparsityError(f"no output positions are given for layer {unknown[0]!r}; there are {list(positions)}")
    return sum(int(count) * positions[name] for name, count in weights_per_layer.items())
