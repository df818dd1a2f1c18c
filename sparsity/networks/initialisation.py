"""How the weights of a network start."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from sparsity.masks import maskable

WeightInit = Literal["standard", "kaiming_normal", "kaiming_uniform", "signed_constant"]


@torch.no_grad()
def initialise_weights(network: nn.Module, init: WeightInit) -> None:
    """Draw all weights that can be masked anew, from torch's global generator; biases stay as they are.

    Args:
        network: Changed in place.
        init: `standard` keeps PyTorch's own draw; `kaiming_normal` and `kaiming_uniform` have variance 2 / fan_in
            (He et al. 2015, fan-in mode, ReLU gain); `signed_constant` is `sign(w) * sqrt(2 / fan_in)` of the
            standard draw (Ramanujan et al. 2020, Sreenivasan et al. 2022).
    """
    if init == "standard":
        return
    for place in maskable(network).values():
        units = place.by_unit(place.weight)
        if init == "kaiming_normal":
            units = nn.init.kaiming_normal_(units.contiguous(), nonlinearity="relu")
        elif init == "kaiming_uniform":
            units = nn.init.kaiming_uniform_(units.contiguous(), nonlinearity="relu")
        else:
            units = signed_constant(units)
        place.weight.copy_(place.from_units(units))


@torch.no_grad()
def signed_constant(units: Tensor) -> Tensor:
    """`sign(w) * sqrt(2 / fan_in)` of the weights w `[units, inputs, ...]`, zeros staying zero."""
    fan_in = units[0].numel()
    return units.sign() * math.sqrt(2 / fan_in)
