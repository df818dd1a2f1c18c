"""Small networks whose pictures are known by hand."""

import torch
from torch import nn

from sparsity.masks import add_masks, masks, set_mask


def chain(*weights: list[list[float]]) -> nn.Sequential:
    """Linear layers `0`, `2`, ... of given weights with ReLU between, masked where they are not zero."""
    layers: list[nn.Module] = []
    for rows in weights:
        layer = nn.Linear(len(rows[0]), len(rows))
        layer.weight.data = torch.tensor(rows)
        layers += [layer, nn.ReLU()]
    return masked_where_zero(nn.Sequential(*layers[:-1]))


def masked_where_zero(network: nn.Sequential) -> nn.Sequential:
    weights = [layer.weight for layer in network if hasattr(layer, "weight")]
    kept = [weight != 0 for weight in weights]
    for weight in weights:
        weight.data[weight == 0] = 1  # of zeros in a network without masks there is a warning
    add_masks(network)
    set_mask(network, dict(zip(masks(network), kept, strict=True)))
    return network.eval()


TINY = [[1.0, 0, -2], [0, 0, 0], [0.5, 0, 0]], [[3.0, 4, 0], [0, 0, 0]]
"""Unit 0 alone leads from inputs to outputs; unit 1 has no input, unit 2 no output, input 1 no reader."""
