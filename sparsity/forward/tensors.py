"""The tensors in what modules take and give: one, or tuples, dictionaries and dataclasses of them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from sparsity.errors import SparsityError


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in a value, in order.

    Args:
        value: A tensor, or sequences, mappings and dataclasses of tensors, nested at will; anything else has none.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name, None))


def logits_of(output: Any) -> Tensor:
    """What a classifier says, whatever its output is wrapped in.

    Args:
        output: A tensor, a mapping or an object with `logits` (as of Hugging Face) or `out` (as of torchvision's
            segmentation), or a sequence, mapping or dataclass whose first tensor is meant.

    Raises:
        SparsityError: If there is no tensor in it.
    """
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "out"):
        member = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(member, Tensor):
            return member
    first = next(tensors_in(output), None)
    if first is None:
        raise SparsityError(f"the network's output is a {type(output).__name__} without tensors; give logits")
    return first
