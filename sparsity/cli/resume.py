"""Going on with a run: its checkpoint, and whether it is of the same run."""

from pathlib import Path
from typing import Any

from sparsity.callbacks import MaskFrom, PruningCallback
from sparsity.checkpoints.reading import read_checkpoint
from sparsity.errors import SparsityError
from sparsity.runs.folder import newest_other_checkpoint


def read_intact_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that a fit saved, and if it is damaged or gone, name the newest other one of its runs.

    Raises:
        SparsityError: If there is no such file, or it is something else.
    """
    try:
        return read_checkpoint(path)
    except SparsityError as error:
        other = newest_other_checkpoint(path)
        if other is None:
            raise
        raise SparsityError(f"{error}; the newest other checkpoint beside it is {other}") from error


def require_same_pruner(checkpoint: dict[str, Any], pruner: PruningCallback | None, path: str) -> None:
    """Refuse to resume under another pruner, which would prune a second time."""
    states = checkpoint.get("callbacks", {})
    saved = next((name for name, state in states.items() if isinstance(state, dict) and "density" in state), None)
    configured = type(pruner).__name__ if pruner else None
    way_out = f"use the same, or start a new run from its weights with --model.weights {path}"
    if saved != configured:
        raise SparsityError(f"{path} is of a run with pruner {saved}, and this one has {configured}; {way_out}")
    if pruner and states[saved].get("ablation") != pruner.ablation:
        raise SparsityError(
            f"{path} is of a run with ablation {states[saved].get('ablation')}, and this one has {pruner.ablation}; "
            f"{way_out}"
        )
    # A mask that is read from a file brings its own density.
    if pruner and not isinstance(pruner, MaskFrom) and states[saved]["density"] != pruner.density:
        raise SparsityError(
            f"{path} is of a run with density {states[saved]['density']:g}, and this one asks for "
            f"{pruner.density:g}; {way_out}"
        )
