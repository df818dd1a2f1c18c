"""Test images, and how many of them a network gets right."""

import warnings
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.tensors import logits_of


def read_test_images(data: LightningDataModule | None) -> tuple[Tensor | None, Tensor | None]:
    """All test images as networks see them, and their labels.

    Returns:
        Images `[n, ...]`, None without data, and class indices `[n]`, None if the data have none.

    Raises:
        SparsityError: If batches do not start with images.
    """
    if data is None:
        return None, None
    data.prepare_data()
    data.setup("test")
    batches = [_read(data.on_after_batch_transfer(batch, 0)) for batch in data.test_dataloader()]
    if not batches:
        raise SparsityError("the data have no test images; give some, or leave the data out")
    indices = [labels for _, labels in batches if labels is not None]
    return torch.cat([images for images, _ in batches]), torch.cat(indices) if len(indices) == len(batches) else None


def read_training_images(data: LightningDataModule, count: int) -> Tensor:
    """The first training images as networks see them without augmentation, in the order of the first epoch.

    Args:
        data: Whose training loader gives batches that begin with images.
        count: At least 1; all, if there are fewer.

    Raises:
        SparsityError: If batches do not start with images, or there are none.
    """
    data.prepare_data()
    data.setup("fit")
    found: list[Tensor] = []
    for batch in data.train_dataloader():
        found.append(_read(data.on_after_batch_transfer(batch, 0))[0])
        if sum(map(len, found)) >= count:
            break
    if not found:
        raise SparsityError("the data have no training images; give some")
    return torch.cat(found)[:count]


def read_test_pixels(data: LightningDataModule) -> Tensor:
    """All test images as pixels, before the data module normalises them: `[n, channels, height, width]`, uint8.

    Raises:
        SparsityError: If the data module's loader gives anything else.
    """
    data.prepare_data()
    data.setup("test")
    found = [_read(batch)[0] for batch in data.test_dataloader()]
    if not found or any(images.dtype != torch.uint8 or images.ndim != 4 for images in found):
        raise SparsityError(
            f"corruptions are of images of whole numbers from 0 to 255, which {type(data).__name__}'s loader does not "
            "give; leave --corruptions out"
        )
    return torch.cat(found).cpu()


def _read(batch: Any) -> tuple[Tensor, Tensor | None]:
    images, *others = batch if isinstance(batch, list | tuple) and batch else (batch,)
    if not isinstance(images, Tensor):
        raise SparsityError(f"a test batch starts with a {type(images).__name__}; give tensors, or lists of them")
    match others:
        case [Tensor() as labels] if labels.shape == images.shape[:1] and not labels.is_floating_point():
            return images, labels
    return images, None


def known_accuracy(network: nn.Module, images: Tensor, labels: Tensor | None) -> float | None:
    """The share of labelled images whose label has the highest logit; None and a warning if that means nothing.

    Args:
        network: In evaluation mode.
        images: `[n, ...]`.
        labels: `[n]`, class indices; None if there are none.

    Raises:
        SparsityError: If the network cannot take images of this shape.
    """
    logits = known_logits(network, images, labels)
    return None if logits is None or labels is None else accuracy(logits, labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of labelled images whose label has the highest logit.

    Args:
        logits: `[n, classes]`.
        labels: `[n]`, class indices; `NO_LABEL` does not count, and there is another.
    """
    return int((logits.argmax(1) == labels).sum()) / int((labels != NO_LABEL).sum())


def known_logits(network: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor | None:
    """What a classifier says of labelled images, `[n, classes]`; None and a warning if that means nothing.

    Args:
        network: In evaluation mode.
        images: `[n, ...]`.
        labels: `[n]`, class indices; None if there are none.

    Raises:
        SparsityError: If the network cannot take images of this shape.
    """
    try:
        return _logits(network, images, labels)
    except _NoAccuracyError as reason:
        # From one place, so that Python says it once.
        warnings.warn(f"accuracy is not measured and is left out: {reason}", stacklevel=1)
    return None


class _NoAccuracyError(Exception):
    """Says why there is no such thing."""


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    if labels is None:
        raise _NoAccuracyError("the labels are no class indices")
    said = []
    for x, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True):
        try:
            logits = logits_of(network(x))
        except RuntimeError as error:
            raise SparsityError(
                f"the data do not fit: {type(network).__name__} cannot take images of shape {list(images.shape[1:])}"
            ) from error
        try:
            require_labels(y, logits)
        except SparsityError as error:
            raise _NoAccuracyError(str(error)) from error
        said.append(logits)
    if not (labels != NO_LABEL).any():
        raise _NoAccuracyError("no image has a label")
    return torch.cat(said)
