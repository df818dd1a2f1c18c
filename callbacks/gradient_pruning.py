"""Pruning before training by gradients of the loss: SNIP and GraSP, and the images they are computed on."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sparsity.callbacks.before_training import PruneIteratively
from sparsity.callbacks.zeros import network_of
from sparsity.errors import SparsityError, require_whole_number
from sparsity.processes import gather
from sparsity.pruning.saliency import Saliency, evaluating, grasp_saliency, snip_saliency


class PruneByGradient(PruneIteratively):
    """Scores weights on some training images of each class. A subclass says how.

    All processes score on the same images, those that one process would draw whose batches are as large as theirs
    together.

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        samples_per_class: Training images of each class to score on; at least 1.
        options: Those of `PruneIteratively`.

    Raises:
        SparsityError: If an argument is out of its range; before training if batches are not (images, labels).
    """

    def __init__(self, density: float, samples_per_class: int = 10, **options: Any) -> None:
        super().__init__(density, **options)
        require_whole_number("samples_per_class", samples_per_class, at_least=1)
        self.samples_per_class = samples_per_class

    @abstractmethod
    def score(
        self, network: nn.Module, images: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor]
    ) -> Saliency:
        """The saliency on a batch; `average` takes the mean of a gradient over processes."""

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        images, labels = balanced_batch(trainer, pl_module, self.samples_per_class)
        average = partial(trainer.strategy.reduce, reduce_op="mean")
        return lambda network: self.score(network, images, labels, average)


class SNIP(PruneByGradient):
    """Keeps the weights that the loss is most sensitive to, `|dL/dw * w|` (Lee et al. 2019).

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        samples_per_class: Training images of each class to score on; at least 1.
        options: Those of `PruneIteratively`.
    """

    @override
    def score(
        self, network: nn.Module, images: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor]
    ) -> Saliency:
        return snip_saliency(network, images, labels, average=average)


class GraSP(PruneByGradient):
    """Keeps the weights that preserve the flow of gradients, the highest `w * Hg` (Wang et al. 2020).

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        samples_per_class: Training images of each class to score on; at least 1.
        temperature: Divides the logits, above 0 (Wang et al. use 200).
        options: Those of `PruneIteratively`.
    """

    def __init__(self, density: float, samples_per_class: int = 10, temperature: float = 200.0, **options: Any) -> None:
        super().__init__(density, samples_per_class, **options)
        if not temperature > 0:
            raise SparsityError(f"temperature must be above 0, not {temperature}")
        self.temperature = temperature

    @override
    def score(
        self, network: nn.Module, images: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor]
    ) -> Saliency:
        return grasp_saliency(network, images, labels, temperature=self.temperature, average=average)


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
        SparsityError: If the training batches are not pairs of images and class indices.
    """
    trainer.fit_loop.setup_data()
    loader = cast("Iterable[Any]", trainer.train_dataloader)
    position = loader.state_dict() if hasattr(loader, "state_dict") else None
    chosen: list[tuple[Tensor, Tensor, Tensor]] = []
    found = torch.zeros(0, dtype=torch.int64)
    seen = 0
    for raw in loader:
        images, labels = _pair(trainer.strategy.batch_to_device(raw, dataloader_idx=0))
        if not len(found):
            found = labels.new_zeros(_classes(network_of(module), images))
        few = _numbers(labels, found) <= per_class
        # Samplers deal an order out to the processes one by one.
        places = (seen + torch.arange(len(labels))) * trainer.world_size + trainer.global_rank
        chosen.append((images[few].cpu(), labels[few].cpu(), places[few.cpu()]))
        seen += len(labels)
        found = found + labels.bincount(minlength=len(found))
        if bool((found >= per_class).all()):
            break
    if position is not None:  # as if nobody had looked: training begins with these batches
        loader.load_state_dict(position)  # type: ignore[attr-defined]
    if not chosen:
        raise SparsityError("there are no training images to score weights on; give the data module some")
    images, labels, places = (torch.cat(parts) for parts in zip(*itertools.chain(*gather(chosen)), strict=True))
    order = places.argsort()
    images, labels = images[order], labels[order]
    few = _numbers(labels, torch.zeros(len(found), dtype=torch.int64)) <= per_class
    counts = labels[few].bincount(minlength=len(found))
    if int(counts.min()) < per_class:
        rank_zero_warn(
            f"class {int(counts.argmin())} has {int(counts.min())} training images, not the {per_class} to score on"
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
            return images, labels
    raise SparsityError("weights are scored on batches of (images, class indices); the training data give others")


def _classes(network: nn.Module, images: Tensor) -> int:
    with torch.no_grad(), evaluating(network):
        return int(network(images[:1]).shape[1])
