"""Pruning before training by gradients of the loss: SNIP and GraSP."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytorch_lightning as pl
from torch import Tensor, nn
from typing_extensions import override

from sparsity.callbacks.batches import balanced_batch
from sparsity.callbacks.before_training import PruneBeforeTraining
from sparsity.errors import SparsityError, require_whole_number
from sparsity.pruning.saliency import Saliency, grasp_saliency, snip_saliency


@dataclass(kw_only=True, eq=False)
class PruneByGradient(PruneBeforeTraining):
    """Scores weights on some training images of each class. A subclass says how.

    All processes score on the same images, those that one process would draw whose batches are as large as theirs
    together.

    Args:
        samples_per_class: Training images of each class to score on; at least 1.

    Raises:
        SparsityError: If an argument is out of its range; before training if batches are not (images, labels).

    Example:
        >>> class Sensitive(PruneByGradient):
        ...     def score(self, network, images, labels, average):
        ...         return snip_saliency(network, images, labels, average=average)
        >>> trainer = pl.Trainer(callbacks=[Sensitive(density=0.1)])
    """

    samples_per_class: int = 10

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole_number("samples_per_class", self.samples_per_class, at_least=1)

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


@dataclass(kw_only=True, eq=False)
class SNIP(PruneByGradient):
    """Keeps the weights that the loss is most sensitive to, `|dL/dw * w|` (Lee et al. 2019).

    Example:
        >>> trainer = pl.Trainer(callbacks=[SNIP(density=0.05, samples_per_class=5)])
    """

    @override
    def score(
        self, network: nn.Module, images: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor]
    ) -> Saliency:
        return snip_saliency(network, images, labels, average=average)


@dataclass(kw_only=True, eq=False)
class GraSP(PruneByGradient):
    """Keeps the weights that preserve the flow of gradients, the highest `w * Hg` (Wang et al. 2020).

    Args:
        temperature: Divides the logits, above 0 (Wang et al. use 200).

    Example:
        >>> trainer = pl.Trainer(callbacks=[GraSP(density=0.05)])
    """

    temperature: float = 200.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise SparsityError(f"temperature must be above 0, not {self.temperature}")

    @override
    def score(
        self, network: nn.Module, images: Tensor, labels: Tensor, average: Callable[[Tensor], Tensor]
    ) -> Saliency:
        return grasp_saliency(network, images, labels, temperature=self.temperature, average=average)
