"""Fully connected networks."""

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import nn

from sparsity.errors import require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights


class FC(nn.Sequential):
    """Linear layers with ReLU between them; the default is the 6-layer network of 119,400 weights for MNIST.

    Maps images `[batch, *input_shape]` to logits `[batch, num_classes]`.

    Args:
        input_shape: `[channels, height, width]`, or `[features]`, of one sample.
        num_classes: Number of outputs.
        depth: Number of Linear layers.
        width: Units of every hidden layer.
        bias: Which layers have a bias: all, the hidden ones, or none.
        init: How weights start, see `initialise_weights`.

    Raises:
        SparsityError: If a size is not positive.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...] = (1, 28, 28),
        num_classes: int = 10,
        depth: int = 6,
        width: int = 100,
        bias: Literal["all", "hidden", "none"] = "hidden",
        init: WeightInit = "kaiming_normal",
    ) -> None:
        require_sizes("an FC network", input_shape=input_shape, num_classes=num_classes, depth=depth, width=width)
        units = [math.prod(input_shape)] + [width] * (depth - 1) + [num_classes]
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        for number, (fan_in, fan_out) in enumerate(pairwise(units), start=1):
            is_output = number == depth
            has_bias = bias == "all" or (bias == "hidden" and not is_output)
            layers[f"fc{number}"] = nn.Linear(fan_in, fan_out, bias=has_bias)
            if not is_output:
                layers[f"relu{number}"] = nn.ReLU()
        super().__init__(OrderedDict(layers))
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        initialise_weights(self, init)
