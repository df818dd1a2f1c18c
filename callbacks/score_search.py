"""Score search: freeze the weights, train a score per weight, and finetune the subnetwork that the scores choose."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from typing_extensions import override

from sparsity.callbacks.pruning import PruningCallback
from sparsity.callbacks.zeros import network_of
from sparsity.errors import SparsityError, require_whole_number
from sparsity.masks import kept, masked_layers, masks, set_mask, sizes
from sparsity.networks.initialisation import make_signed_constant
from sparsity.pruning.iterative import Scope, kept_count
from sparsity.pruning.schedules import scheduled_density
from sparsity.pruning.score_search import (
    Penalty,
    Rounding,
    ScoreInit,
    initial_scores,
    round_scores,
    score_penalty_gradient,
)
from sparsity.pruning.selection import keep_highest
from sparsity.randomness import derive_seed, named_generator


class GemMiner(PruningCallback):
    """Gem-Miner: search a subnetwork of the untrained network, then finetune it (Sreenivasan et al. 2022).

    The search trains one score per weight and leaves the weights as they are. A forward pass uses the weights whose
    score rounds to 1; every `period` epochs those with the lowest scores are cut for good, so that the density falls
    exponentially to its target. Then scores become masks and the module's own optimizer trains the weights.

    Args:
        density: Kept fraction of the maskable weights at the end, in (0, 1].
        search_epochs: Epochs of the search; the rest of `trainer.max_epochs` finetunes. Default: half of them.
        period: Epochs between cuts. Default: such that there are about 30, as in the paper.
        optimizer: Trains the scores. Default: SGD with lr 0.1 and momentum 0.9, without weight decay.
        lr_scheduler: Its schedule, stepped every epoch. Default: cosine to 0 over the search.
        penalty: What is added to the loss over all scores p: l2 p^2, l1 p, l1_l2 both, variance p^a (1-p)^b,
            weighted_variance w^2 p (1-p), or the binary entropy of p.
        penalty_weight: The penalty's factor, at least 0.
        penalty_exponents: a and b of the penalty `variance`, at least 1.
        score_init: How scores start: uniform, half (0.5), bernoulli (0 or 1), bimodal Beta(0.1, 0.1),
            skew Beta(1, 5).
        rounding: `naive` uses weights with a score above 0.5, `bernoulli` draws each weight with its score as
            probability for every batch; evaluation is always naive.
        rounding_noise: Fraction of the rounded scores turned round at random for every batch, in [0, 1].
        restore: Keep exactly the density asked, also weights whose score rounds to 0 in the end, as the paper's
            programs do. False drops them, and the density reached is lower than asked.
        scope: Cut over the whole network, or in each layer at equal densities.
        min_kept: Each layer keeps at least so many weights.
        signed_constant: Replace the weights by `sign(w) * sqrt(2 / fan_in)` before the search, as the paper does.
        train_affine: Also train BatchNorm's weight and bias in the search. By default they are frozen in the
            search, and finetuning trains BatchNorm's weight only.

    Raises:
        SparsityError: If an argument is out of its range; before training if the epochs do not add up.
    """

    mask_moves_in_training: ClassVar[bool] = True

    def __init__(
        self,
        density: float,
        search_epochs: int | None = None,
        period: int | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        penalty: Penalty = "l2",
        penalty_weight: float = 1e-4,
        penalty_exponents: tuple[float, float] = (1.0, 1.0),
        score_init: ScoreInit = "uniform",
        rounding: Rounding = "naive",
        rounding_noise: float = 0.0,
        restore: bool = True,
        scope: Scope = "global",
        min_kept: int = 0,
        signed_constant: bool = True,
        train_affine: bool = False,
    ) -> None:
        super().__init__(density)
        if search_epochs is not None:
            require_whole_number("search_epochs", search_epochs, at_least=2)
        if period is not None:
            require_whole_number("period", period, at_least=1)
        require_whole_number("min_kept", min_kept, at_least=0)
        if not penalty_weight >= 0:
            raise SparsityError(f"penalty_weight must be at least 0, not {penalty_weight}")
        if not 0 <= rounding_noise <= 1:
            raise SparsityError(f"rounding_noise is a fraction in [0, 1], not {rounding_noise}")
        if not min(penalty_exponents) >= 1:
            raise SparsityError(f"penalty_exponents must be at least 1, not {list(penalty_exponents)}")
        self.search_epochs = search_epochs
        self.period = period
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.penalty: Penalty = penalty
        self.penalty_weight = penalty_weight
        self.penalty_exponents = penalty_exponents
        self.score_init: ScoreInit = score_init
        self.rounding: Rounding = rounding
        self.rounding_noise = rounding_noise
        self.restore = restore
        self.scope: Scope = scope
        self.min_kept = min_kept
        self.signed_constant = signed_constant
        self.train_affine = train_affine
        self._phase: Literal["search", "finetune"] = "search"
        self._cuts_done = 0
        self._seed: int | None = None
        self._search: _Search | None = None
        self._restored: dict[str, Tensor] | None = None

    @property
    @override
    def is_final(self) -> bool:
        return self._phase == "finetune"

    @property
    def scores(self) -> dict[str, Tensor]:
        """The scores by layer name while the search lasts; views, not copies."""
        return self._search.by_layer(self._search.scores.detach()) if self._search else {}

    @override
    def current_mask(self, network: nn.Module) -> dict[str, Tensor]:
        return self._search.by_layer(self._search.rounded()) if self._search else masks(network)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._plan(trainer.max_epochs)

    def _plan(self, max_epochs: int | None) -> None:
        if max_epochs is None or max_epochs < 0:
            raise SparsityError("GemMiner divides trainer.max_epochs between search and finetuning; set it")
        search = max_epochs // 2 if self.search_epochs is None else self.search_epochs
        if not 2 <= search < max_epochs:
            raise SparsityError(
                f"GemMiner needs at least 2 epochs of search and 1 of finetuning; trainer.max_epochs {max_epochs} "
                f"with search_epochs {search} leaves {search} and {max_epochs - search}"
            )
        self.search_epochs = search
        self.period = max(1, search // 30) if self.period is None else self.period
        if self._cuts_planned < 1:
            raise SparsityError(
                f"no cut falls into a search of {search} epochs with period {self.period}; "
                f"a period of at most {search - 1} makes one"
            )

    @property
    def _cuts_planned(self) -> int:
        assert self.search_epochs is not None
        return self._cuts_due(self.search_epochs)

    def _cuts_due(self, epoch: int) -> int:
        """Cuts before epoch `epoch` begins: one at the end of every epoch e > 0 with e mod period = 0."""
        assert self.period is not None
        return max(0, epoch - 1) // self.period

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._phase == "finetune":
            super().on_fit_start(trainer, pl_module)
            return
        network = network_of(pl_module)
        if self._restored is None:
            self._restored = self._start(network)
            rank_zero_info(
                f"GemMiner: {self.search_epochs} epochs of search with {self._cuts_planned} cuts "
                f"(period {self.period}), then {trainer.max_epochs - self.search_epochs} of finetuning"  # type: ignore[operator]
            )
        self._search = _Search(network, **self._restored)
        self._restored = None
        self._search.write_weights()
        self._set_search_optimizer(trainer, network)

    def _start(self, network: nn.Module) -> dict[str, Tensor]:
        """The frozen weights and the scores that a new search starts from."""
        self._seed = derive_seed("Gem-Miner")
        weights = [layer.get_parameter("weight") for layer in masked_layers(network).values()]
        if self.signed_constant:
            for weight in weights:
                make_signed_constant(weight)
        frozen = torch.cat([w.detach().flatten() for w in weights])
        scores = [
            initial_scores(n, self.score_init, named_generator("scores", name, seed=self._seed))
            for name, n in sizes(network).items()
        ]
        return {"frozen": frozen, "scores": torch.cat(scores)}

    def _set_search_optimizer(self, trainer: pl.Trainer, network: nn.Module) -> None:
        assert self._search is not None
        trained: list[nn.Parameter] = [self._search.scores]
        if self.train_affine:
            trained += _affine_parameters(network, ("weight", "bias"))
        optimizer = self.optimizer(trained) if self.optimizer else SGD(trained, lr=0.1, momentum=0.9)
        if self.lr_scheduler is None:
            assert self.search_epochs is not None
            schedule = CosineAnnealingLR(optimizer, T_max=self.search_epochs)
        else:
            schedule = self.lr_scheduler(optimizer)  # type: ignore[assignment]
        optimizer.register_step_post_hook(self._after_step)
        trainer.strategy.optimizers = [optimizer]
        trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(schedule)]

    def _after_step(self, *_: Any) -> None:
        if self._search:
            self._search.after_step()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._phase == "finetune":
            return
        assert self.search_epochs is not None
        network = network_of(pl_module)
        # What belongs to the end of an epoch is done here, since a checkpoint of that epoch was saved before.
        for _ in range(self._cuts_done, self._cuts_due(min(trainer.current_epoch, self.search_epochs))):
            self._cut(trainer, network)
        if trainer.current_epoch >= self.search_epochs:
            self._finish_search(trainer, network)

    def _cut(self, trainer: pl.Trainer, network: nn.Module) -> None:
        assert self._search is not None
        self._cuts_done += 1
        density = scheduled_density(self._cuts_done, self._cuts_planned, self.density)
        count = kept_count(sizes(network), density, self.scope)
        saliency = self._search.by_layer(self._search.scores.detach().abs())
        mask = keep_highest(saliency, count, masks(network), self.min_kept)
        self._set_mask(trainer, network, mask)
        self._search.read_masks()

    def _finish_search(self, trainer: pl.Trainer, network: nn.Module) -> None:
        assert self._search is not None
        # The last cut left exactly the density asked; rounding alone would keep only some of those weights.
        final = masks(network) if self.restore else self._search.by_layer(self._search.rounded())
        self._search.write_frozen()
        self._phase = "finetune"
        self._search = None
        self._set_mask(trainer, network, final)
        self.rebuild_optimizers(trainer)

    def _set_mask(self, trainer: pl.Trainer, network: nn.Module, mask: dict[str, Tensor]) -> None:
        set_mask(network, trainer.strategy.broadcast(mask) if trainer.world_size > 1 else mask)
        if dead := [name for name, count in kept(network).items() if count == 0]:
            raise SparsityError(
                f"GemMiner cut every weight of {', '.join(dead)} in epoch {trainer.current_epoch}, so the search ends "
                "here; set min_kept: 1, a higher density or a smaller penalty_weight"
            )

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._search and (self.rounding != "naive" or self.rounding_noise > 0):
            generator = named_generator("rounding", trainer.current_epoch, batch_idx, seed=self._seed)
            self._search.write_weights(self._search.rounded(self.rounding, self.rounding_noise, generator))

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._search:
            self._search.take_gradient()

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._search:
            # Here, and not in on_after_backward, gradients are free of a loss scaler's factor.
            self._search.add_penalty(self.penalty, self.penalty_weight, self.penalty_exponents)
        elif not self.train_affine:
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
            "search_epochs": self.search_epochs,
            "period": self.period,
            "seed": self._seed,
            "search": self._search.state_dict() if self._search else None,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._phase = state_dict["phase"]
        self._cuts_done = state_dict["cuts_done"]
        self.search_epochs = state_dict["search_epochs"]
        self.period = state_dict["period"]
        self._seed = state_dict["seed"]
        self._restored = state_dict["search"]


class _Search:
    """Scores and frozen weights of all masked layers, each as one vector; the layers hold the weights in use."""

    def __init__(self, network: nn.Module, frozen: Tensor, scores: Tensor) -> None:
        self._network = network
        self._weights: list[Tensor] = [layer.get_parameter("weight") for layer in masked_layers(network).values()]
        device, dtype = self._weights[0].device, self._weights[0].dtype
        self._frozen = frozen.to(device, dtype)
        self.scores = nn.Parameter(scores.to(device, dtype))
        self.read_masks()

    def state_dict(self) -> dict[str, Tensor]:
        return {"frozen": self._frozen.clone(), "scores": self.scores.detach().clone()}

    def by_layer(self, flat: Tensor) -> dict[str, Tensor]:
        return dict(zip(masked_layers(self._network), self._views(flat), strict=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [w.numel() for w in self._weights])
        return [part.view_as(weight) for part, weight in zip(parts, self._weights, strict=True)]

    def read_masks(self) -> None:
        """Take the network's masks into account from now on."""
        self._mask = torch.cat([m.flatten() for m in masks(self._network).values()])
        self._masked_weights = self._frozen * self._mask
        self.write_weights()

    def rounded(
        self, rounding: Rounding = "naive", noise: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        return round_scores(self.scores.detach(), rounding, noise, generator) & self._mask

    @torch.no_grad()
    def write_weights(self, used: Tensor | None = None) -> None:
        """Store the weights in use, by default those of the deterministic rounding, in the layers."""
        used = self.rounded() if used is None else used
        self._copy_to_layers(self._masked_weights * used)

    @torch.no_grad()
    def write_frozen(self) -> None:
        """Store the frozen weights, used or not, in the layers."""
        self._copy_to_layers(self._frozen)

    def _copy_to_layers(self, flat: Tensor) -> None:
        torch._foreach_copy_(self._weights, self._views(flat))

    @torch.no_grad()
    def take_gradient(self) -> None:
        """Straight-through: d(w * m * round(s)) / ds is taken to be w * m."""
        gradients = [(w.grad if w.grad is not None else torch.zeros_like(w)).flatten() for w in self._weights]
        self.scores.grad = torch.cat(gradients).mul_(self._masked_weights)

    @torch.no_grad()
    def add_penalty(self, penalty: Penalty, factor: float, exponents: tuple[float, float]) -> None:
        if factor > 0:
            assert self.scores.grad is not None
            gradient = score_penalty_gradient(self.scores.detach(), self._frozen, penalty, exponents)
            self.scores.grad.addcmul_(gradient, self._mask, value=factor)

    @torch.no_grad()
    def after_step(self) -> None:
        """Project scores onto [0, 1] and put the weights they choose now into the layers."""
        self.scores.clamp_(0, 1)
        self.write_weights()


def _affine_parameters(network: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [getattr(norm, name) for norm in norms for name in names if getattr(norm, name) is not None]
