"""Lottery tickets: train, cut the smallest weights, rewind, and train again, in one fit."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from typing_extensions import override

from sparsity.callbacks.checkpoint import SparseCheckpoint
from sparsity.callbacks.network import network_of
from sparsity.callbacks.phase import Phase
from sparsity.callbacks.pruning import PruningCallback, require_new_trainer
from sparsity.errors import SparsityError, require_whole_number
from sparsity.forward.non_finite import layer_in_words
from sparsity.masks import density, mask_keys
from sparsity.pruning.saliency import magnitude_saliency

Rewind = Literal["init", "learning_rate", "finetune"]


@dataclass(kw_only=True, eq=False)
class IterativeMagnitude(PruningCallback):
    """Iterative magnitude pruning with rewinding (Frankle & Carbin 2019, Frankle et al. 2020, Renda et al. 2020).

    After each round of training the smallest weights are cut, so that after cut r of R the density is
    `density ** (r / R)`, and the rest goes back to where it was. R cuts need R + 1 trainings, which share
    `trainer.max_epochs` equally. Every training has an optimizer and a learning-rate schedule of its own. What each
    round reached is logged under `round/` and saved as `round_<number>.ckpt` beside the other checkpoints.

    Args:
        rounds: Number of cuts, at least 1. Default: so many that each cuts about a fifth of the weights, as Frankle &
            Carbin do, but at most what leaves every training two epochs.
        rewind: To `init` (Frankle & Carbin 2019), to the state after so many optimizer steps (an integer; Frankle et
            al. 2020), or of the `learning_rate` alone, the weights staying as trained (Renda et al. 2020). Data come
            in the order that followed that state, if they are from a data module of this package. `finetune` rewinds
            nothing: weights and schedule go on from where they are, at the last rate of a MultiStepLR.

    Raises:
        SparsityError: If an argument is out of its range; before training if the epochs do not suffice.

    Example:
        >>> trainer = pl.Trainer(callbacks=[IterativeMagnitude(density=0.2, rounds=3)], max_epochs=20)
    """

    mask_moves_in_training: ClassVar[bool] = True

    rounds: int | None = None
    rewind: Rewind | int = "init"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds is not None:
            require_whole_number("rounds", self.rounds, at_least=1)
        if not isinstance(self.rewind, str):
            require_whole_number("the step to rewind to", self.rewind, at_least=0)

    @override
    def reset(self) -> None:
        super().reset()
        self._plan = UNPLANNED
        self._cuts_done = 0
        self._origin: dict[str, Any] | None = None

    @property
    @override
    def is_final(self) -> bool:
        return self._plan is not UNPLANNED and self._cuts_done == self._plan.rounds

    @override
    def phase(self, trainer: pl.Trainer) -> Phase:
        done, plan = self._cuts_done, self._plan
        is_last = done == plan.rounds
        epochs = (trainer.max_epochs or 0) - done * plan.epochs if is_last else plan.epochs
        return Phase("training", trainer.current_epoch + 1 - done * plan.epochs, epochs, (done, plan.rounds))

    @property
    @override
    def supports_ablation(self) -> bool:
        return self._rewinds_weights

    @property
    def _rewinds_weights(self) -> bool:
        return self.rewind not in ("learning_rate", "finetune")

    @property
    def _rewind_in_words(self) -> str:
        if self.rewind == "finetune":
            return "finetuning"
        return f"rewinding to {self.rewind if isinstance(self.rewind, str) else f'step {self.rewind}'}"

    def make_plan(self, max_epochs: int | None) -> "TicketPlan":
        """Divide a run into rounds.

        Raises:
            SparsityError: If there are not enough epochs.
        """
        if max_epochs is None or max_epochs < 2:
            raise SparsityError("IterativeMagnitude trains at least twice; set trainer.max_epochs to 2 or more")
        rounds = self.rounds
        if rounds is None:
            fifths = math.ceil(math.log(self.density) / math.log(0.8) - 1e-9)
            rounds = max(1, min(fifths, max_epochs // 2 - 1))
        if max_epochs < rounds + 1:
            raise SparsityError(
                f"{rounds} rounds need {rounds + 1} trainings of at least an epoch; trainer.max_epochs is {max_epochs}"
            )
        return TicketPlan(rounds, max_epochs // (rounds + 1))

    @override
    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().begin_fit(trainer, pl_module)
        if self._plan is UNPLANNED:
            require_new_trainer(trainer, type(self).__name__)
            self._plan = self.make_plan(trainer.max_epochs)
            self._require_reachable_step(trainer, self._plan)
            self._require_initial_weights(network_of(pl_module))
            rank_zero_info(
                f"IterativeMagnitude: {self._plan.rounds} cuts between trainings of {self._plan.epochs} epochs, "
                f"{self._rewind_in_words}"
            )

    def _require_reachable_step(self, trainer: pl.Trainer, plan: "TicketPlan") -> None:
        if not isinstance(self.rewind, int):
            return
        total, epochs = trainer.estimated_stepping_batches, trainer.max_epochs
        steps = int(total * plan.epochs / epochs)  # type: ignore[operator]
        if self.rewind >= steps:
            raise SparsityError(
                f"the step {self.rewind} to rewind to is not within the first training of {steps} steps; "
                "take an earlier one"
            )

    def _require_initial_weights(self, network: nn.Module) -> None:
        """Refuse to rewind to weights that the first batch makes."""
        lazy = [name.rpartition(".")[0] for name, tensor in _tensors(network).items() if is_lazy(tensor)]
        if lazy and self.rewind in ("init", 0):
            raise SparsityError(
                f"{layer_in_words(lazy[0])} is lazy and has no weights yet to rewind to; let it see one batch first"
            )

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # What belongs to the end of an epoch is done here, since a checkpoint of that epoch was saved before.
        due = min(self._plan.rounds, trainer.current_epoch // self._plan.epochs)
        if self._cuts_done < due and self._origin is not None:
            self._end_round(trainer)
            self._prune_step(trainer, network_of(pl_module), self._origin)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = self.rewind if isinstance(self.rewind, int) else 0
        if self._origin is None and trainer.global_step >= step:
            weights = _tensors(network_of(pl_module)) if self._rewinds_weights else {}
            self._origin = _state(trainer, weights, batch_idx)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self.is_final:
            self._end_round(trainer)

    def _end_round(self, trainer: pl.Trainer) -> None:
        reached = density(network_of(trainer.lightning_module))
        metrics = {n: float(value) for n, value in trainer.callback_metrics.items() if n.startswith("val/")}
        for logger in trainer.loggers:
            values = {"round/density": reached, **{f"round/{name}": value for name, value in metrics.items()}}
            logger.log_metrics(values, step=self._cuts_done)
        said = "".join(f", {name} {value:.4g}" for name, value in metrics.items())
        rank_zero_info(f"IterativeMagnitude: round {self._cuts_done} ends at density {reached:.4g}{said}")
        if isinstance(checkpoints := trainer.checkpoint_callback, SparseCheckpoint):
            checkpoints.save_network(trainer, f"round_{self._cuts_done}.ckpt")

    def _prune_step(self, trainer: pl.Trainer, network: nn.Module, origin: dict[str, Any]) -> None:
        self._cuts_done += 1
        count = self.count(network, self._cuts_done, self._plan.rounds, "cuts")
        mask = self.highest(network, magnitude_saliency(network), count)
        if self.rewind == "finetune":
            origin = _state(trainer, {}, 0)
        if self._rewinds_weights:
            network.load_state_dict(origin["network"], strict=False)
        if self.is_final:
            self.commit_mask(trainer, mask)
        else:
            self.prune_to(trainer, mask)
        self.rebuild_optimizers(trainer)
        _restart(trainer, origin)

    @override
    def state_dict(self) -> dict[str, Any]:
        plan = None if self._plan is UNPLANNED else asdict(self._plan)
        return {**super().state_dict(), "plan": plan, "cuts_done": self._cuts_done, "origin": self._origin}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        plan = state_dict["plan"]
        self._plan = UNPLANNED if plan is None else TicketPlan(**plan)
        self._cuts_done = state_dict["cuts_done"]
        self._origin = state_dict["origin"]


@dataclass(frozen=True)
class TicketPlan:
    """How a run is divided.

    Args:
        rounds: Cuts; there is one training more.
        epochs: Of each training; the last one has what is left.
    """

    rounds: int
    epochs: int


UNPLANNED = TicketPlan(rounds=0, epochs=1)
"""Before a fit has begun."""


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """All of a network but its masks."""
    keys = set(mask_keys(network).values())
    return {name: tensor for name, tensor in network.state_dict().items() if name not in keys}


def _state(trainer: pl.Trainer, weights: Mapping[str, Tensor], batch_idx: int) -> dict[str, Any]:
    """Where a training is now: the weights to rewind to, its schedules, and the place in the data."""
    return {
        "network": {name: _copy(tensor) for name, tensor in weights.items()},
        "schedules": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "learning_rates": [[group["lr"] for group in o.param_groups] for o in trainer.optimizers],
        "epoch": trainer.current_epoch,
        "batch": batch_idx,
    }


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _restart(trainer: pl.Trainer, state: dict[str, Any]) -> None:
    """Put new schedules, and the data if they can, to where a training was."""
    for config, schedule in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
        config.scheduler.load_state_dict(schedule)
    for optimizer, rates in zip(trainer.optimizers, state["learning_rates"], strict=True):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    restart_order = getattr(trainer.datamodule, "restart_order", None)  # type: ignore[attr-defined]
    if restart_order is not None:
        restart_order(state["epoch"], state["batch"])
