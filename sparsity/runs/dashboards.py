"""What a dashboard shows of a run besides its scalars: name, hyper-parameters, layout, figures, tables, distributions.

TensorBoard has all of it, Weights & Biases all but the layout, MLflow all but layout and distributions. Others get
scalars and hyper-parameters; figures and tables are files in the run's folder in any case.
"""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from typing_extensions import override

from sparsity.formatting import markdown_table

FINAL_METRICS = ("val/accuracy", "test/best_accuracy", "test/last_accuracy", "density/network")
"""Of which TensorBoard's table of hyper-parameters shows the last values."""

_LAYOUT = {
    "training": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "top-5 accuracy": ["Multiline", ["train/top5_accuracy", "val/top5_accuracy"]],
        "learning rate": ["Multiline", ["lr-.*"]],
    },
    "sparsity": {
        "density": ["Multiline", ["density/network", "density/all"]],
        "density of layers": ["Multiline", ["density/(?!network|all).*"]],
        "multiply-adds": ["Multiline", ["flops/dense", "flops/effective"]],
        "moving mask": ["Multiline", ["dynamics/explored", "dynamics/iou_with_last"]],
    },
}
_FIRST = ("pruner", "pruner.density", "seed_everything", "data", "model.network")
"""TensorBoard's table shows the first five until others are chosen."""

_UNTOLD = ("data_dir", "num_workers")
"""Where data lie and how fast they are read says nothing of a run."""


def label(method: str, density: float | None, seed: int | None) -> str:
    """What a run is called in a list of many, for example `SynFlow-0.1-seed42`; fit for a folder.

    Args:
        method: Who prunes.
        density: Kept fraction asked for; None for a dense network.
        seed: Of everything.
    """
    words = [method, *([] if density is None else [f"{density:g}"]), *([] if seed is None else [f"seed{seed}"])]
    return re.sub(r"[^A-Za-z0-9.+_-]+", "_", "-".join(words))


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """A config's settings as flat as dashboards want them, by the names that options have on the command line.

    Args:
        settings: As plain values; what is made of a class has a `class_path` and `init_args`.

    Returns:
        Of a class its bare name; of lists their text; what is null or empty is left out.

    Example:
        >>> hyperparameters({"pruner": {"class_path": "sparsity.callbacks.SynFlow", "init_args": {"density": 0.1}}})
        {'pruner': 'SynFlow', 'pruner.density': 0.1}
    """
    found = dict(_flat("", settings))
    return {name: found[name] for name in (*_FIRST, *found) if name in found}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str | float | bool]]:
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            yield name, path.rpartition(".")[2]
            value = value.get("init_args") or {}
        for key, inner in value.items():
            if key not in _UNTOLD:
                yield from _flat(f"{name}.{key}".lstrip("."), inner)
    elif isinstance(value, str | int | float):
        yield name, value
    elif value:
        yield name, str(value)


class RunOnDashboards(Callback):
    """Tells loggers once what a run is: its hyper-parameters, and how charts are laid out.

    Args:
        settings: From `hyperparameters`.
    """

    def __init__(self, settings: Mapping[str, str | float | bool]) -> None:
        self.settings = dict(settings)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_hyperparams(self.settings)
                if isinstance(logger, TensorBoardLogger):
                    self._tell_tensorboard(logger)

    def _tell_tensorboard(self, logger: TensorBoardLogger) -> None:
        from torch.utils.tensorboard.summary import hparams  # takes a moment

        # Lightning's own would log a metric of -1. What is named here has its values from the scalars.
        experiment, session, _ = hparams(self.settings, dict.fromkeys(FINAL_METRICS, 0.0))  # type: ignore[no-untyped-call]
        for summary in (experiment, session):
            logger.experiment.file_writer.add_summary(summary)
        logger.experiment.add_custom_scalars(_LAYOUT)


def log_figure(logger: Logger, tag: str, figure: Any, step: int) -> None:
    """Show a figure of matplotlib's."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(tag, figure, step, close=False)
    elif isinstance(logger, WandbLogger):
        logger.log_image(tag, [figure], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{tag}.png")


def log_table(logger: Logger, tag: str, columns: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
    """Show a table of texts."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(tag, markdown_table(columns, rows), step)
    elif isinstance(logger, WandbLogger):
        logger.log_table(tag, columns=list(columns), data=[list(row) for row in rows], step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_text(logger.run_id, markdown_table(columns, rows), f"{tag}.md")


def log_distribution(logger: Logger, tag: str, values: np.ndarray[Any, Any], step: int) -> None:
    """Show how values are distributed; at least one."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_histogram(tag, values, step)
    elif isinstance(logger, WandbLogger):
        histogram = importlib.import_module("wandb").Histogram(values)
        logger.log_metrics({tag: histogram}, step)
