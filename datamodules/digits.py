"""Digits: the small data set that comes with scikit-learn, for a first run without any download."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from sparsity.datamodules.images import SPLIT_SEED, ImageDataModule
from sparsity.seeding import named_generator

TEST_SHARE = 0.2


@dataclass(eq=False)
class Digits(ImageDataModule):
    """Handwritten digits that come with scikit-learn: 1,438 training and 359 test images of 1 x 28 x 28, 10 classes.

    The originals have 8 x 8 pixels and are enlarged to MNIST's size. Nothing is ever downloaded.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    mean = (0.305,)
    std = (0.324,)

    val_size: int = 200

    @override
    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        # Here, because scikit-learn takes a second to import and nothing else in the package needs it.
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        bunch = load_digits()
        small = torch.from_numpy(bunch.images)[:, None] / 16
        pixels = F.interpolate(small, size=self.input_shape[1:], mode="bilinear", align_corners=False)
        images = (pixels * 255).round().to(torch.uint8)
        labels = torch.from_numpy(bunch.target).long()
        chosen = ~is_test(labels) if train else is_test(labels)
        return images[chosen], labels[chosen]


def is_test(labels: Tensor) -> Tensor:
    """Which samples are for test: a fifth of each class, always the same ones.

    Args:
        labels: `[samples]`.

    Returns:
        `[samples]`, bool.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(Digits.num_classes):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=named_generator("digits test", label, seed=SPLIT_SEED))
        chosen[members[order[: round(TEST_SHARE * len(members))]]] = True
    return chosen
