"""Checkpoint files: reading without running what is inside, writing without overwriting."""

import copy
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.checkpoints.networks import infer_config
from sparsity.checkpoints.reading import read_torch_file
from sparsity.errors import SparsityError
from sparsity.masks import MASK, add_masks, maskable, masked_layers
from sparsity.networks import FC, ResNet

_LAYOUT = "2.6.1"
"""The version of Lightning whose layout is written; later ones read it."""

FilePath = str | os.PathLike[str]

_EXPECTED = "a checkpoint of this package, or the state dict of a SynFlow or Gem-Miner network, saved with torch.save"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        state: Tensors by name, without the prefix of the module that wrapped the network.
        from_classifier: Whether that module was a LightningModule which calls its network `network`, as ours does.
        hyper_parameters: What the file has there, or None; not checked.
    """

    state: dict[str, Tensor]
    from_classifier: bool
    hyper_parameters: object


def read_checkpoint(path: FilePath) -> Checkpoint:
    """Read a state dict, or a dict that has one under `state_dict`, onto the CPU.

    Args:
        path: Any file; code inside it is not run.

    Raises:
        SparsityError: If there is no such file, it cannot be read, or it holds no tensors by name.
    """
    content = read_torch_file(path, _EXPECTED)
    content = content if isinstance(content, Mapping) else {}
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        state = {}
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise SparsityError(f"{os.fspath(path)} holds no tensors by name; expected {_EXPECTED}")
    networks = _below("network.", tensors)
    return Checkpoint(
        state=networks or _below("module.", tensors) or tensors,  # `module.`: DataParallel's, as Gem-Miner may use it
        from_classifier=bool(networks),
        hyper_parameters=content.get("hyper_parameters"),
    )


def save_checkpoint(network: nn.Module, path: FilePath) -> None:
    """Write a network as a checkpoint of `SparseClassifier`, without the state of a fit.

    `load_network` and `SparseClassifier.load_from_checkpoint` read it back, masks included. How the weights were
    initialised is not recorded.

    Args:
        network: An `FC` or `ResNet`; left unchanged. One without any masks is written with masks that keep all.
        path: A file that does not exist yet, in a folder that does. It appears complete or not at all.

    Raises:
        SparsityError: If the network is of another class, the file exists, or it cannot be written.
    """
    if not isinstance(network, FC | ResNet):
        raise SparsityError(f"only FC and ResNet networks can be written as checkpoints, not {type(network).__name__}")
    masked = copy.deepcopy(network).cpu()
    if not masked_layers(masked):
        add_masks(masked)
    state = masked.state_dict()
    config = infer_config(state)
    config["init_args"]["input_shape"] = list(network.input_shape)
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LAYOUT,
        "state_dict": {f"network.{key}": tensor for key, tensor in state.items()},
        # Empty, so that `fit` can start from here with a new optimizer.
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {
            "network": config,
            "dense_layers": [name for name in maskable(masked) if f"{name}.{MASK}" not in state],
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
        },
    }
    _write_new(content, Path(path))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _write_new(content: dict[str, Any], path: Path) -> None:
    exists = SparsityError(f"{path} exists and is not overwritten; give another name")
    if os.path.lexists(path):
        raise exists
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # Torch itself does not tell a full disk from an error of its own.
    complete = io.BytesIO()
    torch.save(content, complete)
    try:
        with partial.open("xb") as file:
            file.write(complete.getbuffer())
        try:
            os.link(partial, path)  # unlike a rename, this fails where a file has appeared meanwhile
        except OSError:
            if os.path.lexists(path):
                raise exists from None
            partial.rename(path)  # on a file system without hard links
    except OSError as error:
        raise SparsityError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
