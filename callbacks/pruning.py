"""The base of all pruning callbacks: exact density, zeros that stay zero, one mask on all ranks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from sparsity.callbacks.batches import sample_of_fit
from sparsity.callbacks.keep_masks import KeepMasks
from sparsity.callbacks.network import network_of
from sparsity.callbacks.phase import Phase, epoch_of
from sparsity.checkpoints.loading import load_masks
from sparsity.errors import SparsityError, require_whole_number
from sparsity.masks import Mask, add_masks, density, kept, masked_weights, masks, set_mask, sizes
from sparsity.pruning.ablation import Ablation, ablate
from sparsity.pruning.allocation import Allocation, LayerDensities
from sparsity.pruning.iterative import scheduled_count
from sparsity.pruning.pattern import Pattern, Selector, exceptions, selector
from sparsity.pruning.rescale import rescale_to_kept_fan_in
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.schedules import Decline
from sparsity.pruning.selection import select
from sparsity.trainer.internals import averages_buffers

Scope = Literal["global", "layer"]

_MANY_LOTS = 0.05
"""A share of lots that is a warning and not a remark."""


@dataclass(kw_only=True, eq=False)
class PruningCallback(KeepMasks, ABC):
    """Prunes a network during a fit and keeps every pruned weight at exactly zero.

    Works in any LightningModule with automatic optimisation: masks are added to its `network` attribute if it has
    one, else to the whole module. A subclass decides when to call `prune`; this class keeps the invariant.

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        scope: One ranking over the whole network, or one per layer.
        allocation: How the kept weights are spread over layers, which are then ranked each on its own: uniform (the
            default of the scope `layer`), erk (Evci et al. 2020), balanced (Gadhikar et al. 2023), smart_ratio (Su et
            al. 2020), densities in [0, 1] by layer or in their order, or a checkpoint to take them from.
        min_kept: Each layer keeps at least so many weights, 0 or more.
        pattern: How kept weights lie: anywhere (`weight`); `2:4` or any other n of m consecutive inputs, whose density
            is n/m; in blocks of units by inputs such as `4x1`; in whole kernels of convolutions (`kernel`) or whole
            units (`unit`), which compaction removes; or equally many inputs of each unit (`fan_in`).

    Raises:
        SparsityError: If an argument is out of its range; before training if the density or allocation cannot be
            met, if a run has two pruners, or if weight averaging would break the masks.

    Example:
        >>> class Halves(PruningCallback):
        ...     def reset(self):
        ...         super().reset()
        ...         self.kept = 1.0
        ...
        ...     @property
        ...     def is_final(self):
        ...         return self.kept == self.density
        ...
        ...     def on_train_epoch_end(self, trainer, pl_module):
        ...         network, self.kept = pl_module.network, max(self.kept / 2, self.density)
        ...         count = round(self.kept * sum(sizes(network).values()))
        ...         self.prune_to(trainer, self.highest(network, magnitude_saliency(network), count))
        >>> trainer = pl.Trainer(callbacks=[Halves(density=0.2)])
    """

    mask_moves_in_training: ClassVar[bool] = False
    """Whether the mask changes after the first optimizer step."""

    density: float = field(kw_only=False)
    scope: Scope = "global"
    allocation: Allocation | list[float] | dict[str, float] | str | None = None
    min_kept: int = 0
    pattern: str = "weight"
    ablation: Ablation | None = field(default=None, init=False)
    """How to break the mask that was found before its weights train, see `sparsity.pruning.ablation`."""

    def __post_init__(self) -> None:
        if not isinstance(self.density, int | float) or not 0 < self.density <= 1:  # also refuses NaN
            raise SparsityError(f"density is the fraction of weights to keep, in (0, 1]; {self.density!r} is not")
        require_whole_number("min_kept", self.min_kept, at_least=0)
        self.parsed_pattern = Pattern.parse(self.pattern)
        self.parsed_pattern.require_density(self.density)
        self._layer_densities: LayerDensities | None = None
        self._selector: Selector = select
        super().__init__()

    @property
    @abstractmethod
    def is_final(self) -> bool:
        """Whether the mask has its final density and what is trained from now on is the sparse network."""

    def current_mask(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights in use now; in a score search fewer than the masks keep."""
        return masks(network)

    def phase(self, trainer: pl.Trainer) -> Phase:
        """What the fit is at, in the epoch that has begun."""
        return epoch_of(trainer)

    @property
    def supports_ablation(self) -> bool:
        """Whether there is a moment at which the mask is final and its weights are still to train."""
        return True

    @override
    def reset(self) -> None:
        super().reset()
        self.masks_set = 0
        """How often this process has set the mask: whoever watches it compares."""
        self._kept_at_start: dict[str, int] | None = None
        self._said_lots = False
        self._said_density = False

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        pruners = [type(c).__name__ for c in trainer.callbacks if isinstance(c, PruningCallback)]  # type: ignore[attr-defined]
        if len(pruners) > 1:
            raise SparsityError(f"a run has at most one pruner, not {' and '.join(pruners)}; remove all but one")
        self._refuse_broken_averaging(trainer)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = network_of(pl_module)
        self.take_layers(pl_module)
        if not masks(network):
            add_masks(network)  # says what there would have to be
        if self._kept_at_start is None:
            self._kept_at_start = kept(network)
        self.check(network)
        _require_training(trainer, network, type(self).__name__)
        sample = sample_of_fit(trainer, pl_module) if self.parsed_pattern.kind == "unit" else None
        self._selector = selector(self.parsed_pattern, network, sample, self.scope == "layer")
        self.begin_fit(trainer, pl_module)

    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What happens right before training, when all layers are there, or a resumed fit has its state back."""
        self.sync_masks(trainer)

    def check(self, network: nn.Module) -> None:
        """Refuse what cannot be done with this network, before anything is done.

        Raises:
            SparsityError: Says what, and what to ask for instead.
        """
        total = sum(sizes(network).values())
        if round(self.density * total) < 1:
            raise SparsityError(
                f"density {self.density:g} keeps none of {total:,} weights; ask for at least {1 / total:.2g}"
            )
        self._layer_densities = self._read_allocation(network)
        self.count(network)
        self._check_ablation(network)

    def _read_allocation(self, network: nn.Module) -> LayerDensities | None:
        allocation, kind = self.allocation, self.parsed_pattern.kind
        own = (None, type(self).allocation, *(["uniform"] if kind == "n:m" else []))
        if kind in ("n:m", "unit") and allocation not in own:
            raise SparsityError(
                f"the pattern {self.parsed_pattern} says itself how many weights each layer keeps; leave allocation out"
            )
        if kind == "unit":  # which lie in several layers
            return None
        if allocation is None:
            return "uniform" if self.scope == "layer" else None
        if not isinstance(allocation, str):
            return allocation
        if allocation in get_args(Allocation):
            return cast("Allocation", allocation)
        return {name: float(m.double().mean()) for name, m in load_masks(allocation, network).items()}

    def _check_ablation(self, network: nn.Module) -> None:
        if self.ablation is None:
            return
        if not self.supports_ablation:
            raise SparsityError(
                f"{type(self).__name__} trains weights while its mask moves, so there is no moment for the ablation "
                f"{self.ablation}; run it without, and then --pruner MaskFrom --pruner.mask_from its checkpoint"
            )
        if self.parsed_pattern.kind != "weight" and self.ablation != "reinitialise":
            raise SparsityError(
                f"the ablation {self.ablation} moves single weights, and breaks the pattern {self.parsed_pattern}; use "
                "reinitialise, or the pattern weight"
            )
        if self.ablation == "invert" and self.density == 1:
            raise SparsityError("the ablation invert keeps what was pruned, and density 1 prunes nothing; lower it")

    def count(
        self, network: nn.Module, step: int = 1, steps: int = 1, decline: Decline = "exponential"
    ) -> int | Mapping[str, int]:
        """How many weights are kept after `step` of `steps`: of the network, or of each layer by the allocation."""
        return scheduled_count(network, step, steps, self.density, decline, self._layer_densities, self._kept_at_start)

    def highest(self, network: nn.Module, saliency: Saliency, count: int | Mapping[str, int]) -> dict[str, Tensor]:
        """The masks that keep the highest of the weights kept now; says if a lot had to choose."""
        selection = self._selector(saliency, count, masks(network), self.min_kept)
        self.tell_lots(selection.by_lot, selection.masks)
        return selection.masks

    def tell_lots(self, by_lot: Mask, mask: Mask) -> None:
        """Say, once in a fit, how many weights are kept only because a lot chose them among equals.

        Args:
            by_lot: What a `Selection` has.
            mask: What is kept.
        """
        if self._said_lots or not by_lot:
            return
        names = list(by_lot)
        lots = torch.stack([(by_lot[name] & mask[name]).sum() for name in names]).tolist()
        if not sum(lots):
            return
        self._said_lots = True
        counts = {name: int(mask[name].sum()) for name in mask}
        shares = [f"{name} {lot / counts[name]:.1%}" for name, lot in zip(names, lots, strict=True) if lot]
        share = sum(lots) / sum(counts.values())
        say = rank_zero_warn if share >= _MANY_LOTS else rank_zero_info
        say(
            f"{type(self).__name__} chose {share:.2%} of the weights it keeps by lot, since it ranks them equal to "
            f"weights that it prunes (of {', '.join(shares[:10])}{', ...' * (len(shares) > 10)})"
        )

    def tell_density(self, network: nn.Module, mask: Mask) -> None:
        """Say, once in a fit, what a pattern keeps if that is not what was asked, and why.

        Args:
            network: With masks.
            mask: The final one.
        """
        if self._said_density or self.parsed_pattern.kind == "weight":
            return
        total = sum(m.numel() for m in mask.values())
        reached, asked = int(torch.stack([m.sum() for m in mask.values()]).sum()), round(self.density * total)
        if reached == asked:
            return
        self._said_density = True
        reasons = exceptions(self.parsed_pattern, network)
        why = f": {', '.join(reasons[:5])}{', ...' * (len(reasons) > 5)}" if reasons else ""
        rank_zero_info(
            f"{type(self).__name__} reaches density {reached / total:.6g} by the pattern {self.parsed_pattern}, "
            f"{reached:,} weights and not {asked:,}{why}"
        )

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.is_final and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_warn(
                f"the run ended before {type(self).__name__} was done: the network has density "
                f"{density(network_of(pl_module)):.6g}, not {self.density:g}; train longer"
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "density": self.density,
            "pattern": str(self.parsed_pattern),
            "ablation": self.ablation,
            "layers": self._names,
            "kept_at_start": self._kept_at_start,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (there := state_dict.get("pattern", "weight")) != str(self.parsed_pattern):
            raise _of_another_run(f"pattern {there}", str(self.parsed_pattern))
        if (asked := state_dict.get("density", self.density)) != self.density:
            raise _of_another_run(f"density {asked:g}", f"{self.density:g}")
        self._names = state_dict["layers"]
        self._kept_at_start = state_dict["kept_at_start"]

    @override
    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        states = checkpoint.get("callbacks", {})
        others = [key for key, state in states.items() if isinstance(state, Mapping) and "kept_at_start" in state]
        if trainer.state.fn == TrainerFn.FITTING and others and self.state_key not in states:
            raise _of_another_run(f"the pruner {others[0]}", type(self).__name__)

    def commit_mask(self, trainer: pl.Trainer, mask: Mask, rescale: bool = False) -> None:
        """Prune to the final mask, or to what an ablation makes of it.

        The network holds the weights that training is to start from, none of them zeroed: this is the moment at which
        a mask is found and its weights are still to train.

        Args:
            trainer: In a fit.
            mask: What was found.
            rescale: Whether to give each unit's kept weights the norm of all of them.
        """
        network = network_of(trainer.lightning_module)
        mask = {name: m.to(trainer.strategy.root_device) for name, m in mask.items()}
        if self.ablation is not None:
            mask = ablate(network, mask, self.ablation, run_seed(trainer))
        if rescale:
            rescale_to_kept_fan_in(network, mask)
        self.prune_to(trainer, mask)
        self.tell_density(network, mask)
        if collapsed := [name for name, count in kept(network).items() if count == 0]:
            rank_zero_warn(
                f"{type(self).__name__} left no weight in {', '.join(collapsed)}; "
                "min_kept: 1 would keep one in every layer"
            )

    def prune_to(self, trainer: pl.Trainer, mask: Mask) -> None:
        """Make a mask, that of rank 0, every rank's from now on; weights and optimizer state follow."""
        set_mask(network_of(trainer.lightning_module), of_first_rank(trainer, mask), trainer.optimizers)
        self.masks_set += 1
        self.enforce_masks(trainer)

    def sync_masks(self, trainer: pl.Trainer) -> None:
        """Make the masks that the network has those of rank 0, and see to it that what they prune is zero."""
        self.prune_to(trainer, masks(network_of(trainer.lightning_module)))

    def rebuild_optimizers(self, trainer: pl.Trainer) -> None:
        """Build optimizers and schedules anew from the module, and keep pruned weights at zero under them too."""
        trainer.strategy.setup_optimizers(trainer)
        self.enforce_masks(trainer)

    def _refuse_broken_averaging(self, trainer: pl.Trainer) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for other in callbacks:
            if not isinstance(other, WeightAveraging | StochasticWeightAveraging):
                continue
            averaging, pruner = type(other).__name__, type(self).__name__
            if self.mask_moves_in_training:
                raise SparsityError(
                    f"{averaging} would average weights over different masks, since {pruner} moves its mask during "
                    "training; remove it, or average while finetuning a final mask"
                )
            if isinstance(other, WeightAveraging) and averages_buffers(other):
                raise SparsityError(
                    f"{averaging} with use_buffers: true would average the masks themselves; set use_buffers: false"
                )


def find_pruner(trainer: pl.Trainer) -> PruningCallback | None:
    """The run's pruner, if it has one."""
    return next((c for c in trainer.callbacks if isinstance(c, PruningCallback)), None)  # type: ignore[attr-defined]


def mask_in_use(trainer: pl.Trainer, network: nn.Module) -> Mapping[str, Tensor]:
    """The weights that the network uses now, by layer: what the run's pruner says, else what its masks keep."""
    pruner = find_pruner(trainer)
    return masks(network) if pruner is None else pruner.current_mask(network)


def of_first_rank(trainer: pl.Trainer, mask: Mask) -> Mask:
    """The mask that rank 0 has, on every rank."""
    return trainer.strategy.broadcast(mask) if trainer.world_size > 1 else mask


def run_seed(trainer: pl.Trainer) -> int:
    """The run's base seed, the same on all ranks even if nobody seeded them."""
    seed: int = trainer.strategy.broadcast(torch.initial_seed())
    return seed


def require_new_trainer(trainer: pl.Trainer, pruner: str) -> None:
    """Refuse a Trainer that has trained something else: it counts its epochs and steps on, and plans start at 0.

    Raises:
        SparsityError: If it has taken steps.
    """
    if trainer.global_step > 0 and not trainer.ckpt_path:
        raise SparsityError(
            f"{pruner} plans a whole run, and this Trainer counts on from step {trainer.global_step} of another; make "
            "a new Trainer for a new fit"
        )


def _require_training(trainer: pl.Trainer, network: nn.Module, pruner: str) -> None:
    """Refuse to prune what does not train: it would be destroyed, and not be what the density is meant for."""
    trained = {id(p) for o in trainer.optimizers for group in o.param_groups for p in group["params"]}
    weights = masked_weights(network)
    idle = [name for name, weight in weights.items() if not weight.requires_grad or id(weight) not in trained]
    if idle and trained:
        raise SparsityError(
            f"{pruner} would prune layer {idle[0]!r}{f' and {len(idle) - 1} others' * (len(idle) > 1)}, whose weight "
            "does not train (requires_grad is False, or no optimizer has it); let it train, or exclude it: "
            "add_masks(network, exclude=[...]), model.exclude on the command line"
        )


def _of_another_run(there: str, here: str) -> SparsityError:
    told = f"the checkpoint is of a run with {there}, and this one has {here}; use the same"
    return SparsityError(f"{told}, or load its weights without ckpt_path to prune them anew")
