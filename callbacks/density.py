"""Says how dense a network is: to the loggers whenever it changes, and as a table once the mask is final."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from sparsity.analysis.flops import flops, output_positions
from sparsity.callbacks.batches import sample_shape
from sparsity.callbacks.pruning import find_pruner
from sparsity.callbacks.zeros import network_of
from sparsity.masks import masked_layers, masks, sizes


class DensityMonitor(Callback):
    """Logs density and kept weights, of the network and per layer, and multiply-adds per sample, once per change.

    Tags: `density/network`, `density/<layer>`, `kept/network`, `kept/<layer>`, `flops/dense`, `flops/effective`.

    Args:
        table: Print a table of the layers once the mask is final.
    """

    def __init__(self, table: bool = True) -> None:
        self.table = table
        self._logged: dict[str, int] | None = None
        self._positions: dict[str, int] | None = None
        self._printed = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._observe(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._observe(trainer, pl_module)

    @rank_zero_only
    def _observe(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network, pruner = network_of(pl_module), find_pruner(trainer)
        if not masked_layers(network):
            return
        mask = pruner.current_mask(network) if pruner else masks(network)
        counts = torch.stack([m.sum() for m in mask.values()]).tolist()
        kept = dict(zip(mask, map(int, counts), strict=True))
        if self._positions is None:
            self._positions = output_positions(network, sample_shape(trainer, pl_module))
        if kept != self._logged:
            metrics = density_metrics(kept, sizes(network), self._positions)
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)
            self._logged = kept
        if self.table and not self._printed and (pruner is None or pruner.is_final):
            Console().print(density_table(kept, sizes(network), self._positions))
            self._printed = True


def density_metrics(kept: dict[str, int], sizes: dict[str, int], positions: dict[str, int]) -> dict[str, float]:
    """Densities, kept weights and multiply-adds by tag.

    Args:
        kept: Kept weights by layer.
        sizes: All weights by layer.
        positions: Output positions of one sample by layer.
    """
    kept_all, all_weights = sum(kept.values()), sum(sizes.values())
    return {
        "density/network": kept_all / all_weights,
        **{f"density/{name}": kept[name] / sizes[name] for name in kept},
        "kept/network": kept_all,
        **{f"kept/{name}": kept[name] for name in kept},
        "flops/dense": flops(sizes, positions),
        "flops/effective": flops(kept, positions),
    }


def density_table(kept: dict[str, int], sizes: dict[str, int], positions: dict[str, int]) -> Table:
    """The same numbers as a table with a row per layer and one for the network; arguments as `density_metrics`."""
    table = Table(title="Density", title_justify="left")
    table.add_column("layer")
    for column in ("weights", "kept", "density", "FLOPs", "effective"):
        table.add_column(column, justify="right")

    def add(name: str, weights: int, kept: int, dense: int, effective: int) -> None:
        table.add_row(name, f"{weights:,}", f"{kept:,}", f"{kept / weights:.2%}", f"{dense:,}", f"{effective:,}")

    for name in kept:
        add(name, sizes[name], kept[name], sizes[name] * positions[name], kept[name] * positions[name])
    table.add_section()
    dense, effective = flops(sizes, positions), flops(kept, positions)
    add("network", sum(sizes.values()), sum(kept.values()), dense, effective)
    return table
