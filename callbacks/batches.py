"""A look at the training data before training, after which training sees them as if nobody had looked."""

import itertools
from collections.abc import Iterable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.callbacks.network import network_of
from sparsity.callbacks.samples import batch_sample, known_sample, peeking
from sparsity.distributed import gather
from sparsity.errors import SparsityError
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.passes import evaluating, refusing
from sparsity.forward.tensors import logits_of
from sparsity.graph.sample import Given

_MOST_LOOKED_AT = 1000
"""Times the samples that are wanted; data without an end may lack a class for ever."""


def sample_of_fit(trainer: pl.Trainer, module: pl.LightningModule) -> Given:
    """One sample, or its shape, as `known_sample` tells it, or the first training batch.

    Raises:
        SparsityError: If none of them tells.
    """
    if (known := known_sample(trainer, module)) is not None:
        return known
    batch = first_batch(trainer)
    sample = batch_sample(batch)
    if sample is None:
        raise SparsityError(
            f"cannot tell the shape of one input tensor from a {type(batch).__name__}; set example_input_array in "
            f"{type(module).__name__} to a batch of one, as a tensor"
        )
    return sample


def first_batch(trainer: pl.Trainer) -> Any:
    """The first batch of training, as the loader gives it.

    Raises:
        SparsityError: If there is none.
    """
    trainer.fit_loop.setup_data()
    loader = cast("Iterable[Any]", trainer.train_dataloader)
    with peeking(loader):
        batch = next(iter(loader), None)
    if batch is None:
        raise SparsityError("the training data have no batch; give the loader some samples")
    return batch


def balanced_batch(trainer: pl.Trainer, module: pl.LightningModule, per_class: int) -> tuple[Tensor, Tensor]:
    """The first `per_class` training images of each class in the run's own order, augmented as in training.

    The same ones on all processes, whatever part of the order each of them has.

    Args:
        trainer: In a fit that has not begun.
        module: Whose network tells the number of classes, by its outputs.
        per_class: At least 1; a class that has fewer gives all it has.

    Returns:
        Images `[batch, ...]` and labels `[batch]` on the device.

    Raises:
        SparsityError: If the training batches are not pairs of images and class indices that fit the network.
    """
    trainer.fit_loop.setup_data()
    loader = cast("Iterable[Any]", trainer.train_dataloader)
    chosen: list[tuple[Tensor, Tensor, Tensor]] = []
    found = torch.zeros(0, dtype=torch.int64)
    seen = 0
    with peeking(loader):
        for raw in loader:
            images, labels = _pair(trainer.strategy.batch_to_device(raw, dataloader_idx=0))
            if not len(found):
                found = labels.new_zeros(_classes(network_of(module), images, labels))
            images, labels = images[labels != NO_LABEL], labels[labels != NO_LABEL]
            _require_known(labels, len(found))
            few = _numbers(labels, found) <= per_class
            # Samplers deal an order out to the processes one by one.
            places = (seen + torch.arange(len(labels))) * trainer.world_size + trainer.global_rank
            chosen.append((images[few].cpu(), labels[few].cpu(), places[few.cpu()]))
            seen += len(labels)
            found = found + labels.bincount(minlength=len(found))
            if bool((found >= per_class).all()) or seen > _MOST_LOOKED_AT * per_class * len(found):
                break
    if not seen:
        raise SparsityError("there are no training images to score weights on; give the data module some")
    images, labels, places = (torch.cat(parts) for parts in zip(*itertools.chain(*gather(chosen)), strict=True))
    order = places.argsort()
    images, labels = images[order], labels[order]
    few = _numbers(labels, torch.zeros(len(found), dtype=torch.int64)) <= per_class
    counts = labels[few].bincount(minlength=len(found))
    if int(counts.min()) < per_class:
        rank_zero_warn(
            f"class {int(counts.argmin())} has {int(counts.min())} training images among the {seen:,} that were looked "
            f"at, not the {per_class} to score on"
        )
    device = trainer.strategy.root_device
    return images[few].to(device), labels[few].to(device)


def _numbers(labels: Tensor, before: Tensor) -> Tensor:
    """Which of its class each label `[batch]` is, counted from 1 and from `[classes]` that came before."""
    one_hot = F.one_hot(labels, len(before))
    return ((one_hot.cumsum(0) + before) * one_hot).sum(1)


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    match batch:
        case (Tensor() as images, Tensor() as labels) if labels.ndim == 1 and not labels.is_floating_point():
            return images, labels.long()
    raise SparsityError("weights are scored on batches of (images, class indices); the training data give others")


def _classes(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    with evaluating(network), refusing(network, images):
        logits = logits_of(network(images[:1]))
    require_labels(labels[:1], logits)
    return logits.shape[1]


def _require_known(labels: Tensor, classes: int) -> None:
    require_labels(labels, labels.new_zeros(len(labels), classes))
