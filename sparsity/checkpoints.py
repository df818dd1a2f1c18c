"""Finding checkpoints of earlier runs, and telling whether one fits before anything starts."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsity.errors import SparsityError


def newest_checkpoint(log_folder: Path, name: str) -> Path:
    """The checkpoint written last among the runs below a log folder.

    Args:
        log_folder: Holds a folder per run, for example `lightning_logs`.
        name: `last` or `best`.

    Raises:
        SparsityError: If no run has such a checkpoint.
    """
    found = list(log_folder.glob(f"*/checkpoints/{name}.ckpt"))
    if not found:
        raise SparsityError(
            f"no run below {log_folder} has a checkpoint {name}.ckpt; give the path of a checkpoint, or train first"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint onto the CPU, without running any code in it.

    Raises:
        SparsityError: If the file is missing, damaged, or not a Lightning checkpoint.
    """
    if not path.is_file():
        raise SparsityError(f"there is no checkpoint {path}; give a file, or `last` for the newest run's")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        raise SparsityError(
            f"{path} cannot be read as a checkpoint: it is damaged or of another program; "
            "give one that a fit of this program saved"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise SparsityError(f"{path} is not a Lightning checkpoint; give one that a fit of this program saved")
    return checkpoint


def require_fitting(checkpoint: dict[str, Any], module: nn.Module, path: Path) -> None:
    """Refuse a checkpoint of another architecture.

    Raises:
        SparsityError: Names the first tensor that is missing on one side or shaped differently.
    """
    saved = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in [*expected, *saved]:
        if saved.get(name) != expected.get(name):
            raise SparsityError(
                f"{path} is of another network than the configured one: {name} is "
                f"{_shape(saved.get(name))} there and {_shape(expected.get(name))} here; "
                "use the config.yaml beside the checkpoint's folder"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
