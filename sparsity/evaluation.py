"""Test images, and how many of them a network gets right."""

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from sparsity.errors import SparsityError


def read_test_images(data: LightningDataModule | None) -> tuple[Tensor, Tensor | None]:
    """All test images as networks see them, and their labels; none without data."""
    if data is None:
        return torch.empty(0), None
    data.prepare_data()
    data.setup("test")
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


@torch.no_grad()
def measure_accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose label has the highest logit.

    Raises:
        SparsityError: If the network cannot take images of this shape.
    """
    try:
        batches = zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
        hits = [(network(x).argmax(1) == y).sum() for x, y in batches]
    except RuntimeError as error:
        raise SparsityError(
            f"the data do not fit: {type(network).__name__} cannot take images of shape {list(images.shape[1:])}"
        ) from error
    return int(torch.stack(hits).sum()) / len(labels)
