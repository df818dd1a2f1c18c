"""Gem-Miner: search a subnetwork by cutting low scores, then finetune it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from typing_extensions import override

from sparsity.callbacks.pruning import of_first_rank
from sparsity.callbacks.score_search import FlatScores, ScoreSearch, SearchPlan
from sparsity.errors import SparsityError, require_whole_number
from sparsity.masks import Mask, masks, set_mask
from sparsity.pruning.score_search import (
    Penalty,
    Rounding,
    ScoreInit,
    initial_scores,
    round_scores,
    score_penalty_gradient,
)
from sparsity.seeding import named_generator


@dataclass(kw_only=True, eq=False)
class GemMiner(ScoreSearch):
    """Gem-Miner: search a subnetwork of the untrained network, then finetune it (Sreenivasan et al. 2022).

    The search trains one score per weight and leaves the weights as they are. A forward pass uses the weights whose
    score rounds to 1; every `period` epochs those with the lowest scores are cut for good, so that the density falls
    exponentially to its target: each cut takes the same share of those left, rounded up as in the authors' program, and
    the last one leaves exactly what was asked. Then scores become masks, and the module's own optimizer trains the
    weights.

    Args:
        search_epochs: Epochs of the search; the rest of `trainer.max_epochs` finetunes. Default: half of them.
        period: Epochs between cuts. Default: such that there are about 30, as in the paper.
        optimizer: Trains the scores. Default: SGD with lr 0.1 and momentum 0.9, without weight decay.
        penalty: What is added to the loss over all scores p: l2 p^2, l1 p, l1_l2 both, variance p^a (1-p)^b,
            weighted_variance w^2 p (1-p), or the binary entropy of p.
        penalty_weight: The penalty's factor, at least 0. It acts by every step: a search of a third of the epochs wants
            about three times as much, or cuts follow the scores' first draw (docs/fidelity.md).
        penalty_exponents: a and b of the penalty `variance`, at least 1.
        score_init: How scores start: uniform, half (0.5), bernoulli (0 or 1), bimodal Beta(0.1, 0.1),
            skew Beta(1, 5).
        rounding: `naive` uses weights with a score above 0.5, `bernoulli` draws each weight with its score as
            probability for every batch; evaluation is always naive. That is stochastic rounding while searching; the
            authors' program always searches by `naive`, and draws only when it evaluates or, without restoring, when
            it begins to finetune.
        rounding_noise: Fraction of the rounded scores turned round at random for every batch, in [0, 1]; the authors'
            program adds normal noise to scores instead, and only when it evaluates.
        restore: Keep exactly the density asked, also weights whose score rounds to 0 in the end, as the paper's
            programs do. False drops them, and the density reached is lower than asked.
        invert: Cut the highest scores instead of the lowest, a sanity check of the paper.

    Raises:
        SparsityError: If an argument is out of its range; before training if the epochs do not add up.

    Example:
        >>> trainer = pl.Trainer(callbacks=[GemMiner(density=0.05, search_epochs=10)], max_epochs=20)
    """

    penalty: Penalty = "l2"
    penalty_weight: float = 1e-4
    penalty_exponents: tuple[float, float] = (1.0, 1.0)
    score_init: ScoreInit = "uniform"
    rounding: Rounding = "naive"
    rounding_noise: float = 0.0
    restore: bool = True
    invert: bool = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search_epochs is not None:
            require_whole_number("search_epochs", self.search_epochs, at_least=2)
        if not self.penalty_weight >= 0:
            raise SparsityError(f"penalty_weight must be at least 0, not {self.penalty_weight}")
        if not 0 <= self.rounding_noise <= 1:
            raise SparsityError(f"rounding_noise is a fraction in [0, 1], not {self.rounding_noise}")
        if not min(self.penalty_exponents) >= 1:
            raise SparsityError(f"penalty_exponents must be at least 1, not {list(self.penalty_exponents)}")

    @override
    def plan(self, max_epochs: int) -> SearchPlan:
        search = max_epochs // 2 if self.search_epochs is None else self.search_epochs
        if not 2 <= search < max_epochs:
            raise SparsityError(
                f"GemMiner needs at least 2 epochs of search and 1 of finetuning; trainer.max_epochs {max_epochs} "
                f"with search_epochs {search} leaves {search} and {max_epochs - search}"
            )
        period = max(1, search // 30) if self.period is None else self.period
        plan = SearchPlan(search, max_epochs - search, period)
        if plan.cuts < 1:
            raise SparsityError(
                f"no cut falls into a search of {search} epochs with period {period}; "
                f"a period of at most {search - 1} makes one"
            )
        return plan

    @override
    def in_words(self, plan: SearchPlan) -> str:
        return (
            f"{plan.search} epochs of search with {plan.cuts} cuts (period {plan.period}), "
            f"then {plan.finetune} of finetuning"
        )

    @override
    def initial_scores(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        return initial_scores(weight.numel(), self.score_init, generator)

    @override
    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        return SGD(parameters, lr=0.1, momentum=0.9)

    @override
    def select(self, search: FlatScores) -> Tensor:
        return round_scores(search.scores.detach(), "naive", 0.0) & search.mask

    @override
    def straight_through_factor(self, search: FlatScores) -> Tensor:
        return search.masked

    @override
    def after_step(self, search: FlatScores) -> None:
        search.scores.data.clamp_(0, 1)
        super().after_step(search)

    @override
    def prune_step(self, trainer: pl.Trainer, search: FlatScores) -> None:
        network = search.network
        count = self.count(network, self._cuts_done, self._plan.cuts, "cuts")
        saliency = search.by_layer(search.scores.detach().abs() * (-1 if self.invert else 1))
        mask = self.highest(network, saliency, count)
        self._refuse_dead_layers(trainer, mask)
        set_mask(network, of_first_rank(trainer, mask))
        search.read_masks()
        search.write_weights(self.select(search))

    @override
    def found_mask(self, search: FlatScores) -> Mask:
        # The last cut left exactly the density asked; rounding alone would keep only some of those weights.
        return masks(search.network) if self.restore else search.by_layer(self.select(search))

    @override
    def commit_mask(self, trainer: pl.Trainer, mask: Mask, rescale: bool = False) -> None:
        self._refuse_dead_layers(trainer, mask)
        super().commit_mask(trainer, mask, rescale)

    def _refuse_dead_layers(self, trainer: pl.Trainer, mask: Mapping[str, Tensor]) -> None:
        alive = torch.stack([m.any() for m in mask.values()]).tolist()
        if dead := [name for name, some in zip(mask, alive, strict=True) if not some]:
            raise SparsityError(
                f"GemMiner cut every weight of {', '.join(dead)} in epoch {trainer.current_epoch}, so the search ends "
                "here; set min_kept: 1, a higher density or a smaller penalty_weight"
            )

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._search and self._draws:
            generator = named_generator("rounding", trainer.current_epoch, batch_idx, seed=self._seed)
            scores = self._search.scores.detach()
            used = round_scores(scores, self.rounding, self.rounding_noise, generator)
            self._search.write_weights(used & self._search.mask)

    @property
    def _draws(self) -> bool:
        """Whether batches use other weights than evaluation does."""
        return self.rounding != "naive" or self.rounding_noise > 0

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_after_backward(trainer, pl_module)
        if self._search and self._draws:
            # No step may follow that does it: of several batches only the last steps, and a loss scaler skips some.
            self._search.write_weights(self.select(self._search))

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._search and self.penalty_weight > 0:
            # Here, and not in on_after_backward, gradients are free of a loss scaler's factor.
            scores, gradient = self._search.scores.detach(), self._search.scores.grad
            assert gradient is not None
            slope = score_penalty_gradient(scores, self._search.frozen, self.penalty, self.penalty_exponents)
            gradient.addcmul_(slope, self._search.mask, value=self.penalty_weight)
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
