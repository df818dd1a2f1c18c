"""From the points of a study to its runs: complete configs, checked before anything starts, and a folder for each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from sparsity.errors import SparsityError
from sparsity.formatting import listed
from sparsity.runs.folder import LOGS
from sparsity.study.grid import Point
from sparsity.study.running import Run, folder_for
from sparsity.trainer.internals import Versioned

_TENSORBOARD = "pytorch_lightning.loggers.TensorBoardLogger"
_VERSIONED = [kind.__name__ for kind in get_args(Versioned)]

Resolve = Callable[[Sequence[str]], str]
"""From the arguments of `sparsity fit` to the complete config as YAML; raises `SparsityError` for wrong ones."""


def plan(points: Iterable[Point], folder: Path, resolve: Resolve) -> list[Run]:
    """Complete configs and folders of all runs; equal configs are one run.

    Raises:
        SparsityError: If a config is wrong; says of which run. If one is a search, whose runs nobody knows before.
    """
    runs: dict[Path, Run] = {}
    for point in points:
        if point.drawn:
            raise SparsityError(
                f"{point.label} draws {listed(list(point.drawn))}, so its runs are found while they go, by the command "
                "study alone; give lists instead"
            )
        try:
            config = yaml.safe_load(resolve(point.arguments))
        except SparsityError as error:
            raise SparsityError(f"the run {point.label} cannot be: {error}") from error
        _require_ordinary_folders(config["trainer"], point.label)
        config |= {"test_after_fit": True}
        config["trainer"]["default_root_dir"] = None
        # The folder's name is made of everything but the folder itself.
        own = folder_for(folder / "runs", point.label, yaml.safe_dump(config))
        config["trainer"]["default_root_dir"] = str(own)
        config["trainer"]["logger"] = _loggers_in(own, config["trainer"].get("logger"))
        runs.setdefault(own, Run(own, point.axes, yaml.safe_dump(config, sort_keys=False)))
    return list(runs.values())


def _require_ordinary_folders(trainer: Mapping[str, Any], label: str) -> None:
    """Refuse a run that would not leave its results where the study looks for them."""
    if trainer.get("logger") is False:
        raise SparsityError(f"the run {label} sets trainer.logger false, and tables are made of logs; leave it out")
    for key in ("fast_dev_run", "barebones"):
        if trainer.get(key):
            raise SparsityError(f"the run {label} sets trainer.{key}, with which there are no results; leave it out")


def _loggers_in(folder: Path, given: Any) -> Any:
    """A run's loggers, of which those that write folders of versions do so in its own; one of TensorBoard's at least.

    Args:
        folder: The run's.
        given: As `trainer.logger` in a config: null or true for Lightning's own, one, or a list.
    """
    if given in (None, True):
        return given
    loggers = [dict(one) for one in (given if isinstance(given, list) else [given])]
    own = {"save_dir": str(folder), "name": LOGS, "version": None}
    for logger in loggers:
        if logger["class_path"].rpartition(".")[2] in _VERSIONED:
            logger["init_args"] = {**logger.get("init_args", {}), **own}
    if not any(logger["class_path"] == _TENSORBOARD for logger in loggers):
        loggers.insert(0, {"class_path": _TENSORBOARD, "init_args": own})
    return loggers
