"""Saliencies: one number per weight that says how much a pruning method wants to keep it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsity.errors import NonFiniteError
from sparsity.masks import masked_layers
from sparsity.randomness import named_generator

Saliency = Mapping[str, Tensor]
"""One tensor per masked layer, shaped like its weight, keyed by layer name; the highest are kept."""


def random_saliency(network: nn.Module, seed: int | None = None) -> dict[str, Tensor]:
    """Independent draws from U(0, 1), the control of every pruning method.

    Args:
        network: A network with masks, left unchanged.
        seed: Base seed of each layer's own generator; by default the run's.
    """
    return {
        name: torch.rand(
            layer.get_parameter("weight").shape,
            generator=named_generator("random pruning", name, seed=seed),
            dtype=torch.float64,
        ).to(layer.get_parameter("weight").device)
        for name, layer in masked_layers(network).items()
    }


def magnitude_saliency(network: nn.Module) -> dict[str, Tensor]:
    """The weights' magnitudes `|w|` (Han et al. 2015).

    Args:
        network: A network with masks, left unchanged.

    Raises:
        NonFiniteError: Names the first layer with a weight that is NaN or infinite.
    """
    saliency = {name: layer.get_parameter("weight").detach().abs() for name, layer in masked_layers(network).items()}
    require_finite(saliency, "magnitude")
    return saliency


def synflow_saliency(network: nn.Module, input_shape: Sequence[int]) -> dict[str, Tensor]:
    """Synaptic flow `|dR/dw * w|`, R the summed output for an input of ones (Tanaka et al. 2020, algorithm 1).

    R is computed with every parameter and buffer replaced by its absolute value, in evaluation mode, since
    BatchNorm would normalise the ones away, and in float64, since R passes float32's range in deep networks.

    Args:
        network: A network with masks, left unchanged (weights, buffers, modes, gradients).
        input_shape: Shape of one sample, without the batch dimension.

    Returns:
        One non-negative float64 tensor per masked layer.

    Raises:
        NonFiniteError: Names the first layer whose saliency is NaN or infinite.
    """
    tensors = dict(chain(network.named_parameters(), network.named_buffers()))
    state = {n: t.detach().double().abs() if t.is_floating_point() else t for n, t in tensors.items()}
    weights = {name: state[f"{name}.weight" if name else "weight"] for name in masked_layers(network)}
    for weight in weights.values():
        weight.requires_grad_()
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=next(iter(weights.values())).device)
    with evaluating(network), torch.enable_grad():
        flow = functional_call(network, state, (ones,)).sum()
        gradients = torch.autograd.grad(flow, list(weights.values()), allow_unused=True, materialize_grads=True)
    saliency = {
        name: (gradient * weight.detach()).abs()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    require_finite(saliency, "SynFlow")
    return saliency


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Check all tensors with one synchronisation.

    Args:
        tensors: By layer name.
        what: The method, for the message.

    Raises:
        NonFiniteError: Names the first layer that has a NaN or infinite entry.
    """
    finite = torch.stack([t.isfinite().all() for t in tensors.values()]).tolist()
    for name, is_finite in zip(tensors, finite, strict=True):
        if not is_finite:
            raise NonFiniteError(
                f"the {what} saliency of layer {name!r} is NaN or infinite; check that layer's weights, "
                "or start from a smaller initialisation"
            )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module gets its own mode back, also after an error."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
