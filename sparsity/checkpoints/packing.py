"""Sparse tensors in little room and without loss: the values that are not zero, and how far apart they are.

A position takes little more than information theory asks for: gaps between kept values are mostly small, and deflate's
Huffman code gives the frequent ones few bits. At density 2 % that is about 7 bits beside the 32 of a value.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sparsity.errors import SparsityError

VALUES, GAPS = ".values", ".gaps"
"""What is behind a tensor's name in those of its two parts."""

_FURTHER = 255
"""A byte of a gap that says: so many zeros, and the gap goes on."""
_LARGEST_RATIO, _SMALLEST_BOMB = 1000, 2**32
"""What unpacks to more bytes than both, the ratio being that to its own, is no network."""

Shapes = Mapping[str, list[int]]


def packed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Store each tensor that has enough zeros as its values and their gaps.

    The gaps of `X` are a uint8 tensor `X.gaps`: deflated (zlib), a byte per kept value with the number of zeros before
    it, after as many bytes of 255 as there are 255 more; the zeros at the end are written as if a value followed.

    Args:
        state: Tensors by name, on the CPU, of any dtype and shape; left unchanged.

    Returns:
        Tensors by name, and the shapes of those that are stored in two parts. Bits are kept: -0.0 and NaN are values.
    """
    found: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in state.items():
        parts = _parts(tensor)
        is_smaller = sum(map(_bytes, parts)) < _bytes(tensor)
        if is_smaller and not {name + VALUES, name + GAPS} & state.keys():
            found[name + VALUES], found[name + GAPS] = parts
            shapes[name] = list(tensor.shape)
        else:
            found[name] = tensor
    return found, shapes


def unpacked(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """The way back from `packed`, for files that come from anywhere.

    Args:
        tensors: Tensors by name, some in two parts; left unchanged.
        shapes: Of those in two parts.

    Raises:
        SparsityError: If a part is missing or damaged, or what it says of its size is beyond reason.
    """
    found = dict(tensors)
    room = max(_SMALLEST_BOMB, _LARGEST_RATIO * sum(map(_bytes, tensors.values())))
    for name, shape in shapes.items():
        if name + VALUES not in found or name + GAPS not in found:
            raise SparsityError(f"the packed tensor {name!r} has not both of its parts, {VALUES} and {GAPS}")
        values, gaps = found.pop(name + VALUES), found.pop(name + GAPS)
        if values.ndim != 1 or not all(type(length) is int and length >= 0 for length in shape):
            raise SparsityError(f"the packed tensor {name!r} is damaged: {shape} is no shape, or its values no row")
        size = math.prod(shape) * values.element_size()
        room -= size
        if room < 0:
            raise SparsityError(f"the packed tensor {name!r} says that it is shaped {shape}, which is beyond reason")
        places = _places(name, gaps, math.prod(shape), len(values))
        flat = torch.zeros(math.prod(shape), dtype=values.dtype)
        _by_element(flat)[places] = _by_element(values)
        found[name] = flat.view(shape)
    return found


def size_in_bytes(state: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors as they lie in memory."""
    return sum(map(_bytes, state.values()))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _by_element(flat: Tensor) -> Tensor:
    """The bytes `[elements, bytes of each]` of a tensor of one axis, a view."""
    return flat.view(torch.uint8).view(len(flat), flat.element_size())


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    flat = tensor.detach().contiguous().flatten()
    # By its bytes: as a number -0.0 is no different from 0.
    is_kept = _by_element(flat).any(1).numpy()
    places = is_kept.nonzero()[0]
    zeros = np.diff(places, prepend=-1, append=len(flat)) - 1
    more = zeros // _FURTHER
    ends = np.cumsum(more + 1)  # of each gap's bytes
    code = np.full(ends[-1], _FURTHER, np.uint8)
    code[ends - 1] = zeros % _FURTHER
    gaps = np.frombuffer(_deflated(code.tobytes()), np.uint8).copy()
    return flat[torch.from_numpy(places)], torch.from_numpy(gaps)


def _deflated(code: bytes) -> bytes:
    """The shorter of deflate with repetitions, which masks in rows have, and without, as is best for random ones."""
    tried = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        deflate = zlib.compressobj(9, strategy=strategy)
        tried.append(deflate.compress(code) + deflate.flush())
    return min(tried, key=len)


def _places(name: str, gaps: Tensor, size: int, count: int) -> Tensor:
    """Where the values lie.

    Raises:
        SparsityError: If the gaps are not those of so many values in a tensor of this size.
    """
    wrong = SparsityError(f"the packed tensor {name!r} is damaged: its gaps do not fit its shape and values")
    longest = size // _FURTHER + count + 1
    try:
        inflate = zlib.decompressobj()
        code = np.frombuffer(inflate.decompress(gaps.contiguous().numpy().tobytes(), longest + 1), np.uint8)
    except zlib.error as error:
        raise wrong from error
    ends = (code != _FURTHER).nonzero()[0]
    sums = np.cumsum(code, dtype=np.int64)[ends]
    if gaps.dtype != torch.uint8 or not inflate.eof or len(ends) != count + 1 or ends[-1] != len(code) - 1:
        raise wrong
    places = sums + np.arange(len(sums))  # each value takes a place itself
    if places[-1] != size:
        raise wrong
    return torch.from_numpy(places[:-1])
