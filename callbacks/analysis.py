"""Post-fit analysis: what topology is left, and how far it is from other networks, on the dashboard and as files."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from typing_extensions import override

from sparsity.analysis.comparison.measures import pair_means
from sparsity.analysis.comparison.networks import compare, require_comparable
from sparsity.analysis.comparison.results import Comparison
from sparsity.analysis.output import next_folder, write_comparisons, write_json, write_topologies
from sparsity.analysis.records import Row
from sparsity.analysis.topology.network import Topology, layer_table, measures, summary, topology
from sparsity.callbacks.aside import aside
from sparsity.callbacks.density import ITSELF
from sparsity.callbacks.network import network_of
from sparsity.callbacks.pruning import find_pruner
from sparsity.callbacks.samples import batch_sample, known_sample, validation_images
from sparsity.checkpoints.loading import load_like
from sparsity.errors import SparsityError, require_whole_number
from sparsity.graph.sample import Given
from sparsity.graph.weights import Array
from sparsity.masks import masked
from sparsity.runs.claiming import has_run_folder, run_folder
from sparsity.runs.dashboards import log_distribution, log_figure, log_table
from sparsity.seeding import unmoved_randomness

_IN_DENSITY_MONITOR = {"layer", "masked", "units", "kept", "size", "density", "flops_dense", "flops_effective"}


class TopologyAnalysis(Callback):
    """Analyses the network once its mask is final and again when the fit ends.

    Logs scalars, distributions, figures and a table of the layers to dashboards under `topology/`, and writes the same
    to `analysis/topology_pruned/` and `analysis/topology_final/` in the run's folder: `summary.json`, `layers.csv`,
    `units.csv`, figures as PNG and PDF. An analysis that fails warns and leaves the fit alone: where nothing tells the
    shape of a sample, or reachability through the network's operations is not defined.

    Attributes:
        measures_at_start: Every number of the network before its first step, by name; empty if its density was not
            final then.

    Args:
        figures: Draw figures too, which takes most of the time.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Random(density=0.1), TopologyAnalysis(figures=False)])
    """

    def __init__(self, figures: bool = True) -> None:
        self.figures = figures
        self._reset()

    def _reset(self) -> None:
        self._seen_final_mask = False
        self._waits_for_batch = False
        self._batch_sample: Given = None
        self.measures_at_start: dict[str, float] = {}

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":  # before a checkpoint is restored
            self._reset()
            analysis_folder(trainer)  # claims the run's folder before somebody else has written into it

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pruner = find_pruner(trainer)
        if pruner is not None and pruner.is_final and not self._seen_final_mask:
            self._seen_final_mask = True
            # The first batch shows what samples look like, if nothing else does.
            self._waits_for_batch = self._sample(trainer, pl_module) is None
            if not self._waits_for_batch:
                self._analyse(trainer, pl_module, "topology_pruned")

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batch_sample is None:
            self._batch_sample = batch_sample(batch)
        if self._waits_for_batch:
            self._waits_for_batch = False
            self._analyse(trainer, pl_module, "topology_pruned")

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._analyse(trainer, pl_module, "topology_final")

    def _analyse(self, trainer: pl.Trainer, module: pl.LightningModule, name: str) -> None:
        root = analysis_folder(trainer)
        if not trainer.is_global_zero or root is None:
            return
        with aside(type(self).__name__):
            found = topology(network_of(module), self._sample(trainer, module))
            if trainer.global_step == 0:
                self.measures_at_start = measures(found)
            folder = next_folder(root, name)
            write_json(folder / "summary.json", summary(found))
            write_topologies(folder, {"network": found})
            _log_scalars(trainer, _topology_scalars(found))
            for logger in trainer.loggers:
                _log_distributions(logger, found, trainer.global_step)
                log_table(logger, "topology/layers", *_texts(layer_table(found)), trainer.global_step)
            if self.figures:
                from sparsity.plotting.catalogue import SINGLE_NETWORK_FIGURES, TOPOLOGY_FIGURES

                _show(trainer, "topology", [*TOPOLOGY_FIGURES, *SINGLE_NETWORK_FIGURES], {"network": found}, folder)

    def _sample(self, trainer: pl.Trainer, module: pl.LightningModule) -> Given:
        known = known_sample(trainer, module)
        return self._batch_sample if known is None else known

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seen_final_mask": self._seen_final_mask, "measures_at_start": self.measures_at_start}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seen_final_mask = state_dict["seen_final_mask"]
        self.measures_at_start = state_dict.get("measures_at_start", {})  # an older version saved none


class NetworkComparison(Callback):
    """Compares the trained network with the one that the run started from, and with given ones, when the fit ends.

    Distances of all measures, the masks' overlap against chance, and, if there is validation, the correlation of
    activations. Logs to TensorBoard under `comparison/` and writes the same to `analysis/comparison/` in the run's
    folder. A comparison that fails warns and leaves the fit alone.

    Args:
        references: Checkpoints of this program, SynFlow's or Gem-Miner's, of the same architecture.
        images: Validation images to correlate activations on; 0 for no correlations.
        figures: Draw figures too.

    Raises:
        SparsityError: Before training, if a reference cannot be read or is of another architecture.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Random(density=0.1), NetworkComparison(images=100)])
    """

    def __init__(self, references: Sequence[str] = (), images: int = 256, figures: bool = True) -> None:
        require_whole_number("images", images, at_least=0)
        self.references = list(references)
        self.images = images
        self.figures = figures
        self._initial: dict[str, Tensor] = {}

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        analysis_folder(trainer)
        network = network_of(pl_module)
        # Before pruning, and before a checkpoint is restored: what it knows of the start then replaces this.
        self._initial = {
            name: tensor.detach().cpu().clone()
            for name, tensor in network.state_dict().items()
            if isinstance(tensor, Tensor) and not nn.parameter.is_lazy(tensor)
        }
        with unmoved_randomness():
            for path in self.references:
                _require_reference(network, path)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        root = analysis_folder(trainer)
        if not trainer.is_global_zero or root is None:
            return
        with aside(type(self).__name__):
            networks = {"trained": network_of(pl_module), **self._others(trainer, network_of(pl_module))}
            found = self._compared(trainer, networks)
            folder = next_folder(root, "comparison")
            write_comparisons(folder, [found])
            scalars: dict[str, float] = {}
            for pair in found.pairs:
                if pair.a == "trained":
                    scalars |= {f"comparison/{pair.b}/{name}": value for name, value in pair_means(pair).items()}
            _log_scalars(trainer, scalars)
            rows: list[Row] = [{"a": p.a, "b": p.b, **_finite(pair_means(p))} for p in found.pairs]
            for logger in trainer.loggers:
                log_table(logger, "comparison/pairs", *_texts(rows), trainer.global_step)
            if self.figures:
                from sparsity.plotting.catalogue import comparison_figures

                _show(trainer, "comparison", comparison_figures(), found, folder)

    def _compared(self, trainer: pl.Trainer, networks: Mapping[str, nn.Module]) -> Comparison:
        with aside(f"{type(self).__name__}'s correlation of activations"):
            images = validation_images(trainer, self.images)
            if images is not None:
                return compare(networks, images)
        return compare(networks)

    def _others(self, trainer: pl.Trainer, network: nn.Module) -> dict[str, nn.Module]:
        initial = copy.deepcopy(network, {id(trainer): trainer})  # a network that is a module of Lightning's knows it
        unmasked = {place.mask_key: torch.ones_like(place.mask) for place in masked(network).values()}
        initial.load_state_dict({**unmasked, **self._initial}, strict=False)
        device = next(network.parameters()).device
        return {"initial": initial} | {
            _reference_name(path): load_like(path, network).to(device) for path in self.references
        }

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"initial": self._initial}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._initial = state_dict["initial"]


def _require_reference(network: nn.Module, path: str) -> None:
    try:
        require_comparable(network, load_like(path, network))
    except SparsityError as error:
        raise SparsityError(f"cannot compare with {path}: {error}") from error


def _reference_name(path: str) -> str:
    """The file's name, with its run for our own `best` and `last`."""
    file = Path(path)
    return f"{file.parent.parent.name}_{file.stem}" if file.parent.name == "checkpoints" else file.stem


def analysis_folder(trainer: pl.Trainer) -> Path | None:
    """`analysis/` in the run's folder, on every rank; None for a run that leaves nothing behind."""
    if not trainer.loggers and not has_run_folder(trainer):
        return None
    root = run_folder(trainer)  # asks all ranks
    return None if root is None else root.analysis


def _topology_scalars(found: Topology) -> dict[str, float]:
    whole = summary(found)
    scalars = {f"topology/{name}": whole[name] for name in ("effective_density", "dead")}
    for row in layer_table(found):
        scalars |= {
            f"topology/{name}/{row['layer'] or ITSELF}": float(value)
            for name, value in row.items()
            if name not in _IN_DENSITY_MONITOR and isinstance(value, int | float)
        }
    return scalars


def _log_scalars(trainer: pl.Trainer, scalars: Mapping[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(_finite(scalars), step=trainer.global_step)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _log_distributions(logger: Logger, found: Topology, step: int) -> None:
    samples: dict[tuple[str, str], Array] = {("runs_per_unit", name): runs.count for name, runs in found.runs.items()}
    samples |= {("gaps", layer): gaps.gap for layer, gaps in found.gaps.items()}
    samples |= {("kernel_scores", layer): k.score for layer, k in found.kernels.items()}
    samples |= {("weights", layer): weight[weight != 0] for layer, weight in found.weights.items()}
    for (kind, layer), values in samples.items():
        if values.size:
            log_distribution(logger, f"topology/{kind}/{layer or ITSELF}", values, step)


def _show(trainer: pl.Trainer, tag: str, specs: Any, source: Any, folder: Path) -> None:
    from sparsity.plotting.catalogue import drawn
    from sparsity.plotting.files import save_figure

    for spec, figure in drawn(specs, source):
        save_figure(figure, folder / spec.name)
        for logger in trainer.loggers:
            log_figure(logger, f"{tag}/{spec.name}", figure, trainer.global_step)


def _texts(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of a table."""
    columns = list(rows[0])
    return columns, [[_cell(row.get(column)) for column in columns] for row in rows]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
