"""What a network takes: the sample for which its forward pass is traced."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.graph.architecture import traced
from sparsity.graph.layers import placement
from sparsity.graph.trace import Sample, Trace

Given = Sequence[int] | Sample | None
"""The shape of one input, without the batch, or a batch of one as the network takes it; None to ask the network."""


def trace_of(network: nn.Module, given: Given = None) -> Trace:
    """A network's graph for a sample, from the memory of graphs if one of its architecture was traced before.

    Args:
        network: Any network; left unchanged.
        given: What it takes, see `sample_of`.

    Raises:
        SparsityError: As `sample_of`, and if the network cannot be traced.
    """
    return traced(network, sample_of(network, given))


def sample_of(network: nn.Module, given: Given = None) -> Sample:
    """A batch of one.

    Args:
        network: That says what it takes, if nobody else does: by `input_shape`, by Lightning's `example_input_array`,
            or by Hugging Face's `dummy_inputs`.
        given: The shape of its one input of numbers, or the sample itself: a tensor, a tuple of positional inputs, or
            a dictionary of inputs by keyword, which may be whole numbers such as token ids.

    Raises:
        SparsityError: If nobody says it.
    """
    if given is None:
        given = own_sample(network)
    if given is None:
        raise SparsityError(f"{type(network).__name__} does not say what it takes; give input_shape")
    if isinstance(given, Tensor | Mapping) or not all(isinstance(length, int) for length in given):
        first: Sample = _of_one(given)
        return first
    device, dtype = placement(network)
    shape: Sequence[Any] = given
    return torch.zeros((1, *shape), device=device, dtype=dtype)


def shape_of(network: nn.Module, given: Given = None) -> tuple[int, ...]:
    """The shape of one input, without the batch; of several inputs that of the first.

    Raises:
        SparsityError: As `sample_of`.
    """
    sample = sample_of(network, given)
    several = sample.values() if isinstance(sample, Mapping) else (sample,) if isinstance(sample, Tensor) else sample
    return tuple(next(iter(several)).shape[1:])


def own_sample(network: nn.Module) -> Given:
    """What a network itself says that it takes, as `sample_of` has it; None if it says nothing."""
    if (shape := own_shape(network)) is not None:
        return shape
    for name in ("example_input_array", "dummy_inputs"):
        try:
            found: Given = getattr(network, name, None)
        except Exception:  # somebody's property
            found = None
        if isinstance(found, Tensor | Mapping | tuple):
            return found
    return None


def own_shape(owner: object) -> tuple[int, ...] | None:
    """The `input_shape` of one sample that a network or data have, without the batch; None if they have none."""
    shape = getattr(owner, "input_shape", None)
    if isinstance(shape, Sequence) and all(isinstance(length, int) for length in shape):
        return tuple(shape)
    return None


def shape_by_data(data: object, networks: Iterable[nn.Module]) -> tuple[int, ...] | None:
    """The `input_shape` that data have, where not all of some networks have one of their own."""
    return None if all(own_shape(network) is not None for network in networks) else own_shape(data)


def _of_one(sample: Any) -> Any:
    """The first of a batch."""
    if isinstance(sample, Tensor):
        return sample[:1]
    if isinstance(sample, Mapping):
        return {name: _of_one(item) if isinstance(item, Tensor) else item for name, item in sample.items()}
    return tuple(_of_one(item) if isinstance(item, Tensor) else item for item in sample)
