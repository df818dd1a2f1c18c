"""CIFAR-10 and CIFAR-100: 32 x 32 colour images in pickles, which are read without running what they may contain."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchvision import datasets  # type: ignore[import-untyped]
from typing_extensions import override

from sparsity.datamodules.augmentation import random_crop_and_flip
from sparsity.datamodules.downloaded import DownloadedImages
from sparsity.datamodules.files import read_bytes
from sparsity.datamodules.pickles import images_and_labels
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
                "or load what is there with verify: false (--data.verify false)"
            )
        return images_and_labels(name, path, content, self.input_shape, self.label_key, self.num_classes)


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
