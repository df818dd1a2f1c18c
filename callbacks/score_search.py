"""Score search: freeze the weights, train a score per weight, and finetune the subnetwork that the scores choose."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from typing_extensions import override

from sparsity.callbacks.network import network_of
from sparsity.callbacks.phase import Phase
from sparsity.callbacks.pruning import PruningCallback, require_new_trainer, run_seed
from sparsity.errors import SparsityError, require_whole_number
from sparsity.masks import Mask, masked, masked_weights, masks
from sparsity.networks.initialisation import signed_constant
from sparsity.seeding import derive_seed, named_generator


@dataclass(kw_only=True, eq=False)
class ScoreSearch(PruningCallback):
    """Trains one score per weight while the weights stay as they are, then finetunes what the scores chose.

    A subclass says how scores start, which weights they choose, and what happens every `period` epochs. The layers
    hold the weights in use throughout, so that a forward pass, an evaluation or a checkpoint needs nothing else.

    Args:
        search_epochs: Epochs of the search; the rest of `trainer.max_epochs` finetunes.
        period: Epochs between cuts, at least 1.
        optimizer: Trains the scores.
        lr_scheduler: Its schedule, stepped every epoch. Default: cosine to 0 over the search.
        signed_constant: Replace weights by `sign(w) * sqrt(2 / fan_in)` before the search, as the papers do.
        train_affine: Also train BatchNorm's weight and bias in the search. By default they are frozen in the
            search, and finetuning trains BatchNorm's weight only.

    Raises:
        SparsityError: If an argument is out of its range; before training if the epochs do not add up.

    Example:
        >>> issubclass(GemMiner, ScoreSearch) and issubclass(EdgePopup, ScoreSearch)
        True
    """

    mask_moves_in_training: ClassVar[bool] = True

    search_epochs: int | None = None
    period: int | None = None
    optimizer: OptimizerCallable | None = None
    lr_scheduler: LRSchedulerCallable | None = None
    signed_constant: bool = True
    train_affine: bool = False
    pattern: str = field(default="weight", init=False)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search_epochs is not None:
            require_whole_number("search_epochs", self.search_epochs, at_least=1)
        if self.period is not None:
            require_whole_number("period", self.period, at_least=1)

    @override
    def reset(self) -> None:
        super().reset()
        self._plan = UNPLANNED
        self._phase: Literal["search", "finetune"] = "search"
        self._cuts_done = 0
        self._seed: int | None = None
        self._search: FlatScores | None = None
        self._restored: dict[str, Tensor] | None = None

    @abstractmethod
    def plan(self, max_epochs: int) -> "SearchPlan":
        """Fill in the lengths that were not given.

        Raises:
            SparsityError: If they do not add up.
        """

    @abstractmethod
    def in_words(self, plan: "SearchPlan") -> str:
        """What is planned, in a sentence."""

    @abstractmethod
    def initial_scores(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        """The scores of a layer to start from, as many as its weight has entries, on the CPU."""

    @abstractmethod
    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """What trains the scores if the user gave nothing."""

    @abstractmethod
    def select(self, search: "FlatScores") -> Tensor:
        """Which weights a forward pass uses, a bool for each score."""

    @abstractmethod
    def straight_through_factor(self, search: "FlatScores") -> Tensor:
        """The straight-through derivative of the weights in use by their scores, `[N]`."""

    @abstractmethod
    def prune_step(self, trainer: pl.Trainer, search: "FlatScores") -> None:
        """What happens every `period` epochs; `_cuts_done` counts this time already."""

    @abstractmethod
    def found_mask(self, search: "FlatScores") -> Mask:
        """What to finetune when the search ends."""

    def after_step(self, search: "FlatScores") -> None:
        """Put the weights that the scores choose now into the layers."""
        search.write_weights(self.select(search))

    @property
    @override
    def is_final(self) -> bool:
        return self._phase == "finetune"

    @override
    def phase(self, trainer: pl.Trainer) -> Phase:
        epoch, plan = trainer.current_epoch + 1, self._plan
        cuts = (self._cuts_done, plan.cuts) if plan.cuts else None
        if self.is_final:
            return Phase("finetuning", epoch - plan.search, plan.finetune)
        return Phase("search", epoch, plan.search, cuts)

    @property
    def scores(self) -> dict[str, Tensor]:
        """The scores by layer name while the search lasts; views, not copies."""
        return self._search.by_layer(self._search.scores.detach()) if self._search else {}

    @override
    def current_mask(self, network: nn.Module) -> dict[str, Tensor]:
        return self._search.by_layer(self.select(self._search)) if self._search else masks(network)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage != "fit" or self._plan is not UNPLANNED:
            return
        if not pl_module.automatic_optimization:
            raise SparsityError(
                f"{type(self).__name__} trains scores in the place of weights, as manual optimisation cannot; "
                "use automatic optimisation, or another pruner"
            )
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            raise SparsityError(
                f"{type(self).__name__} divides trainer.max_epochs between search and finetuning; set it"
            )
        self._plan = self.plan(trainer.max_epochs)

    @override
    def begin_fit(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._phase == "finetune":
            super().begin_fit(trainer, pl_module)
            return
        network = network_of(pl_module)
        search = self._search
        if self._restored is not None:
            search = FlatScores(network, **self._restored)
        elif search is None:
            require_new_trainer(trainer, type(self).__name__)
            search = FlatScores(network, **self._first_scores(trainer, network))
            rank_zero_info(f"{type(self).__name__}: {self.in_words(self._plan)}")
        self._search, self._restored = search, None
        self.after_step(search)
        self._set_search_optimizer(trainer, network, search)

    def _first_scores(self, trainer: pl.Trainer, network: nn.Module) -> dict[str, Tensor]:
        """The frozen weights and the scores that a new search starts from."""
        self._seed = derive_seed(type(self).__name__, seed=run_seed(trainer))
        weights = masked_weights(network)
        if self.signed_constant:
            _make_signed_constant(network)
        scores = [
            self.initial_scores(weight, named_generator("scores", name, seed=self._seed)).flatten()
            for name, weight in weights.items()
        ]
        return {"frozen": torch.cat([w.detach().flatten() for w in weights.values()]), "scores": torch.cat(scores)}

    def _set_search_optimizer(self, trainer: pl.Trainer, network: nn.Module, search: "FlatScores") -> None:
        trained: list[nn.Parameter] = [search.scores]
        if self.train_affine:
            trained += _affine_parameters(network, ("weight", "bias"))
        optimizer = self.optimizer(trained) if self.optimizer else self.default_optimizer(trained)
        if self.lr_scheduler is None:
            schedule = CosineAnnealingLR(optimizer, T_max=self._plan.search)
        else:
            schedule = self.lr_scheduler(optimizer)  # type: ignore[assignment]
        optimizer.register_step_post_hook(self._after_step)
        trainer.strategy.optimizers = [optimizer]
        trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(schedule)]

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        if self._search:
            self.after_step(self._search)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        search = self._search
        if search is None:
            return
        self.require_masks(pl_module)
        # What belongs to the end of an epoch is done here, since a checkpoint of that epoch was saved before.
        for _ in range(self._cuts_done, self._plan.cuts_due(trainer.current_epoch)):
            self._cuts_done += 1
            self.prune_step(trainer, search)
        if trainer.current_epoch >= self._plan.search:
            self._finish_search(trainer, search)

    def _finish_search(self, trainer: pl.Trainer, search: "FlatScores") -> None:
        found = self.found_mask(search)
        search.write_frozen()
        self._phase = "finetune"
        self._search = None
        self.commit_mask(trainer, found)
        self.rebuild_optimizers(trainer)

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._search:
            self._search.take_gradient(self.straight_through_factor(self._search))

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if not self._search and not self.train_affine:
            for bias in _affine_parameters(network_of(pl_module), ("bias",)):
                bias.grad = None
        super().on_before_optimizer_step(trainer, pl_module, optimizer)

    @override
    def on_before_zero_grad(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        if self._search:
            # The search's optimizer does not hold the module's parameters and would let them add up.
            pl_module.zero_grad()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "phase": self._phase,
            "cuts_done": self._cuts_done,
            "plan": None if self._plan is UNPLANNED else asdict(self._plan),
            "seed": self._seed,
            "search": self._search.state_dict() if self._search else None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        plan = state_dict["plan"]
        self._plan = UNPLANNED if plan is None else SearchPlan(**plan)
        self._phase = state_dict["phase"]
        self._cuts_done = state_dict["cuts_done"]
        self._seed = state_dict["seed"]
        self._restored = state_dict["search"]


@torch.no_grad()
def _make_signed_constant(network: nn.Module) -> None:
    for place in masked(network).values():
        place.weight.copy_(place.from_units(signed_constant(place.by_unit(place.weight))))


@dataclass(frozen=True)
class SearchPlan:
    """How a run is divided.

    Args:
        search: Epochs of the search, at least 1.
        finetune: Epochs of finetuning, at least 0.
        period: Epochs between cuts; None for no cuts.
    """

    search: int
    finetune: int
    period: int | None

    @property
    def cuts(self) -> int:
        """Cuts altogether.

        A cut takes effect as the next epoch begins: in a run that ends with the search the last one has none.
        """
        return self.cuts_due(self.search if self.finetune else self.search - 1)

    def cuts_due(self, epoch: int) -> int:
        """Cuts before an epoch begins: one at the end of every epoch e > 0 of the search with e mod period = 0."""
        return 0 if self.period is None else max(0, min(epoch, self.search) - 1) // self.period


UNPLANNED = SearchPlan(search=0, finetune=0, period=None)
"""Before a fit has begun."""


class FlatScores:
    """Scores and frozen weights of all masked layers, each as one vector; the layers hold the weights in use.

    Args:
        network: A network with masks, on its device.
        frozen: The weights of all masked layers, one after the other, `[N]`.
        scores: `[N]`.
    """

    def __init__(self, network: nn.Module, frozen: Tensor, scores: Tensor) -> None:
        self.network = network
        self._weights: list[Tensor] = list(masked_weights(network).values())
        self._names, self._masks = list(masks(network)), list(masks(network).values())
        device, dtype = self._weights[0].device, self._weights[0].dtype
        self.frozen = frozen.to(device, dtype)
        self.scores = nn.Parameter(scores.to(device, dtype))
        self.read_masks()

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the frozen weights and the scores."""
        return {"frozen": self.frozen.clone(), "scores": self.scores.detach().clone()}

    def by_layer(self, flat: Tensor) -> dict[str, Tensor]:
        """Parts of a vector `[N]` by layer name, shaped like the weights; views."""
        return dict(zip(self._names, self._views(flat), strict=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [w.numel() for w in self._weights])
        return [part.view_as(weight) for part, weight in zip(parts, self._weights, strict=True)]

    def read_masks(self) -> None:
        """Take the network's masks into account from now on."""
        self.mask = torch.cat([m.flatten() for m in self._masks])
        self.masked = self.frozen * self.mask

    def write_masks(self, used: Tensor) -> None:
        """Make the weights in use, a bool for each, the network's masks."""
        torch._foreach_copy_(self._masks, self._views(used))

    @torch.no_grad()
    def write_weights(self, used: Tensor) -> None:
        """Store the weights in use, a bool for each, in the layers."""
        self._copy_to_layers(self.frozen * used)

    @torch.no_grad()
    def write_frozen(self) -> None:
        """Store the frozen weights, used or not, in the layers."""
        self._copy_to_layers(self.frozen)

    def _copy_to_layers(self, flat: Tensor) -> None:
        torch._foreach_copy_(self._weights, self._views(flat))

    @torch.no_grad()
    def take_gradient(self, factor: Tensor) -> None:
        """Give the scores the gradient of the weights in use times their straight-through factor `[N]`."""
        gradients = [(w.grad if w.grad is not None else torch.zeros_like(w)).flatten() for w in self._weights]
        self.scores.grad = torch.cat(gradients).mul_(factor)


def _affine_parameters(network: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [getattr(norm, name) for norm in norms for name in names if getattr(norm, name) is not None]
