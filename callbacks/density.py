"""Says how dense a network is: to the loggers whenever it changes, and as a table once the mask is final."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from sparsity.analysis.topology.flops import MultiplyAdds, known_multiply_adds
from sparsity.analysis.topology.unmasked import ALL_MASKED, Unmasked, in_words, unmasked
from sparsity.callbacks.aside import aside
from sparsity.callbacks.network import network_of
from sparsity.callbacks.pruning import find_pruner, mask_in_use
from sparsity.callbacks.samples import batch_sample, known_sample
from sparsity.masks import masks, sizes

ITSELF = "itself"
"""The layer that is the network, whose name is empty."""

ROWS = 12
"""So many of the weights that no mask covers have a row of their own."""


class DensityMonitor(Callback):
    """Logs density and kept weights, of the network and per layer, and multiply-adds per sample, once per change.

    Tags: `density/network`, `density/<layer>`, `kept/network`, `kept/<layer>`, `flops/dense`, `flops/effective`, and
    `density/all` if there are weights that no mask covers: with them, while the others are about the masked layers.
    Multiply-adds that are not known are left out with a warning. Nothing about the fit is changed.

    Args:
        table: Print a table of the layers once the mask is final.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Random(density=0.1), DensityMonitor()])
    """

    def __init__(self, table: bool = True) -> None:
        self.table = table
        self._reset()

    def _reset(self) -> None:
        self._logged: dict[str, int] | None = None
        self._printed = False
        self._waits_for_batch = False
        self._asked_for_costs = False
        self._costs: MultiplyAdds | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._reset()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The first batch shows what samples look like, if nothing else does.
        self._waits_for_batch = known_sample(trainer, pl_module) is None
        if not self._waits_for_batch:
            self._observe(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._waits_for_batch:
            self._waits_for_batch = False
            self._observe(trainer, pl_module, batch)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._observe(trainer, pl_module)

    def _observe(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any = None) -> None:
        if trainer.is_global_zero and masks(network_of(pl_module)):
            with aside(type(self).__name__):
                self._look(trainer, pl_module, batch)

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any) -> None:
        network, pruner = network_of(pl_module), find_pruner(trainer)
        mask = mask_in_use(trainer, network)
        counts = torch.stack([m.sum() for m in mask.values()]).tolist()
        kept = dict(zip(mask, map(int, counts), strict=True))
        if not self._asked_for_costs:
            self._asked_for_costs = True
            known = known_sample(trainer, pl_module)
            self._costs = known_multiply_adds(network, batch_sample(batch) if known is None else known)
        others = unmasked(network)
        if kept != self._logged:
            metrics = density_metrics(kept, sizes(network), self._costs, others)
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)
            self._logged = kept
        if self.table and not self._printed and (pruner is None or pruner.is_final):
            console = Console()
            with console.capture() as shown:
                console.print(density_table(kept, sizes(network), self._costs, others))
            print(shown.get(), end="")  # not by rich, which would write into the line of a progress bar
            self._printed = True


def density_metrics(
    kept: Mapping[str, int],
    sizes: Mapping[str, int],
    costs: MultiplyAdds | None,
    others: Unmasked = ALL_MASKED,
) -> dict[str, float]:
    """Densities, kept weights and multiply-adds by tag.

    Args:
        kept: Kept weights by layer.
        sizes: All weights by layer.
        costs: Multiply-adds of one sample; None if they are not known.
        others: What no mask covers.
    """
    kept_all, all_weights = sum(kept.values()), sum(sizes.values())
    metrics: dict[str, float] = {
        "density/network": kept_all / all_weights,
        **{f"density/{name or ITSELF}": kept[name] / sizes[name] for name in kept},
        "kept/network": kept_all,
        **{f"kept/{name or ITSELF}": kept[name] for name in kept},
    }
    if others.weights:
        metrics["density/all"] = others.density_of_all(kept_all, all_weights)
    if costs is not None:
        metrics["flops/dense"] = costs.total({**sizes, **others.weights})
        metrics["flops/effective"] = costs.total({**kept, **others.weights})
    return metrics


def density_table(
    kept: Mapping[str, int],
    sizes: Mapping[str, int],
    costs: MultiplyAdds | None,
    others: Unmasked = ALL_MASKED,
) -> Table:
    """The same numbers as a table with a row per layer, masked or not, and one for the network.

    The line below it says what no mask covers. Arguments as `density_metrics`.
    """
    kept_all, all_weights = sum(kept.values()), sum(sizes.values())
    table = Table(
        title="Density", title_justify="left", caption=in_words(kept_all, all_weights, others), caption_justify="left"
    )
    table.add_column("layer")
    for column in ("weights", "kept", "density", *(("FLOPs", "effective") if costs is not None else ())):
        table.add_column(column, justify="right")

    def add(name: str, weights: int, kept: int, density: str, weight: str | None) -> None:
        cells = [name, f"{weights:,}", f"{kept:,}", density]
        if costs is not None and weight is not None:
            cells += [f"{round(count * costs.positions[weight]):,}" for count in (weights, kept)]
        table.add_row(*cells)

    for name in kept:
        add(name or ITSELF, sizes[name], kept[name], f"{kept[name] / sizes[name]:.2%}", name)
    if others.weights:
        table.add_section()
    for name, size in list(others.weights.items())[:ROWS]:
        add(name, size, size, "dense", name)
    if rest := list(others.weights.values())[ROWS:]:
        add(f"{len(rest)} others", sum(rest), sum(rest), "dense", None)
    table.add_section()
    cells = [f"{all_weights:,}", f"{kept_all:,}", f"{kept_all / all_weights:.2%}"]
    if costs is not None:
        cells += [f"{costs.total({**weights, **others.weights}):,}" for weights in (sizes, kept)]
    table.add_row("network", *cells)
    return table
