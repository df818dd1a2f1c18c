"""MNIST and Fashion-MNIST: 28 x 28 grey images in IDX files."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets  # type: ignore[import-untyped]
from typing_extensions import override

from sparsity.datamodules.downloaded import DownloadedImages
from sparsity.datamodules.files import read_bytes
from sparsity.errors import SparsityError

FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Names of the image and label files, for training and for test."""


@dataclass(eq=False)
class MNIST(DownloadedImages):
    """Handwritten digits (LeCun et al. 1998): 60,000 training and 10,000 test images of 1 x 28 x 28, 10 classes.

    Reads `MNIST/raw/` below `data_dir`, and downloads it if it is not there.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    mean = (0.1307,)
    std = (0.3081,)
    source = datasets.MNIST

    @property
    @override
    def folder(self) -> Path:
        return self.root / str(self.source.__name__) / "raw"

    @property
    @override
    def files(self) -> Sequence[str]:
        return FILES[True] + FILES[False]

    @override
    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        name = type(self).__name__
        image_path, label_path = (self.folder / file for file in FILES[train])
        images = read_idx(name, image_path, dimensions=3)
        labels = read_idx(name, label_path, dimensions=1).long()
        if images.shape[1:] != self.input_shape[1:]:
            raise SparsityError(
                f"{name}: {image_path} has images of {list(images.shape[1:])} pixels, not of {self.input_shape[1:]}"
            )
        if len(images) != len(labels):
            raise SparsityError(
                f"{name}: {image_path} has {len(images)} images, but {label_path.name} beside it {len(labels)} labels"
            )
        if len(labels) and int(labels.max()) >= self.num_classes:
            raise SparsityError(
                f"{name}: {label_path} has the label {int(labels.max())}; labels must be below {self.num_classes}"
            )
        return images.unsqueeze(1), labels


@dataclass(eq=False)
class FashionMNIST(MNIST):
    """Images of clothing (Xiao et al. 2017): 60,000 training and 10,000 test images of 1 x 28 x 28, 10 classes.

    Reads `FashionMNIST/raw/` below `data_dir`, and downloads it if it is not there.
    """

    mean = (0.2860,)
    std = (0.3530,)
    source = datasets.FashionMNIST


def read_idx(name: str, path: Path, dimensions: int) -> Tensor:
    """Read an uncompressed IDX file of unsigned bytes.

    Args:
        name: Of the data set, for the error message.
        path: The file.
        dimensions: How many it must have.

    Returns:
        uint8, of the shape that the file's header says.

    Raises:
        SparsityError: If the file is missing, of another kind, or not as long as its header says.
    """
    content = read_bytes(name, path)
    header = 4 + 4 * dimensions
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then the size of each as a big-endian integer.
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise SparsityError(f"{name}: {path} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise SparsityError(
            f"{name}: {path} has {len(content) - header} bytes of data where its header says {math.prod(shape)}; "
            "it is broken, get it again"
        )
    # A copy, because torch warns about arrays that cannot be written.
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
