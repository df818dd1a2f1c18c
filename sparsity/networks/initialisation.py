"""How the weights of Linear and Conv2d layers start."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from sparsity.masks import maskable

WeightInit = Literal["standard", "kaiming_normal", "kaiming_uniform", "signed_constant"]


@torch.no_grad()
def initialise_weights(network: nn.Module, init: WeightInit) -> None:
    """Draw the weights of every Linear and Conv2d anew, from torch's global generator; biases stay as they are.

    Args:
        network: Changed in place.
        init: `standard` keeps PyTorch's own draw; `kaiming_normal` and `kaiming_uniform` have variance 2 / fan_in
            (He et al. 2015, fan-in mode, ReLU gain); `signed_constant` is `sign(w) * sqrt(2 / fan_in)` of the
            standard draw (Ramanujan et al. 2020, Sreenivasan et al. 2022).
    """
    if init == "standard":
        return
    for layer in maskable(network).values():
        weight = layer.get_parameter("weight")
        if init == "kaiming_normal":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        elif init == "kaiming_uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
        else:
            make_signed_constant(weight)


@torch.no_grad()
def make_signed_constant(weight: Tensor) -> None:
    """Replace a weight `[out, in, ...]` in place by `sign(weight) * sqrt(2 / fan_in)`, zeros staying zero."""
    fan_in = weight[0].numel()
    weight.sign_().mul_(math.sqrt(2 / fan_in))
