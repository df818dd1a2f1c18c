"""2:4 sparse weights as torch's semi-structured tensors, which cards with sparse tensor cores multiply faster."""

import warnings

import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import SUFFIX, masked

_OLDEST_CARD = (8, 0)
"""Ampere, the first with sparse tensor cores."""


def to_semi_structured(network: nn.Module) -> list[str]:
    """Convert the Linear layers of a network that are 2:4 sparse, in place, for inference.

    `torch.sparse.to_sparse_semi_structured` takes matrices on a card, float16 or bfloat16, whose sizes are multiples of
    what its kernels work in, 32 by 64 at most; layers that it does not take stay as they are. It does not take
    convolutions. Masks of converted layers are removed with their zeros.

    Args:
        network: With masks, of pattern 2:4, in half precision on a card.

    Returns:
        The names of the layers that were converted.

    Raises:
        SparsityError: If the network is on no card that has it, or no layer can be converted; says why.
    """
    places = {
        name: place
        for name, place in masked(network).items()
        if type(place.module) is nn.Linear and place.stored is not None
    }
    if not places:
        raise SparsityError("the network has no Linear layer with a mask; prune it with pattern 2:4")
    device = next(iter(places.values())).weight.device
    if device.type != "cuda":
        raise SparsityError(f"semi-structured weights need a CUDA card, and the network is on {device}; move it there")
    if torch.cuda.get_device_capability(device) < _OLDEST_CARD:
        raise SparsityError(
            f"{torch.cuda.get_device_name(device)} has no sparse tensor cores; take a card of compute capability 8.0"
        )
    converted, refused = [], []
    for name, place in places.items():
        if reason := _refusal(place.weight, place.mask):
            refused.append(f"{name or 'it'} {reason}")
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the interface may change
                sparse = torch.sparse.to_sparse_semi_structured(place.weight.detach())
        except RuntimeError as error:  # shapes and types are those of the kernels that torch was built with
            refused.append(f"{name or 'it'}: {str(error).splitlines()[0]}")
            continue
        place.module.register_parameter(place.parameter, nn.Parameter(sparse, requires_grad=False))
        place.module._buffers.pop(place.parameter + SUFFIX)
        converted.append(name)
    if not converted:
        raise SparsityError(f"no layer can be converted: {'; '.join(refused[:3])}")
    return converted


def _refusal(weight: torch.Tensor, mask: torch.Tensor) -> str | None:
    """Why a matrix is none to convert, as far as that does not depend on torch's kernels."""
    if weight.shape[1] % 4 or int(mask.view(len(mask), -1, 4).sum(2).max()) > 2:
        return "is not 2:4 sparse"
    if weight.dtype not in (torch.float16, torch.bfloat16):
        return f"is {weight.dtype}; convert the network to half precision"
    return None
