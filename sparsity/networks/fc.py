"""Fully connected networks."""

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import nn

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights

_DEPTH, _WIDTH = 6, 100


class FC(nn.Sequential):
    """Linear layers with ReLU between them; the default is the 6-layer network of 119,400 weights for MNIST.

    Maps images `[batch, *input_shape]` to logits `[batch, num_classes]`. LeNet-300-100 (LeCun et al. 1998), the network
    of much of the pruning literature, is `FC(widths=[300, 100])`.

    Args:
        input_shape: `[channels, height, width]`, or `[features]`, of one sample.
        num_classes: Number of outputs.
        depth: Number of Linear layers.
        width: Units of every hidden layer.
        bias: Which layers have a bias: all, the hidden ones, or none.
        init: How weights start, see `initialise_weights`.
        widths: Units of each hidden layer, in order, where they differ; instead of `depth` and `width`.

    Raises:
        SparsityError: If a size is not positive, or `widths` comes together with `depth` or `width`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...] = (1, 28, 28),
        num_classes: int = 10,
        depth: int = _DEPTH,
        width: int = _WIDTH,
        bias: Literal["all", "hidden", "none"] = "hidden",
        init: WeightInit = "kaiming_normal",
        widths: list[int] | None = None,
    ) -> None:
        require_sizes("an FC network", input_shape=input_shape, num_classes=num_classes, depth=depth, width=width)
        # A complete config names every option, so that a default beside `widths` is no second wish.
        if widths is not None and (depth, width) != (_DEPTH, _WIDTH):
            raise SparsityError(
                f"an FC network takes widths={list(widths)} or depth={depth} and width={width}, not both; leave one out"
            )
        if widths is None:
            widths = [width] * (depth - 1)
        require_sizes("an FC network", widths=widths)
        units = [math.prod(input_shape), *widths, num_classes]
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        for number, (fan_in, fan_out) in enumerate(pairwise(units), start=1):
            is_output = number == len(widths) + 1
            has_bias = bias == "all" or (bias == "hidden" and not is_output)
            layers[f"fc{number}"] = nn.Linear(fan_in, fan_out, bias=has_bias)
            if not is_output:
                layers[f"relu{number}"] = nn.ReLU()
        super().__init__(OrderedDict(layers))
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        initialise_weights(self, init)
