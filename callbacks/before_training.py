"""Pruning before training: find a mask on the untrained network, then train what is left."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import nn
from typing_extensions import override

from sparsity.analysis.comparison.aligned import IMAGES_TO_ALIGN_BY, Matching, align, apply
from sparsity.callbacks.batches import first_images, sample_of_fit
from sparsity.callbacks.network import network_of
from sparsity.callbacks.progress import tracked
from sparsity.callbacks.pruning import PruningCallback, Scope, run_seed
from sparsity.checkpoints.loading import load_masks
from sparsity.checkpoints.starting import load_weights
from sparsity.errors import require_whole_number
from sparsity.forward.float32 import full_float32
from sparsity.masks import Mask, masks
from sparsity.pruning.allocation import Allocation
from sparsity.pruning.clustered import clustered_saliency
from sparsity.pruning.iterative import iterative_masks
from sparsity.pruning.saliency import (
    Saliency,
    SynapticFlow,
    lamp_saliency,
    magnitude_saliency,
    random_saliency,
)
from sparsity.pruning.schedules import Schedule

Rescale = Literal["none", "kept_fan_in"]


@dataclass(kw_only=True, eq=False)
class PruneBeforeTraining(PruningCallback):
    """Finds a mask once, when a fit starts; a resumed fit does not search again.

    A subclass says by which saliency of the weights.

    Args:
        iterations: How often to score and cut, each time the network as it is masked so far; at least 1. The number
            changes the mask.
        schedule: How density falls over the iterations: exponential (Tanaka et al. 2020), linear or cubic.
        rescale: `kept_fan_in` gives each unit's kept weights the norm that all of them had, which is the same
            initialisation at their number; deep networks without normalisation layers lose their signal otherwise.

    Raises:
        SparsityError: If an argument is out of its range.

    Example:
        >>> class Smallest(PruneBeforeTraining):
        ...     def saliency(self, trainer, pl_module):
        ...         return lambda network: {name: -s for name, s in magnitude_saliency(network).items()}
        >>> trainer = pl.Trainer(callbacks=[Smallest(density=0.1, iterations=10, min_kept=1)])
    """

    iterations: int = 1
    schedule: Schedule = "exponential"
    rescale: Rescale = "none"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole_number("iterations", self.iterations, at_least=1)

    @override
    def reset(self) -> None:
        super().reset()
        self._pruned = False

    @abstractmethod
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        """The function that scores every weight of a network with masks and leaves it unchanged.

        Whatever it needs from the run, such as the shape of a sample, is taken here, once.
        """

    def find_mask(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mask:
        """The mask to train: what the saliency keeps; the network is left unchanged."""
        found = iterative_masks(
            network_of(pl_module),
            self.saliency(trainer, pl_module),
            self.density,
            self.iterations,
            self.schedule,
            self._layer_densities,
            self.min_kept,
            self._selector,
            partial(tracked, trainer, what=type(self).__name__),
        )
        self.tell_lots(found.by_lot, found.masks)
        return found.masks

    @property
    @override
    def is_final(self) -> bool:
        return self._pruned

    @override
    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._pruned:
            self.sync_masks(trainer)
            return
        with full_float32():
            mask = self.find_mask(trainer, pl_module)
        self.commit_mask(trainer, mask, rescale=self.rescale == "kept_fan_in")
        self._pruned = True

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pruned": self._pruned}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._pruned = state_dict["pruned"]


@dataclass(kw_only=True, eq=False)
class Random(PruneBeforeTraining):
    """Keeps weights at random: the control that every method must beat.

    Args:
        seed: Seed of the draw; by default the run's.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Random(density=0.1, allocation="erk")])
    """

    seed: int | None = None
    iterations: int = field(default=1, init=False)
    schedule: Schedule = field(default="exponential", init=False)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return partial(random_saliency, seed=run_seed(trainer) if self.seed is None else self.seed)


@dataclass(kw_only=True, eq=False)
class Clustered(PruneBeforeTraining):
    """Keeps weights at random, but in the structure of good networks: short runs of neighbouring inputs in few units.

    Args:
        seed: Seed of the draw; by default the run's.
        allocation: How the kept weights are spread over layers, each of which is filled on its own: erk (Evci et al.
            2020), uniform, balanced, smart_ratio, densities in [0, 1] by layer or in their order, or a checkpoint to
            take them from. Runs do not care which inputs are alive: an output layer with few weights loses classes.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Clustered(density=0.1, rescale="kept_fan_in")])
    """

    seed: int | None = None
    allocation: Allocation | list[float] | dict[str, float] | str = "erk"
    scope: Scope = field(default="global", init=False)
    min_kept: int = field(default=0, init=False)
    pattern: str = field(default="weight", init=False)
    iterations: int = field(default=1, init=False)
    schedule: Schedule = field(default="exponential", init=False)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return partial(clustered_saliency, seed=run_seed(trainer) if self.seed is None else self.seed)


@dataclass(kw_only=True, eq=False)
class Magnitude(PruneBeforeTraining):
    """Keeps the largest weights of the network as it is when the fit starts (Han et al. 2015).

    Example:
        >>> trainer = pl.Trainer(callbacks=[Magnitude(density=0.1, min_kept=1)])
    """

    iterations: int = field(default=1, init=False)
    schedule: Schedule = field(default="exponential", init=False)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return magnitude_saliency


@dataclass(kw_only=True, eq=False)
class LAMP(PruneBeforeTraining):
    """Keeps the weights that are large among those of their layer: layer-adaptive magnitude (Lee et al. 2021).

    Example:
        >>> trainer = pl.Trainer(callbacks=[LAMP(density=0.1)])
    """

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return lamp_saliency


@dataclass(kw_only=True, eq=False)
class SynFlow(PruneBeforeTraining):
    """Iterative synaptic-flow pruning, without data (Tanaka et al. 2020); computed in float64.

    Example:
        >>> trainer = pl.Trainer(callbacks=[SynFlow(density=0.05)])
    """

    iterations: int = 100

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return SynapticFlow(network_of(pl_module), sample_of_fit(trainer, pl_module))


@dataclass(kw_only=True, eq=False)
class MaskFrom(PruneBeforeTraining):
    """Trains the mask of a checkpoint from this run's own initialisation.

    With the seed and network of the run that found it, that is the same ticket again; with `ablation` (on the command
    line `--ablation shuffle`) a broken one.

    Trained from another initialisation a ticket is worth little, since its units are in the order of the one that it
    was found for. `align` puts them in the order of a network that was trained from the new one (Adnan et al. 2025,
    "Sparse Training from Random Initialization: Aligning Lottery Ticket Masks using Weight Symmetry").

    Args:
        mask_from: A checkpoint of this program, SynFlow's or Gem-Miner's, of the same architecture.
        align: A checkpoint of the same architecture that was trained, dense, from this run's initialisation.
        align_by: Match the units of `mask_from` and `align` by `weights`, or by their `activations` on the first
            training images.

    Raises:
        SparsityError: Before training, if a checkpoint cannot be read or does not fit.

    Example:
        >>> trainer = pl.Trainer(callbacks=[MaskFrom("lightning_logs/version_0/checkpoints/best.ckpt")])
    """

    mask_from: str = field(kw_only=False)
    align: str | None = None
    align_by: Matching = "weights"
    density: float = field(default=1.0, init=False)
    scope: Scope = field(default="global", init=False)
    allocation: None = field(default=None, init=False)
    min_kept: int = field(default=0, init=False)
    pattern: str = field(default="weight", init=False)
    iterations: int = field(default=1, init=False)
    schedule: Schedule = field(default="exponential", init=False)

    @override
    def check(self, network: nn.Module) -> None:
        self._mask = load_masks(self.mask_from, network)
        kept = sum(int(m.sum()) for m in self._mask.values())
        self.density = kept / sum(m.numel() for m in self._mask.values())
        super().check(network)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.density = state_dict["density"]  # the mask is not read again where a fit goes on
        super().load_state_dict(state_dict)

    @override
    def count(self, network: nn.Module, *_: Any, **__: Any) -> int:
        return sum(int(m.sum()) for m in self._mask.values())

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        mask = self._mask if self.align is None else self._aligned(self.align, trainer, pl_module)
        return lambda network: {name: m.float() for name, m in mask.items()}

    def _aligned(self, reference: str, trainer: pl.Trainer, module: pl.LightningModule) -> Mask:
        """The mask, its units in the order of a network that was trained from this run's start."""
        ticket, trained = (copy.deepcopy(network_of(module)).cpu() for _ in range(2))
        load_weights(ticket, self.mask_from)
        load_weights(trained, reference)
        sample = sample_of_fit(trainer, module)
        images = first_images(trainer, IMAGES_TO_ALIGN_BY) if self.align_by == "activations" else None
        found = align(trained, ticket, self.align_by, images, sample, seed=run_seed(trainer))
        rank_zero_info(
            f"MaskFrom: {found.moved:,} units of the ticket change places; cosine to {reference} "
            f"{found.similarity_before:.3f} before, {found.similarity:.3f} after"
        )
        return masks(apply(ticket, found))
