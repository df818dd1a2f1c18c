"""A network's tensors in a file, whoever wrote it; read without running what is inside."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsity.checkpoints.exported import MARK, file_in, from_texts
from sparsity.checkpoints.layouts import is_known
from sparsity.checkpoints.mask_forms import masks_beside, require_computed, without_reparametrisation
from sparsity.checkpoints.reading import read_safetensors_file, read_torch_file
from sparsity.errors import SparsityError

FilePath = str | os.PathLike[str]

_EXPECTED = (
    "a checkpoint of this package, or the state dict of a SynFlow, Gem-Miner, OpenLTH or other network of a known "
    "layout, saved with torch.save or as .safetensors"
)

_WRAPPERS = ("module.", "model.", "net.", "backbone.")
"""What DataParallel, LightningModules and others call the network that they wrap."""


@dataclass(frozen=True)
class NetworkFile:
    """What a file holds.

    Attributes:
        state: Tensors by name, without the prefix of the module that wrapped the network.
        from_classifier: Whether that module was a LightningModule which calls its network `network`, as ours does.
        hyper_parameters: What the file has there, or None; not checked.
        is_export: Whether `export` wrote it, so that its layers may be smaller than their class makes them.
        notes: What was done that a reader of the file may not expect, one sentence each.
    """

    state: dict[str, Tensor]
    from_classifier: bool
    hyper_parameters: object
    is_export: bool = False
    notes: tuple[str, ...] = ()

    def say(self) -> None:
        """Tell the user what was done."""
        for note in self.notes:
            # Whoever has nothing to be told needs no Lightning.
            from pytorch_lightning.utilities import rank_zero_info

            rank_zero_info(note)


def read_network_file(path: FilePath, names: Collection[str] = ()) -> NetworkFile:
    """Read a state dict, or a dict that has one under `state_dict`, onto the CPU.

    Args:
        path: Any file, or a folder that `export` wrote; code inside it is not run. Of OpenLTH's `model_ep*_it*.pth`,
            the `mask.pth` beside it is read as well.
        names: Of the tensors of the network that they are for, if there is one: a prefix that it has stays.

    Raises:
        SparsityError: If there is no such file, it cannot be read, it holds no tensors by name, or its masks do not
            fit its tensors, or its weights are parametrised.
    """
    path = file_in(path)
    content = _content(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        state = {}
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise SparsityError(f"{os.fspath(path)} holds no tensors by name; expected {_EXPECTED}")
    try:
        tensors = without_reparametrisation(tensors)
    except SparsityError as error:
        raise SparsityError(f"{os.fspath(path)} is damaged: {error}") from error
    networks = _below("network.", tensors)
    prefix = "" if networks else _wrapper(tensors, names)
    notes = [f"{os.fspath(path)}: all names start with {prefix!r}, which is left out"] if prefix else []
    state = networks or _below(prefix, tensors)
    require_computed(Path(path), state, names)
    if masked := masks_beside(Path(path), state):
        notes.append(f"{os.fspath(path)}: the masks are those in mask.pth beside it")
    return NetworkFile(
        state=masked or state,
        from_classifier=bool(networks),
        hyper_parameters=content.get("hyper_parameters"),
        is_export=MARK in content,
        notes=tuple(notes),
    )


def _content(path: FilePath) -> Mapping[Any, Any]:
    """Whatever a file holds by name; nothing if it is no mapping."""
    if Path(path).suffix == ".safetensors":
        tensors, texts = read_safetensors_file(path, _EXPECTED)
        try:
            return from_texts(tensors, texts)
        except SparsityError as error:
            raise SparsityError(f"{os.fspath(path)} cannot be read: {error}") from error
    content = read_torch_file(path, _EXPECTED)
    return content if isinstance(content, Mapping) else {}


def _wrapper(tensors: Mapping[str, Tensor], names: Collection[str]) -> str:
    """The prefix that all names have and no known layout, nor the network they are for."""
    prefix = ""
    while True:
        inner = _below(prefix, tensors)
        further = next((w for w in _WRAPPERS if all(key.startswith(w) for key in inner)), None)
        if further is None or is_known(inner) or any(name in inner for name in names):
            return prefix
        prefix += further


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
