"""Pruning before training by gradients of the loss: SNIP and GraSP."""

import itertools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from typing_extensions import override

from sparsity.callbacks.batches import balanced_batch, first, is_classification, training_batches
from sparsity.callbacks.before_training import PruneBeforeTraining
from sparsity.callbacks.network import network_of
from sparsity.callbacks.training_step import training_step_loss
from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.tensors import tensors_in
from sparsity.pruning.saliency import Loss, Mode, Saliency, cross_entropy, grasp_saliency, snip_saliency


@dataclass(kw_only=True, eq=False)
class PruneByGradient(PruneBeforeTraining):
    """Scores weights by the loss on some training data. A subclass says how.

    Where batches are of (images, class indices) and the network maps these images to logits, that is the cross-entropy
    of some images of each class: on all processes of the same ones, those that one process would draw whose batches are
    as large as theirs together. Everywhere else it is what the module's own `training_step` returns for the first
    batch, each process's own; gradients are averaged. Which of the two is said.

    Args:
        samples_per_class: Training images of each class to score on, at least 1; where there are no classes, one batch
            is taken as it comes.

    Raises:
        SparsityError: If an argument is out of its range; before training if `training_step` is needed and gives no
            loss that can be differentiated, or optimises by hand.

    Example:
        >>> class Sensitive(PruneByGradient):
        ...     def score(self, network, loss, average):
        ...         return snip_saliency(network, loss, average=average)
        >>> trainer = pl.Trainer(callbacks=[Sensitive(density=0.1)])
    """

    samples_per_class: int = 10

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole_number("samples_per_class", self.samples_per_class, at_least=1)

    @property
    def loss_mode(self) -> Mode:
        """In which the network computes the loss."""
        return "train"

    @abstractmethod
    def score(self, network: nn.Module, loss: Loss, average: Callable[[Tensor], Tensor]) -> Saliency:
        """The saliency by a loss of the network; `average` takes the mean of a gradient over processes."""

    def classification_loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a classifier."""
        return cross_entropy(network, images, labels)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        network = network_of(pl_module)
        average = partial(trainer.strategy.reduce, reduce_op="mean")
        with training_batches(trainer) as batches:
            batch = first(batches)
            if is_classification(network, batch):
                images, labels = balanced_batch(
                    trainer, network, itertools.chain([batch], batches), self.samples_per_class
                )
                self._say(f"the cross-entropy of {len(images):,} training images")
                return lambda network: self.score(
                    network, partial(self.classification_loss, network, images, labels), average
                )
        self._say(f"{type(pl_module).__name__}.training_step for the first batch{_size(batch, trainer.world_size)}")

        def by_training_step(network: nn.Module) -> Saliency:
            with training_step_loss(trainer, pl_module, batch, self.loss_mode) as loss:
                return self.score(network, loss, average)

        return by_training_step

    def _say(self, loss: str) -> None:
        rank_zero_info(f"{type(self).__name__} scores weights on {loss}")


def _size(batch: Any, processes: int) -> str:
    """How large a batch is, as far as its first tensor tells."""
    first = next(tensors_in(batch), None)
    size = f" of {len(first)}" if first is not None and first.ndim else ""
    return size + (f" of each of {processes} processes" if processes > 1 else "")


@dataclass(kw_only=True, eq=False)
class SNIP(PruneByGradient):
    """Keeps the weights that the loss is most sensitive to, `|dL/dw * w|` (Lee et al. 2019).

    As published it cuts once. With more `iterations` a weight that was cut stays cut.

    Args:
        mode: In which the network computes the loss: `eval` (its authors' program, and that of SynFlow's authors), or
            `train`, with the batch's own statistics in BatchNorm and with dropout; another mask altogether.

    Example:
        >>> trainer = pl.Trainer(callbacks=[SNIP(density=0.05, samples_per_class=5)])
    """

    mode: Mode = "eval"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in get_args(Mode):
            raise SparsityError(f"mode is {' or '.join(get_args(Mode))}, not {self.mode!r}")

    @property
    @override
    def loss_mode(self) -> Mode:
        return self.mode

    @override
    def score(self, network: nn.Module, loss: Loss, average: Callable[[Tensor], Tensor]) -> Saliency:
        return snip_saliency(network, loss, average, self.loss_mode)


@dataclass(kw_only=True, eq=False)
class GraSP(PruneByGradient):
    """Keeps the weights that preserve the flow of gradients, the highest `w * Hg` (Wang et al. 2020).

    The loss is that of training mode, as in the authors' program. As published it cuts once. With more `iterations` a
    weight that was cut stays cut, and the flow is that of the weights that are left.

    Args:
        temperature: Divides the logits of a classifier, above 0 (Wang et al. use 200); a loss that is the module's own
            is taken as it is.

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
    def classification_loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(network, images, labels, self.temperature)

    @override
    def score(self, network: nn.Module, loss: Loss, average: Callable[[Tensor], Tensor]) -> Saliency:
        return grasp_saliency(network, loss, average)
