"""Pruning before training: score the untrained network, cut, then train what is left."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch import nn
from typing_extensions import override

from sparsity.callbacks.pruning import PruningCallback, sample_shape
from sparsity.callbacks.zeros import network_of
from sparsity.errors import require_whole_number
from sparsity.masks import kept
from sparsity.pruning.iterative import Scope, prune_iteratively
from sparsity.pruning.rescale import rescale_to_kept_fan_in
from sparsity.pruning.saliency import Saliency, magnitude_saliency, random_saliency, synflow_saliency
from sparsity.pruning.schedules import Schedule

Rescale = Literal["none", "kept_fan_in"]


class PruneBeforeTraining(PruningCallback):
    """Prunes once, when a fit starts; a resumed fit is not pruned again. A subclass says by which saliency.

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        iterations: How often to score and cut, at least 1.
        schedule: How density falls over the iterations.
        scope: One ranking over the whole network, or one per layer at equal densities.
        min_kept: Each layer keeps at least so many weights.
        rescale: `kept_fan_in` gives each unit's kept weights the variance of the same initialisation at their
            number, without which deep networks that have no normalisation layers lose their signal.

    Raises:
        SparsityError: If an argument is out of its range.
    """

    def __init__(
        self,
        density: float,
        iterations: int = 1,
        schedule: Schedule = "exponential",
        scope: Scope = "global",
        min_kept: int = 0,
        rescale: Rescale = "none",
    ) -> None:
        super().__init__(density)
        require_whole_number("iterations", iterations, at_least=1)
        require_whole_number("min_kept", min_kept, at_least=0)
        self.iterations = iterations
        self.schedule: Schedule = schedule
        self.scope: Scope = scope
        self.min_kept = min_kept
        self.rescale: Rescale = rescale
        self._pruned = False

    @abstractmethod
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        """The function that scores every weight of a network with masks and leaves it unchanged.

        Whatever it needs from the run, such as the shape of a sample, is taken here, once.
        """

    @property
    @override
    def is_final(self) -> bool:
        return self._pruned

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._pruned:
            self._prune(trainer, pl_module)
        super().on_fit_start(trainer, pl_module)

    def _prune(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network = network_of(pl_module)
        saliency = self.saliency(trainer, pl_module)
        prune_iteratively(network, saliency, self.density, self.iterations, self.schedule, self.scope, self.min_kept)
        self.masks_changed(trainer)
        if self.rescale == "kept_fan_in":
            rescale_to_kept_fan_in(network)
        self._pruned = True
        if collapsed := [name for name, count in kept(network).items() if count == 0]:
            rank_zero_warn(
                f"{type(self).__name__} left no weight in {', '.join(collapsed)}; "
                "min_kept: 1 would keep one in every layer"
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pruned": self._pruned}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._pruned = state_dict["pruned"]


class Random(PruneBeforeTraining):
    """Keeps weights at random: the control that every method must beat.

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        scope: Draw over the whole network, or in each layer at equal densities.
        min_kept: Each layer keeps at least so many weights.
        rescale: `kept_fan_in` gives each unit's kept weights the variance of the same initialisation at their
            number, without which deep networks that have no normalisation layers lose their signal.
        seed: Seed of the draw; by default the run's.
    """

    def __init__(
        self,
        density: float,
        scope: Scope = "global",
        min_kept: int = 0,
        rescale: Rescale = "none",
        seed: int | None = None,
    ) -> None:
        super().__init__(density, scope=scope, min_kept=min_kept, rescale=rescale)
        self.seed = seed

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return partial(random_saliency, seed=self.seed)


class Magnitude(PruneBeforeTraining):
    """Keeps the largest weights of the network as it is when the fit starts (Han et al. 2015).

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        scope: One ranking over the whole network, or one per layer at equal densities.
        min_kept: Each layer keeps at least so many weights.
        rescale: `kept_fan_in` gives each unit's kept weights the variance of the same initialisation at their
            number.
    """

    def __init__(self, density: float, scope: Scope = "global", min_kept: int = 0, rescale: Rescale = "none") -> None:
        super().__init__(density, scope=scope, min_kept=min_kept, rescale=rescale)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return magnitude_saliency


class SynFlow(PruneBeforeTraining):
    """Iterative synaptic-flow pruning, without data (Tanaka et al. 2020); computed in float64.

    Args:
        density: Kept fraction of the maskable weights, in (0, 1].
        iterations: How often to score and cut, at least 1; the number changes the mask.
        schedule: How density falls over the iterations.
        scope: One ranking over the whole network, or one per layer at equal densities.
        min_kept: Each layer keeps at least so many weights.
        rescale: `kept_fan_in` gives each unit's kept weights the variance of the same initialisation at their
            number.
    """

    def __init__(
        self,
        density: float,
        iterations: int = 100,
        schedule: Schedule = "exponential",
        scope: Scope = "global",
        min_kept: int = 0,
        rescale: Rescale = "none",
    ) -> None:
        super().__init__(density, iterations, schedule, scope, min_kept, rescale)

    @override
    def saliency(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[nn.Module], Saliency]:
        return partial(synflow_saliency, input_shape=sample_shape(trainer, pl_module))
