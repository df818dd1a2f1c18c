"""What marks a file as one that `sparsity export` wrote, and what a reader has to know of it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sparsity.checkpoints.networks import NetworkConfig
from sparsity.checkpoints.packing import packed, unpacked
from sparsity.errors import SparsityError

Format = Literal["pytorch", "onnx", "safetensors", "torch-export"]

FILES: dict[Format, str] = {
    "pytorch": "model.pt",
    "safetensors": "model.safetensors",
    "onnx": "model.onnx",
    "torch-export": "model.pt2",
}
"""The network's file in a folder of each format."""

CARD, REPORT = "README.md", "report.json"
"""What lies beside it."""

MARK = "sparsity_export"
"""The key in a checkpoint, and the text in a safetensors file, that only exports have: their layers may be smaller than
their class makes them."""

_READABLE: tuple[Format, ...] = ("pytorch", "safetensors")
"""Those that a network is made of again."""


def file_in(path: str | os.PathLike[str]) -> Path:
    """The file of the network in a folder that was exported; any other path as it is.

    Raises:
        SparsityError: If what was exported there is of a format that no network is made of again.
    """
    folder = Path(path)
    if not folder.is_dir():
        return folder
    for name in _READABLE:
        if (file := folder / FILES[name]).is_file():
            return file
    if others := [name for name in FILES.values() if (folder / name).is_file()]:
        raise SparsityError(
            f"the folder {folder} has {others[0]}, which holds operations and no network to read; give one that was "
            f"exported as {' or '.join(_READABLE)}"
        )
    return folder


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a path is of a folder that was exported, or of the network's file in it."""
    found = Path(path)
    folder = found.parent if found.name in FILES.values() else found
    return (folder / REPORT).is_file() and any((folder / name).is_file() for name in FILES.values())


def with_texts(state: Mapping[str, Tensor], config: NetworkConfig | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a safetensors file, in little room.

    Args:
        state: Tensors by name.
        config: What makes the network, if it is one of ours.
    """
    tensors, shapes = packed(state)
    return tensors, {"format": "pt", MARK: json.dumps({"network": config, "packed": shapes})}


def from_texts(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, Any]:
    """The content of a safetensors file as that of a checkpoint; of files that others wrote, the tensors.

    Raises:
        SparsityError: If it says that it is an export and is damaged.
    """
    if MARK not in texts:
        return dict(tensors)
    try:
        said = json.loads(texts[MARK])
        network, shapes = said["network"], said["packed"]
        is_known = isinstance(shapes, dict) and all(isinstance(shape, list) for shape in shapes.values())
    except (ValueError, TypeError, KeyError, RecursionError):
        is_known = False
    if not is_known:
        raise SparsityError(f"what it says of its tensors, {MARK!r}, is damaged")
    return {"state_dict": unpacked(tensors, shapes), "hyper_parameters": {"network": network}, MARK: True}
