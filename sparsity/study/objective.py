"""What a search goes by: validation accuracies, as a run has logged them, of networks with the density asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sparsity.checkpoints.reading import read_torch_file
from sparsity.errors import SparsityError
from sparsity.runs.curves import ACCURACY, DENSITY, Curve, read_curves
from sparsity.runs.folder import newest_session
from sparsity.runs.summary import is_reached
from sparsity.study.running import Run


def logged(folder: Path) -> dict[str, Curve]:
    """What a run has logged so far, by tag; nothing while its files cannot be read.

    Args:
        folder: The run's, of all sessions.
    """
    newest = newest_session(folder)
    try:
        return {} if newest is None else read_curves([session.path for session in newest.sessions()])
    except SparsityError:  # it may be written at this moment
        return {}


def counted(curves: Mapping[str, Curve], asked: float | None) -> dict[int, float]:
    """The validation accuracies of epochs at whose end the network had the density that was asked for.

    Args:
        curves: By tag.
        asked: The density; None if nobody prunes, and all epochs count.
    """
    accuracies, densities = curves.get(ACCURACY, {}), curves.get(DENSITY, {})
    if asked is None:
        return dict(accuracies)
    reached = {epoch for epoch, density in densities.items() if is_reached(density, asked)}
    return {epoch: accuracy for epoch, accuracy in accuracies.items() if epoch in reached}


def density_asked(config: Mapping[str, Any]) -> float | None:
    """The density that a complete config asks for; None if nobody prunes, or to no density of its own."""
    density = ((config.get("pruner") or {}).get("init_args") or {}).get("density")
    return float(density) if density else None


def validation_accuracy(run: Run) -> float:
    """That of `best.ckpt`, the checkpoint that a finished run is used by, in [0, 1].

    Raises:
        SparsityError: If there is none, as without validation images, or its epoch's accuracy was not logged.
    """
    newest = newest_session(run.folder)
    sessions = () if newest is None else newest.sessions()
    best = None if newest is None else newest.saved("best")
    if best is None:
        raise SparsityError(
            f"{run.folder} has no best.ckpt, and so no validation accuracy to search by; give the data validation "
            "images and leave the checkpoints as they are"
        )
    epochs = int(read_torch_file(best, "a checkpoint of the run")["epoch"]) + 1
    accuracy = read_curves([session.path for session in sessions]).get(ACCURACY, {}).get(epochs)
    if accuracy is None:
        raise SparsityError(f"{run.folder} has not logged {ACCURACY} of epoch {epochs}, by which the search goes")
    return accuracy


def complete_config(run: Run) -> dict[str, Any]:
    """The run's config as plain values."""
    config: dict[str, Any] = yaml.safe_load(run.config)
    return config
