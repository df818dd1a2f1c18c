"""Going on with a run: which checkpoint is meant, and whether it is of the same run."""

from typing import Any

from sparsity.callbacks import MaskFrom, PruningCallback
from sparsity.errors import SparsityError


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
