"""A look at the training data before training, after which training sees them as if nobody had looked."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import Parameter, signature
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader, rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.callbacks.network import network_of
from sparsity.callbacks.samples import batch_sample, known_sample, peeking
from sparsity.callbacks.training_step import input_in_training_step
from sparsity.distributed import gather
from sparsity.errors import SparsityError
from sparsity.forward.labels import NO_LABEL, require_labels
from sparsity.forward.passes import evaluating, refusing
from sparsity.forward.tensors import logits_of
from sparsity.graph.sample import Given
from sparsity.trainer.internals import on_device, training_loader

_MOST_LOOKED_AT = 1000
"""Times the samples that are wanted; data without an end may lack a class for ever."""


def sample_of_fit(trainer: pl.Trainer, module: pl.LightningModule) -> Given:
    """One sample, or its shape, as `known_sample` tells it, or the first training batch.

    Of a network of one input that is what batches start with; of others, and where they start with something else, what
    the module's `training_step` gives the network.

    Raises:
        SparsityError: If none of them tells.
    """
    if (known := known_sample(trainer, module)) is not None:
        return known
    with _looking_at(trainer) as batches:
        batch = first(batches)
        sample = None if _takes_several_inputs(network_of(module)) else batch_sample(batch)
        if sample is None:
            sample = input_in_training_step(trainer, module, on_device(trainer, batch))
    if sample is None:
        raise SparsityError(
            f"cannot tell the shape of one input tensor from a {type(batch).__name__}; set example_input_array in "
            f"{type(module).__name__} to a batch of one, as a tensor"
        )
    return sample


def _takes_several_inputs(network: nn.Module) -> bool:
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature(network.forward).parameters.values()
    return len([p for p in parameters if p.kind in positional and p.default is p.empty]) > 1


@contextmanager
def training_batches(trainer: pl.Trainer) -> Iterator[Iterator[Any]]:
    """The batches of a fit that has not begun, as training will see them; nothing is missing from it afterwards."""
    with _looking_at(trainer) as batches:
        yield map(partial(on_device, trainer), batches)


@contextmanager
def _looking_at(trainer: pl.Trainer) -> Iterator[Iterator[Any]]:
    loader = training_loader(trainer)
    if loader is None:  # limit_train_batches is 0
        yield iter(())
        return
    with peeking(loader):
        batches = iter(loader)
        yield (batch for batch, *_ in batches) if isinstance(loader, CombinedLoader) else batches


def first(batches: Iterator[Any]) -> Any:
    """The first batch.

    Raises:
        SparsityError: If there is none.
    """
    for batch in batches:
        return batch
    raise SparsityError("the training data have no batch; give the loader some samples")


def first_images(trainer: pl.Trainer, count: int) -> Tensor:
    """The first images of a fit, as training will see them, on the CPU; all, if there are fewer.

    Args:
        trainer: In a fit that has not begun.
        count: At least 1.

    Raises:
        SparsityError: If batches do not begin with a tensor.
    """
    found: list[Tensor] = []
    with training_batches(trainer) as batches:
        for batch in batches:
            images = batch[0] if isinstance(batch, list | tuple) else batch
            if not isinstance(images, Tensor):
                raise SparsityError(f"cannot take images from a {type(batch).__name__} that begins with no tensor")
            found.append(images.cpu())
            if sum(map(len, found)) >= count:
                break
    if not found:
        raise SparsityError("the training data have no batch; give the loader some samples")
    return torch.cat(found)[:count]


def is_classification(network: nn.Module, batch: Any) -> bool:
    """Whether a batch is of images and class indices, and the network maps such images to logits `[batch, classes]`."""
    match batch:
        case (Tensor() as images, Tensor() as labels) if labels.ndim == 1 and not labels.is_floating_point():
            if not images.is_floating_point() and images.dtype is not torch.uint8:
                return False
            try:
                with evaluating(network), refusing(network, images):
                    logits = logits_of(network(images[:1]))
            except SparsityError:
                return False
            return logits.ndim == 2 and len(logits) == 1 and logits.shape[1] > 1
    return False


def balanced_batch(
    trainer: pl.Trainer, network: nn.Module, batches: Iterable[Any], per_class: int
) -> tuple[Tensor, Tensor]:
    """The first `per_class` training images of each class in the run's own order, augmented as in training.

    The same ones on all processes, whatever part of the order each of them has.

    Args:
        trainer: In a fit that has not begun.
        network: Which tells the number of classes, by its outputs.
        batches: Of the fit, on the device.
        per_class: At least 1; a class that has fewer gives all it has.

    Returns:
        Images `[batch, ...]` and labels `[batch]` on the device.

    Raises:
        SparsityError: If the training batches are not pairs of images and class indices that fit the network.
    """
    chosen: list[tuple[Tensor, Tensor, Tensor]] = []
    found = torch.zeros(0, dtype=torch.int64)
    seen = 0
    for batch in batches:
        images, labels = _pair(batch)
        if not len(found):
            found = labels.new_zeros(_classes(network, images, labels))
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
    raise SparsityError("the first training batch is of (images, class indices), and a later one is not")


def _classes(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    with evaluating(network), refusing(network, images):
        logits = logits_of(network(images[:1]))
    require_labels(labels[:1], logits)
    return logits.shape[1]


def _require_known(labels: Tensor, classes: int) -> None:
    require_labels(labels, labels.new_zeros(len(labels), classes))
