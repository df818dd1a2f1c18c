"""Pruning during training: gradual magnitude pruning, and sparse training with a mask that moves (SET, RigL)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from sparsity.callbacks.batches import sample_of_fit
from sparsity.callbacks.before_training import Rescale
from sparsity.callbacks.network import network_of
from sparsity.callbacks.pruning import PruningCallback, Scope, require_new_trainer, run_seed
from sparsity.errors import SparsityError, require_whole_number
from sparsity.graph.needed import removable
from sparsity.graph.sample import trace_of
from sparsity.masks import Mask, Place, masked, masked_weights, masks
from sparsity.pruning.allocation import Allocation
from sparsity.pruning.drop_and_grow import drop_and_grow
from sparsity.pruning.groups import fan_ins
from sparsity.pruning.iterative import scheduled_count
from sparsity.pruning.rescale import rescale_to_kept_fan_in
from sparsity.pruning.saliency import Saliency, magnitude_saliency, random_saliency, sums_are_finite
from sparsity.pruning.schedules import Decline, cosine_decay
from sparsity.pruning.selection import Selection
from sparsity.pruning.structured_moves import drop_and_grow_fan_in, drop_and_grow_n_m
from sparsity.pruning.whole_units import removable_rows
from sparsity.seeding import derive_seed


@dataclass(kw_only=True, eq=False)
class PruneDuringTraining(PruningCallback):
    """Changes the mask every few optimizer steps, right before a step. A subclass says how.

    Args:
        start: When to begin, as a fraction of the run's steps, in [0, 1).
        stop: When to make the last change, as a fraction of the run's steps, in (start, 1].
        interval: Optimizer steps between changes, at least 1. Default: 100, in runs of under 4,000 steps a fortieth.

    Raises:
        SparsityError: If an argument is out of its range; before training if the run's length is not known, or too
            short.

    Example:
        >>> class Linearly(PruneDuringTraining):
        ...     is_final = False
        ...
        ...     def new_mask(self, network, step, steps):
        ...         self.is_final = step == steps
        ...         count = self.count(network, step, steps, "linear")
        ...         return self.highest(network, magnitude_saliency(network), count)
        >>> trainer = pl.Trainer(callbacks=[Linearly(density=0.1)], max_epochs=20)
    """

    mask_moves_in_training: ClassVar[bool] = True

    start: float = 0.0
    stop: float = 0.75
    interval: int | None = None

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start < self.stop <= 1:
            raise SparsityError(
                f"start and stop are fractions of the run, 0 <= start < stop <= 1, not {self.start}, {self.stop}"
            )
        if self.interval is not None:
            require_whole_number("interval", self.interval, at_least=1)

    @override
    def reset(self) -> None:
        super().reset()
        self._plan = UNPLANNED
        self._last_change = -1
        self._seed = 0

    @abstractmethod
    def new_mask(self, network: nn.Module, step: int, steps: int) -> Mask:
        """The mask from now on, `step` of `steps` optimizer steps after the first change; gradients are at hand."""

    def initial_mask(self, network: nn.Module) -> Mask:
        """The mask to begin with, before the first step; what is kept already by default."""
        return masks(network)

    @property
    @override
    def supports_ablation(self) -> bool:
        return False

    @override
    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(trainer.optimizers) > 1:
            raise SparsityError(
                f"{type(self).__name__} changes masks between the steps of one optimizer, and this module has "
                f"{len(trainer.optimizers)}; prune before training, or train with one"
            )
        if self._plan is not UNPLANNED:
            super().begin_fit(trainer, pl_module)
            return
        require_new_trainer(trainer, type(self).__name__)
        self._plan = self._make_plan(trainer)
        self._seed = derive_seed(type(self).__name__, seed=run_seed(trainer))
        self.prune_to(trainer, self.initial_mask(network_of(pl_module)))

    def _make_plan(self, trainer: pl.Trainer) -> "Plan":
        name, total = type(self).__name__, trainer.estimated_stepping_batches
        if total == float("inf") or total < 1:
            raise SparsityError(
                f"{name} needs to know the length of the run; set trainer.max_steps, or max_epochs where training data "
                "have a length"
            )
        steps = int(total)
        first, last = round(self.start * steps), min(round(self.stop * steps), steps - 1)
        if last <= first:
            raise SparsityError(
                f"{name} finds no step between {self.start:g} and {self.stop:g} of a run of {steps} steps; train longer"
            )
        plan = Plan(first, last, self.interval or min(100, max(1, steps // 40)))
        rank_zero_info(f"{name}: a new mask every {plan.interval} steps, from step {first} to {last} of {steps}")
        return plan

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._is_due(trainer):  # a change may want the gradients of pruned weights
            super().on_after_backward(trainer, pl_module)

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._is_due(trainer):
            self.require_masks(pl_module)
            network, self._last_change = network_of(pl_module), _position(trainer)
            step, steps = self._last_change - self._plan.first, self._plan.last - self._plan.first
            self.prune_to(trainer, self.new_mask(network, step, steps))
        super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Whether the step at hand changes the mask; some optimizers ask for its gradients more than once."""
        position = _position(trainer)
        return position != self._last_change and self._plan.changes_at(position)

    @override
    def state_dict(self) -> dict[str, Any]:
        plan = None if self._plan is UNPLANNED else asdict(self._plan)
        return {**super().state_dict(), "plan": plan, "seed": self._seed, "last_change": self._last_change}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        plan = state_dict["plan"]
        self._plan = UNPLANNED if plan is None else Plan(**plan)
        self._seed = state_dict["seed"]
        self._last_change = state_dict["last_change"]


@dataclass(frozen=True)
class Plan:
    """When the mask changes.

    Args:
        first: Step of the first change, counted from 0.
        last: Step of the last change.
        interval: Steps between changes.
    """

    first: int
    last: int
    interval: int

    def changes_at(self, step: int) -> bool:
        """Whether the mask changes right before a step."""
        if not self.first <= step <= self.last:
            return False
        return step == self.last or (step - self.first) % self.interval == 0


UNPLANNED = Plan(first=-1, last=-2, interval=1)
"""Before a fit has begun."""


def _position(trainer: pl.Trainer) -> int:
    """Steps taken so far, as the length of a run counts them: batches, if the module steps by itself."""
    module = trainer.lightning_module
    return trainer.global_step if module.automatic_optimization else trainer.fit_loop.total_batch_idx


@dataclass(kw_only=True, eq=False)
class GradualMagnitude(PruneDuringTraining):
    """Cuts the smallest weights step by step while training; the density falls along a cubic (Zhu & Gupta 2017).

    Args:
        start: When to begin, as a fraction of the run's steps, in [0, 1).

    Example:
        >>> trainer = pl.Trainer(callbacks=[GradualMagnitude(density=0.1)], max_epochs=20)
    """

    start: float = 0.2

    @override
    def reset(self) -> None:
        super().reset()
        self._final = False

    @property
    @override
    def is_final(self) -> bool:
        return self._final

    @override
    def new_mask(self, network: nn.Module, step: int, steps: int) -> Mask:
        self._final = step == steps
        count = self.count(network, step, steps, "cubic")
        mask = self.highest(network, magnitude_saliency(network), count)
        if self._final:
            self.tell_density(network, mask)
        return mask

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "final": self._final}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._final = state_dict["final"]


@dataclass(kw_only=True, eq=False)
class SparseTraining(PruneDuringTraining):
    """Trains a sparse network from the start and moves its mask: in each layer the smallest weights make room.

    A layer's density never changes, and dense layers are left alone. A weight that grows starts at 0, with an
    optimizer state of 0, and takes part in the step at hand. A subclass says which weights grow.

    Args:
        drop_fraction: Of each layer's kept weights moved at the first change, in (0, 1); it falls to 0 along a cosine.
        allocation: How the kept weights are spread over layers: erk (Evci et al. 2020), uniform, balanced,
            smart_ratio, densities in [0, 1] by layer or in their order, or a checkpoint to take them from.
        rescale: `kept_fan_in` gives each unit's first weights the norm that all of them had, which is the same
            initialisation at their number (Evci et al. 2022); `none` leaves them as they are.
        pattern: How kept weights lie: anywhere (`weight`); `2:4` or any other n of m consecutive inputs, whose density
            is n/m; or equally many inputs of each unit (`fan_in`; with RigL that is SRigL, Lasby et al. 2024).
        ablation_threshold: Under `fan_in`, a unit with fewer salient weights than this fraction of its fan-in is
            ablated, and the others share its weights (gamma_sal of Lasby et al.), in [0, 1]; 0 ablates none. Salient
            is what is not dropped, or has the growth to come back. Outputs of the network stay.

    Raises:
        SparsityError: If an argument is out of its range, or the pattern is another.

    Example:
        >>> class LargestGrow(SparseTraining):
        ...     def growth(self, network, step):
        ...         return magnitude_saliency(network)
        >>> trainer = pl.Trainer(callbacks=[LargestGrow(density=0.1)], max_epochs=20)
    """

    drop_fraction: float = 0.3
    allocation: Allocation | list[float] | dict[str, float] | str = "erk"
    rescale: Rescale = "kept_fan_in"
    ablation_threshold: float = 0.3
    scope: Scope = field(default="global", init=False)
    min_kept: int = field(default=0, init=False)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.drop_fraction < 1:
            raise SparsityError(f"drop_fraction is a fraction in (0, 1), not {self.drop_fraction}")
        if not 0 <= self.ablation_threshold <= 1:
            raise SparsityError(f"ablation_threshold is a fraction in [0, 1], not {self.ablation_threshold}")
        if self.parsed_pattern.kind not in ("weight", "n:m", "fan_in"):
            raise SparsityError(
                f"{type(self).__name__} moves weights one by one, not {self.parsed_pattern}; choose the pattern "
                "weight, n:m or fan_in"
            )
        self._may_go: dict[str, Tensor] = {}

    @override
    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.parsed_pattern.kind == "fan_in" and self.ablation_threshold:
            self._may_go = self._units_to_ablate(trainer, pl_module)
        super().begin_fit(trainer, pl_module)

    def _units_to_ablate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Tensor]:
        network = network_of(pl_module)
        try:
            units = removable(trace_of(network, sample_of_fit(trainer, pl_module)))
        except SparsityError as error:
            rank_zero_warn(f"{type(self).__name__} ablates no units, since it cannot tell which are outputs: {error}")
            return {}
        return removable_rows(masked(network), units)

    @abstractmethod
    def growth(self, network: nn.Module, step: int) -> Saliency:
        """Which pruned weights to grow: those with the highest values."""

    @property
    @override
    def is_final(self) -> bool:
        return self._plan is not UNPLANNED

    @override
    def count(
        self, network: nn.Module, step: int = 1, steps: int = 1, decline: Decline = "exponential"
    ) -> int | Mapping[str, int]:
        # Whatever the network kept before: a mask that moves may grow.
        return scheduled_count(network, step, steps, self.density, decline, self._layer_densities)

    @override
    def initial_mask(self, network: nn.Module) -> Mask:
        # Weights that were kept before come first, so that a network that is sparse already is cut further.
        order = {n: s + masks(network)[n] for n, s in random_saliency(network, self._seed).items()}
        everything = {name: torch.ones_like(m) for name, m in masks(network).items()}
        mask = self._selector(order, self.count(network), everything, 0).masks
        self.tell_density(network, mask)
        if self.rescale == "kept_fan_in":
            rescale_to_kept_fan_in(network, mask)
        return mask

    @override
    def new_mask(self, network: nn.Module, step: int, steps: int) -> Mask:
        growth = self.growth(network, step)
        # A loss scaler skips a step whose gradients overflowed; such gradients do not say where to grow.
        if not sums_are_finite(growth):
            return masks(network)
        moved = self._moved(network, growth, self.drop_fraction * cosine_decay(step, steps))
        self.tell_lots(moved.by_lot, moved.masks)
        if step == steps and self._may_go:
            _tell_ablated(type(self).__name__, masked(network), moved.masks)
        return moved.masks

    def _moved(self, network: nn.Module, growth: Saliency, fraction: float) -> Selection:
        places, mask = masked(network), masks(network)
        weights = {name: weight.detach() for name, weight in masked_weights(network).items()}
        match self.parsed_pattern.kind:
            case "n:m":
                return drop_and_grow_n_m(places, weights, growth, mask, fraction, *self.parsed_pattern.sizes)
            case "fan_in":
                count = self.count(network)
                assert not isinstance(count, int)  # there is always an allocation
                budget, threshold = fan_ins(places, count), self.ablation_threshold
                return drop_and_grow_fan_in(places, weights, growth, mask, fraction, budget, threshold, self._may_go)
        return drop_and_grow(weights, growth, mask, fraction)


def _tell_ablated(name: str, places: Mapping[str, Place], mask: Mask) -> None:
    live = {n: place.by_unit(mask[n]).flatten(1).any(1) for n, place in places.items()}
    gone = {n: int((~units).sum()) for n, units in live.items()}
    layers = ", ".join(f"{n} {count}" for n, count in gone.items() if count)
    total = sum(map(len, live.values()))
    rank_zero_info(f"{name} ablated {sum(gone.values())} of {total} units{f' ({layers})' if layers else ''}")


@dataclass(kw_only=True, eq=False)
class SET(SparseTraining):
    """Sparse evolutionary training: weights grow at random (Mocanu et al. 2018).

    Example:
        >>> trainer = pl.Trainer(callbacks=[SET(density=0.1, drop_fraction=0.2)], max_epochs=20)
    """

    @override
    def growth(self, network: nn.Module, step: int) -> Saliency:
        return random_saliency(network, derive_seed("growth", step, seed=self._seed))


@dataclass(kw_only=True, eq=False)
class RigL(SparseTraining):
    """Rigging the lottery: weights grow where the loss has the largest gradient (Evci et al. 2020).

    Example:
        >>> trainer = pl.Trainer(callbacks=[RigL(density=0.1, interval=50)], max_epochs=20)
    """

    @override
    def growth(self, network: nn.Module, step: int) -> Saliency:
        layers = masked_weights(network)
        return {n: torch.zeros_like(w) if w.grad is None else w.grad.abs() for n, w in layers.items()}
