"""Edge-popup: the best-scored weights of an untrained network, found by training scores alone."""

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from typing_extensions import override

from sparsity.callbacks.pruning import Scope
from sparsity.callbacks.score_search import UNPLANNED, FlatScores, ScoreSearch, SearchPlan
from sparsity.errors import SparsityError
from sparsity.masks import Mask, masks


@dataclass(kw_only=True, eq=False)
class EdgePopup(ScoreSearch):
    """Edge-popup: train scores, use the weights with the highest ones, leave the weights alone (Ramanujan et al. 2020).

    Every forward pass uses exactly the density asked, of each layer or of the network; a weight comes and goes with
    its score. The paper trains no weights at all; with `search_epochs` the rest of the run does.

    Args:
        search_epochs: Epochs of the search; the rest of `trainer.max_epochs` finetunes. Default: all of them.
        period: Epochs between cuts that lower the density exponentially from 1. Default: it is fixed from the start.
        optimizer: Trains the scores. Default: SGD with lr 0.1, momentum 0.9 and weight decay 1e-4.
        scope: Choose in each layer (the paper's), or over the whole network.
        scale_fan: Divide the weights by the root of the density, so that those in use have the variance of the
            initialisation (the paper's scaled constant).

    Raises:
        SparsityError: If an argument is out of its range; before training if the epochs do not add up.

    Example:
        >>> trainer = pl.Trainer(callbacks=[EdgePopup(density=0.3)], max_epochs=20)
    """

    scope: Scope = "layer"
    scale_fan: bool = True

    @property
    @override
    def is_final(self) -> bool:
        return super().is_final or (self._plan is not UNPLANNED and self._cuts_done >= self._plan.cuts)

    @property
    @override
    def supports_ablation(self) -> bool:
        return self._plan is UNPLANNED or self._plan.finetune > 0

    @override
    def plan(self, max_epochs: int) -> SearchPlan:
        search = max_epochs if self.search_epochs is None else self.search_epochs
        if search > max_epochs:
            raise SparsityError(f"search_epochs {search} is more than trainer.max_epochs {max_epochs}; lower it")
        plan = SearchPlan(search, max_epochs - search, self.period)
        if self.period is not None and plan.cuts < 1:
            raise SparsityError(
                f"no cut falls into a search of {search} epochs with period {self.period}; leave it out for a fixed "
                "density, or search longer"
            )
        return plan

    @override
    def in_words(self, plan: SearchPlan) -> str:
        density = f"density falling in {plan.cuts} cuts" if plan.cuts else f"density {self.density:g}"
        return f"{plan.search} epochs of search at {density}, then {plan.finetune} of finetuning"

    @override
    def initial_scores(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        # Kaiming-uniform with a = sqrt(5), as torch initialises weights.
        scores = torch.empty(weight.shape)
        return nn.init.kaiming_uniform_(scores, a=5**0.5, generator=generator)

    @override
    def default_optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)

    @override
    def _first_scores(self, trainer: pl.Trainer, network: nn.Module) -> dict[str, Tensor]:
        start = super()._first_scores(trainer, network)
        # What was pruned before has no slope either: its score stays 0, and others come first.
        start["scores"] *= torch.cat([m.flatten().cpu() for m in masks(network).values()])
        if self.scale_fan:
            start["frozen"] /= self.density**0.5
        return start

    @override
    def select(self, search: FlatScores) -> Tensor:
        cuts = 0 if self._plan is UNPLANNED else self._plan.cuts
        count = self.count(search.network, min(self._cuts_done, cuts), cuts) if cuts else self.count(search.network)
        scores = search.scores.detach().abs()
        if isinstance(count, int):
            return _highest(scores, count)
        return torch.cat([_highest(s.flatten(), count[name]) for name, s in search.by_layer(scores).items()])

    @override
    def straight_through_factor(self, search: FlatScores) -> Tensor:
        return search.frozen * search.scores.detach().sign()

    @override
    def after_step(self, search: FlatScores) -> None:
        used = self.select(search)
        search.write_masks(used)
        search.write_weights(used)

    @override
    def prune_step(self, trainer: pl.Trainer, search: FlatScores) -> None:
        self.after_step(search)

    @override
    def found_mask(self, search: FlatScores) -> Mask:
        return search.by_layer(self.select(search))


def _highest(values: Tensor, count: int) -> Tensor:
    chosen = torch.zeros_like(values, dtype=torch.bool)
    return chosen.index_fill_(0, values.topk(count, sorted=False).indices, True)
