"""CIFAR-10 and CIFAR-100: 32 x 32 colour images in pickles, which are read without running what they may contain."""

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchvision import datasets  # type: ignore[import-untyped]
from typing_extensions import override

from sparsity.datamodules.augmentation import random_crop_and_flip
from sparsity.datamodules.downloaded import DownloadedImages
from sparsity.datamodules.files import read_bytes
from sparsity.errors import SparsityError


@dataclass(eq=False)
class CIFAR10(DownloadedImages):
    """Photographs (Krizhevsky 2009): 50,000 training and 10,000 test images of 3 x 32 x 32, 10 classes.

    Reads `cifar-10-batches-py/` below `data_dir`, and downloads it if it is not there.

    Args:
        augment: Train on random crops of the images, padded with 4 zeros on each side, mirrored half of the time.
        verify: Accept the official files only; false loads as many images as there are, and says how many.
    """

    input_shape = (3, 32, 32)
    num_classes = 10
    mean = (0.491, 0.482, 0.447)
    std = (0.247, 0.243, 0.262)
    source = datasets.CIFAR10
    label_key: ClassVar[str] = "labels"

    augment: bool = True
    verify: bool = True

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augment:
            self.augmentation = random_crop_and_flip

    @property
    @override
    def folder(self) -> Path:
        return self.root / str(self.source.base_folder)

    @property
    @override
    def files(self) -> Sequence[str]:
        return [file for file, _ in self.source.train_list + self.source.test_list]

    @override
    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        files = self.source.train_list if train else self.source.test_list
        parts = [self._read_file(self.folder / file, md5) for file, md5 in files]
        images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if not self.verify:
            rank_zero_info(
                f"{type(self).__name__}: found {len(labels):,} {'training' if train else 'test'} images "
                f"in {self.folder} (not verified)"
            )
        return images, labels

    def _read_file(self, path: Path, md5: str) -> tuple[Tensor, Tensor]:
        name = type(self).__name__
        content = read_bytes(name, path)
        if self.verify and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise SparsityError(
                f"{name}: {path} is not the official file (its MD5 differs); get it again, "
                "or load what is there with verify: false"
            )
        entry = unpickle(name, path, content)
        data = entry.get("data")
        labels = entry.get(self.label_key)
        size = int(np.prod(self.input_shape))
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (size,):
            raise SparsityError(f"{name}: {path} has no 'data' of unsigned bytes, {size} for each image")
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise SparsityError(f"{name}: {path} has no list of whole numbers called {self.label_key!r}")
        if len(labels) != len(data):
            raise SparsityError(f"{name}: {path} has {len(data)} images, but {len(labels)} labels")
        if wrong := [label for label in labels if not 0 <= label < self.num_classes]:
            raise SparsityError(f"{name}: {path} has the label {wrong[0]}; labels must be in [0, {self.num_classes})")
        images = torch.from_numpy(np.ascontiguousarray(data).reshape(-1, *self.input_shape))
        return images, torch.tensor(labels, dtype=torch.int64)


@dataclass(eq=False)
class CIFAR100(CIFAR10):
    """Photographs (Krizhevsky 2009): 50,000 training and 10,000 test images of 3 x 32 x 32, 100 classes.

    Reads `cifar-100-python/` below `data_dir`, and downloads it if it is not there.
    """

    num_classes = 100
    mean = (0.507, 0.487, 0.441)
    std = (0.267, 0.256, 0.276)
    source = datasets.CIFAR100
    label_key = "fine_labels"


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
