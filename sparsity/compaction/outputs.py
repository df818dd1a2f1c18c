"""What a network makes of a sample of any kind, and how far that is from what it should be."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.forward.passes import evaluating
from sparsity.forward.tensors import tensors_in
from sparsity.graph.trace import Sample, call_arguments

RANDOM_INPUTS = 1000
BATCH = 100
"""Inputs at a time."""

_LARGE = 100.0


def outputs_of(network: nn.Module, sample: Sample) -> tuple[Tensor, ...]:
    """All floating-point outputs in evaluation mode.

    Args:
        network: Left unchanged.
        sample: A batch, as the network takes it.
    """
    args, kwargs = call_arguments(sample)
    with evaluating(network):
        output = network(*args, **kwargs)
    return tuple(tensor for tensor in tensors_in(output) if tensor.is_floating_point())


def difference(expected: Iterable[Tensor], found: Iterable[Tensor]) -> float:
    """The largest difference of outputs, each relative to the largest one expected if that is above 1.

    Args:
        expected: Of a network.
        found: Of another; inf is the answer if they are shaped differently or NaN where the others are not.
    """
    largest = 0.0
    pairs = list(zip(expected, found, strict=True))
    for one, other in pairs:
        if one.shape != other.shape:
            return math.inf
        if one.numel():
            apart = float((one - other).abs().max()) / max(1.0, float(one.abs().max()))
            largest = math.inf if math.isnan(apart) else max(largest, apart)
    return largest


def map_tensors(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """A sample of the same kind whose tensors are others."""

    def changed(item: Any) -> Any:
        return change(item) if isinstance(item, Tensor) else item

    if isinstance(sample, Tensor):
        return change(sample)
    if isinstance(sample, Mapping):
        return {name: changed(item) for name, item in sample.items()}
    return tuple(changed(item) for item in sample)


def random_batches(sample: Sample) -> Iterator[Sample]:
    """1,000 normal inputs in batches, and one of zeros, ones and large numbers; always the same.

    Whole numbers are drawn from the smallest to the largest in the sample, since others may have no meaning.

    Args:
        sample: A batch of one.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(tensor: Tensor) -> Tensor:
        shape = (BATCH, *tensor.shape[1:])
        if tensor.is_floating_point():
            return torch.randn(shape, generator=generator).to(tensor.dtype)
        if tensor.dtype == torch.bool or not tensor.numel():
            return tensor.cpu().expand(shape)
        low, high = int(tensor.min()), int(tensor.max())
        return torch.randint(low, high + 1, shape, generator=generator).to(tensor.dtype)

    def edges(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return normal(tensor)[:4]
        ones = torch.ones((1, *tensor.shape[1:]), dtype=tensor.dtype)
        return torch.cat([0 * ones, ones, -ones, _LARGE * normal(tensor)[:1]])

    for _ in range(RANDOM_INPUTS // BATCH):
        yield map_tensors(sample, normal)
    yield map_tensors(sample, edges)


def deviation(network: nn.Module, other: nn.Module, batches: Iterable[Sample]) -> float:
    """The largest `difference` of two networks' outputs over some batches."""
    return max(difference(outputs_of(network, batch), outputs_of(other, batch)) for batch in batches)
