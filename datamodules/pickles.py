"""Images in a pickle, read without running anything that it names."""

import io
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from sparsity.errors import SparsityError


def images_and_labels(
    name: str, path: Path, content: bytes, shape: Sequence[int], label_key: str, classes: int
) -> tuple[Tensor, Tensor]:
    """What a batch of CIFAR holds: a dict of `data` and labels.

    Args:
        name: Of the data set, for the error message.
        path: Where the content is from, for the error message.
        content: A pickle, of Python 2 or 3.
        shape: Of one image.
        label_key: Under which the labels are.
        classes: How many there are.

    Returns:
        uint8 [images, *shape], and int64 [images].

    Raises:
        SparsityError: If the content is broken, or has anything else in it.
    """
    entry = unpickle(name, path, content)
    data, labels = entry.get("data"), entry.get(label_key)
    size = math.prod(shape)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (size,):
        raise SparsityError(f"{name}: {path} has no 'data' of unsigned bytes, {size} for each image")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise SparsityError(f"{name}: {path} has no list of whole numbers called {label_key!r}")
    if len(labels) != len(data):
        raise SparsityError(f"{name}: {path} has {len(data)} images, but {len(labels)} labels")
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise SparsityError(f"{name}: {path} has the label {wrong[0]}; labels must be in [0, {classes})")
    images = torch.from_numpy(np.ascontiguousarray(data).reshape(-1, *shape))
    return images, torch.tensor(labels, dtype=torch.int64)


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, through which Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it wants to encode as {encoding}")
    return text.encode(encoding)


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what a pickled numpy array needs, beside the containers, numbers and strings that need no import."""

    # Asking an array how it is pickled finds these functions under whatever name this version of numpy has for them.
    _RECONSTRUCT = np.empty(1).__reduce__()[0]
    _FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]
    _ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
        ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
    }

    @override
    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to import {module}.{name}") from None


def unpickle(name: str, path: Path, content: bytes) -> dict[str, Any]:
    """Read a pickled dict of arrays, lists, numbers and strings; anything else in it is refused, not run.

    Args:
        name: Of the data set, for the error message.
        path: Where the content is from, for the error message.
        content: A pickle, of Python 2 or 3.

    Raises:
        SparsityError: If the content is broken or has anything else in it.
    """
    try:
        entry = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    # A broken pickle can raise nearly anything, from IndexError to MemoryError.
    except Exception as error:
        raise SparsityError(f"{name}: {path} is not a pickle of plain arrays ({error}); get it again") from error
    if not isinstance(entry, dict):
        raise SparsityError(f"{name}: {path} holds a {type(entry).__name__} where a dict was expected")
    return entry
