"""What lets a network train before it has: its tangent kernel, and how it stretches small changes of its input."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.analysis.landscape.directions import kept_directions
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.forward.passes import refusing
from sparsity.forward.tensors import logits_of
from sparsity.graph.layers import placement
from sparsity.graph.weights import FloatArray

_LARGEST = 2**28
"""Derivatives that are held at once: a gigabyte in single precision."""


@dataclass(frozen=True)
class TangentKernel:
    """The empirical neural tangent kernel on some images.

    Args:
        trace: The summed squares of all outputs' derivatives by all kept parameters.
        condition: Its largest eigenvalue over its smallest; infinite if that is 0 but for rounding.
    """

    trace: float
    condition: float


@dataclass(frozen=True)
class Isometry:
    """How a network stretches small changes of its input: the singular values of its input-output Jacobian.

    Args:
        mean: Over all images and singular values; 1 for an isometry.
        std: Over the same; 0 for an isometry.
        condition: The largest over the smallest of an image, the median over images; infinite where the smallest is 0
            but for rounding.
    """

    mean: float
    std: float
    condition: float


class TooManyDerivativesError(SparsityError):
    """There is no room for the derivatives of all outputs by all parameters."""


def tangent_kernel(network: nn.Module, images: Tensor) -> TangentKernel:
    """The neural tangent kernel `J J^T`, J the derivatives of the outputs by the kept parameters (Jacot et al. 2018).

    Args:
        network: Any network; left unchanged. It is looked at in evaluation mode.
        images: `[n, *input_shape]`, few: the derivatives of all outputs are held at once.

    Raises:
        SparsityError: If images do not fit.
        TooManyDerivativesError: If there are too many images for the network.
        NonFiniteError: If a derivative is NaN or infinite.
    """
    images = _placed(network, images)
    rows: list[Tensor] = []
    with kept_directions(network) as directions:
        for image in torch.split(images, 1):
            output = _output(network, image)
            if len(images) * output.numel() * directions.size > _LARGEST:
                raise TooManyDerivativesError(
                    f"the derivatives of {output.numel()} outputs by {directions.size:,} parameters are too many for "
                    f"{len(images)} images; give fewer"
                )
            rows += [directions.flat(found) for found in _rows(output, directions.parameters)]
    jacobian = torch.stack(rows).double()
    kernel = (jacobian @ jacobian.T).cpu().numpy()
    if not np.isfinite(kernel).all():
        raise NonFiniteError("a derivative of an output is NaN or infinite; check the weights and the images")
    values = np.linalg.eigvalsh(kernel)
    return TangentKernel(
        float(np.trace(kernel)), _condition(values, max(_rounding(network) ** 2, torch.finfo(torch.float64).eps))
    )


def isometry(network: nn.Module, images: Tensor) -> Isometry:
    """The singular values of the outputs' derivatives by the input (Saxe et al. 2014; Lee et al. 2020 for sparse nets).

    Lee et al. 2020, "A Signal Propagation Perspective for Pruning Neural Networks at Initialization", section 3.

    Args:
        network: Any network; left unchanged. It is looked at in evaluation mode.
        images: `[n, *input_shape]`, numbers and not token ids.

    Raises:
        SparsityError: If images do not fit, or are whole numbers.
        NonFiniteError: If a derivative is NaN or infinite.
    """
    if not images.is_floating_point():
        raise SparsityError(f"outputs have no derivatives by whole numbers ({images.dtype}); give images of numbers")
    values: list[FloatArray] = []
    with kept_directions(network):
        for one in torch.split(_placed(network, images), 1):
            image = one.clone().requires_grad_()
            jacobian = torch.stack([row.flatten() for (row,) in _rows(_output(network, image), [image])])
            if not jacobian.isfinite().all():
                raise NonFiniteError("a derivative of an output is NaN or infinite; check the weights and the images")
            values.append(torch.linalg.svdvals(jacobian.double()).cpu().numpy())
    conditions = [_condition(of_one, _rounding(network)) for of_one in values]
    every = np.concatenate(values)
    return Isometry(float(every.mean()), float(every.std()), float(np.median(conditions)))


def _placed(network: nn.Module, images: Tensor) -> Tensor:
    if not len(images):
        raise SparsityError("there are no images; give at least one")
    device, dtype = placement(network)
    keeps_its_type = images.dtype in (torch.int64, torch.int32)
    return images.detach().to(device) if keeps_its_type else images.detach().to(device, dtype)


def _output(network: nn.Module, image: Tensor) -> Tensor:
    """What a network makes of a batch of one, flat."""
    with refusing(network, image):
        output = logits_of(network(image)).flatten()
    if not output.requires_grad:
        raise SparsityError(f"the outputs of {type(network).__name__} depend on none of its parameters")
    return output


def _rows(output: Tensor, inputs: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The derivatives of each number of an output."""
    for number in range(len(output)):
        rows = torch.autograd.grad(output[number], inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        yield tuple(row.detach() for row in rows)  # in PyTorch 2.6 the zeros of what is unused want a gradient


def _rounding(network: nn.Module) -> float:
    return float(torch.finfo(placement(network)[1]).eps)


def _condition(values: FloatArray, rounding: float) -> float:
    largest, smallest = float(values.max()), float(values.min())
    return largest / smallest if smallest > rounding * len(values) * largest else float("inf")
