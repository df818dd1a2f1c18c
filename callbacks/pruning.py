"""The base of all pruning callbacks: exact density, zeros that stay zero, one mask on all ranks."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, cast, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from sparsity.callbacks.zeros import KeepMasks, ZeroKeeper, network_of
from sparsity.errors import SparsityError, require_whole_number
from sparsity.interop import load_masks
from sparsity.masks import Mask, add_masks, kept, masked_layers, masks, set_mask, sizes
from sparsity.pruning.ablation import Ablation, ablate
from sparsity.pruning.allocation import Allocation, LayerDensities
from sparsity.pruning.iterative import scheduled_count
from sparsity.pruning.rescale import rescale_to_kept_fan_in
from sparsity.pruning.schedules import Schedule

Scope = Literal["global", "layer"]


class PruningCallback(KeepMasks, ABC):
    """Prunes a network during a fit and keeps every pruned weight at exactly zero.

    Works in any LightningModule with automatic optimisation: masks are added to its `network` attribute if it has
    one, else to the whole module. A subclass decides when to call `prune`; this class keeps the invariant.

    Args:
        density: Kept fraction of the maskable weights at the end, in (0, 1].
        scope: One ranking over the whole network, or one per layer.
        allocation: How the kept weights are spread over layers, which are then ranked each on its own: uniform (the
            default of the scope `layer`), erk (Evci et al. 2020), balanced (Gadhikar et al. 2023), smart_ratio (Su et
            al. 2020), densities in [0, 1] by layer or in their order, or a checkpoint to take them from.
        min_kept: Each layer keeps at least so many weights, 0 or more.

    Raises:
        SparsityError: If an argument is out of its range; before training if the density or allocation cannot be
            met, if a run has two pruners, or if weight averaging would break the masks.
    """

    mask_moves_in_training: ClassVar[bool] = False
    """Whether the mask changes after the first optimizer step."""

    ablation: Ablation | None = None
    """How to break the mask that was found before its weights train, see `sparsity.pruning.ablation`."""

    def __init__(
        self,
        density: float,
        scope: Scope = "global",
        allocation: Allocation | list[float] | dict[str, float] | str | None = None,
        min_kept: int = 0,
    ) -> None:
        if not 0 < density <= 1:  # also refuses NaN
            raise SparsityError(f"density is the fraction of weights to keep, in (0, 1]; {density} is not")
        require_whole_number("min_kept", min_kept, at_least=0)
        super().__init__()
        self.density = density
        self.scope: Scope = scope
        self.allocation = allocation
        self.min_kept = min_kept
        self._layer_densities: LayerDensities | None = None

    @property
    @abstractmethod
    def is_final(self) -> bool:
        """Whether the mask has its final density and what is trained from now on is the sparse network."""

    def current_mask(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights in use now; in a score search fewer than the masks keep."""
        return masks(network)

    @property
    def finds_mask(self) -> bool:
        """Whether there is a moment at which the mask is final and its weights are still to train."""
        return True

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        network = network_of(pl_module)
        if not masked_layers(network):
            add_masks(network)
        total = sum(sizes(network).values())
        if round(self.density * total) < 1:
            raise SparsityError(
                f"density {self.density:g} keeps none of {total:,} weights; ask for at least {1 / total:.2g}"
            )
        pruners = [type(c).__name__ for c in trainer.callbacks if isinstance(c, PruningCallback)]  # type: ignore[attr-defined]
        if len(pruners) > 1:
            raise SparsityError(f"a run has at most one pruner, not {' and '.join(pruners)}; remove all but one")
        self._refuse_broken_averaging(trainer)
        self._layer_densities = self._read_allocation(network)
        self.count(network)
        self._check_ablation(network)

    def _read_allocation(self, network: nn.Module) -> LayerDensities | None:
        allocation = self.allocation
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
        if not self.finds_mask:
            raise SparsityError(
                f"{type(self).__name__} trains weights while its mask moves, so there is no moment for the ablation "
                f"{self.ablation}; run it without, and then --pruner MaskFrom --pruner.mask_from its checkpoint"
            )
        if self.ablation == "invert" and self.density == 1:
            raise SparsityError("the ablation invert keeps what was pruned, and density 1 prunes nothing; lower it")

    def count(
        self, network: nn.Module, step: int = 1, steps: int = 1, schedule: Schedule = "exponential"
    ) -> int | Mapping[str, int]:
        """How many weights are kept after `step` of `steps`: of the network, or of each layer by the allocation."""
        return scheduled_count(network, step, steps, self.density, schedule, self._layer_densities)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.masks_changed(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"density": self.density, "ablation": self.ablation}

    def train_mask(self, trainer: pl.Trainer, mask: Mask, rescale: bool = False) -> None:
        """Set the final mask, or what an ablation makes of it.

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
        set_mask(network, mask)
        self.masks_changed(trainer)
        if collapsed := [name for name, count in kept(network).items() if count == 0]:
            rank_zero_warn(
                f"{type(self).__name__} left no weight in {', '.join(collapsed)}; "
                "min_kept: 1 would keep one in every layer"
            )

    def rebuild_optimizers(self, trainer: pl.Trainer) -> None:
        """Build optimizers and schedules anew from the module, and keep pruned weights at zero under them too."""
        trainer.strategy.setup_optimizers(trainer)
        self.masks_changed(trainer)

    def masks_changed(self, trainer: pl.Trainer) -> None:
        """Make every rank's masks those of rank 0, and keep the newly pruned weights at zero from now on."""
        network = network_of(trainer.lightning_module)
        if trainer.world_size > 1:
            set_mask(network, trainer.strategy.broadcast(masks(network)), trainer.optimizers)
        self._zeros = self._zeros or ZeroKeeper(network)
        self._zeros.refresh()
        self._zeros.attach(trainer.optimizers)

    def _refuse_broken_averaging(self, trainer: pl.Trainer) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for position, other in enumerate(callbacks):
            if not isinstance(other, WeightAveraging | StochasticWeightAveraging):
                continue
            averaging, pruner = type(other).__name__, type(self).__name__
            if self.mask_moves_in_training:
                raise SparsityError(
                    f"{averaging} would average weights over different masks, since {pruner} moves its mask during "
                    "training; remove it, or average while finetuning a final mask"
                )
            if isinstance(other, WeightAveraging) and other._use_buffers:
                raise SparsityError(
                    f"{averaging} with use_buffers: true would average the masks themselves; set use_buffers: false"
                )
            if position < callbacks.index(self):
                raise SparsityError(f"list {pruner} before {averaging}, which copies the network before it has masks")


def find_pruner(trainer: pl.Trainer) -> PruningCallback | None:
    """The run's pruner, if it has one."""
    return next((c for c in trainer.callbacks if isinstance(c, PruningCallback)), None)  # type: ignore[attr-defined]


def run_seed(trainer: pl.Trainer) -> int:
    """The run's base seed, the same on all ranks even if nobody seeded them."""
    seed: int = trainer.strategy.broadcast(torch.initial_seed())
    return seed


def sample_shape(trainer: pl.Trainer, module: pl.LightningModule) -> tuple[int, ...]:
    """Shape of one input sample: of the module's `example_input_array`, the data module, or the first training batch.

    Raises:
        SparsityError: If none of them tells.
    """
    if isinstance(module.example_input_array, Tensor):
        return tuple(module.example_input_array.shape[1:])
    data = trainer.datamodule  # type: ignore[attr-defined]
    if hasattr(data, "input_shape"):
        return tuple(data.input_shape)
    trainer.fit_loop.setup_data()
    batch: Any = next(iter(cast("Iterable[Any]", trainer.train_dataloader)))
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(images, Tensor):
        raise SparsityError(
            f"cannot tell the input's shape from a {type(images).__name__}; "
            f"set example_input_array in {type(module).__name__}"
        )
    return tuple(images.shape[1:])
