"""Multiply-adds of one sample, dense or of the kept weights only."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsity.analysis.forward import analysed_layers, observing, placement, refusing
from sparsity.errors import SparsityError
from sparsity.forward import evaluating


def output_positions(network: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """How often each layer's weights are applied to one sample, counted in a forward pass of zeros.

    Args:
        network: Any network; left unchanged (weights, buffers, mode, hooks).
        input_shape: Shape of one sample, without the batch axis.

    Returns:
        By name of each masked layer (of each Linear and Conv2d if the network has no masks): output height times
        width for a Conv2d, the product of the axes between batch and features for a Linear (1 normally). A layer
        that runs several times adds up, one that never runs has 0.

    Raises:
        SparsityError: If the network has no layer to count, or cannot take a sample of that shape.
    """
    layers = analysed_layers(network)
    positions = dict.fromkeys(layers, 0)

    def count(name: str, output: Tensor) -> None:
        features = output.shape[1] if isinstance(layers[name], nn.Conv2d) else output.shape[-1]
        # The batch is one sample, and modules may fold axes into it: everything but the features is a position.
        positions[name] += output.numel() // features

    device, dtype = placement(network)
    with evaluating(network), observing(layers, count), refusing(network, f"a sample of shape {tuple(input_shape)}"):
        network(torch.zeros((1, *input_shape), device=device, dtype=dtype))
    return positions


def flops(weights_per_layer: Mapping[str, int], positions: Mapping[str, int]) -> int:
    """Multiply-adds of one sample: each layer's number of weights times the positions where they are applied.

    Right for grouped convolutions too, whose weights each see one input channel. Biases and normalisation are left
    out, as is usual.

    Args:
        weights_per_layer: Number of weights to count by layer: the kept ones, or all for the dense network.
        positions: From `output_positions`; may name more layers.

    Raises:
        SparsityError: If a layer has no number of positions.
    """
    if unknown := [name for name in weights_per_layer if name not in positions]:
        raise SparsityError(f"no output positions are given for layer {unknown[0]!r}; there are {list(positions)}")
    return sum(int(count) * positions[name] for name, count in weights_per_layer.items())
