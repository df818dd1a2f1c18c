"""Writing a network as a checkpoint of ours, without overwriting anything."""

import copy
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsity.atomic import write_new
from sparsity.checkpoints.exported import MARK, with_texts
from sparsity.checkpoints.layouts import State
from sparsity.checkpoints.network_files import FilePath
from sparsity.checkpoints.networks import NetworkConfig, build_network, infer_config, vit_config
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, is_mask_key, maskable, masks
from sparsity.networks import FC, VGG, ResNet, ViT, WideResNet

_LAYOUT = "2.6.1"
"""The version of Lightning whose layout is written; later ones read it."""


def save_checkpoint(network: nn.Module, path: FilePath) -> None:
    """Write a network as a checkpoint of `SparseClassifier`, without the state of a fit.

    `load_network` and `SparseClassifier.load_from_checkpoint` read it back, masks included. How the weights were
    initialised, and dropout, are not recorded. Nor is a class that is not of `sparsity.networks`: whoever reads the
    file has to give such a network.

    Args:
        network: Any; left unchanged. One without any masks is written with masks that keep all.
        path: A file that does not exist yet, in a folder that does. It appears complete or not at all.

    Raises:
        SparsityError: If the network has nothing to mask, the file exists, or it cannot be written.
    """
    masked = copy.deepcopy(network).cpu()
    if not masks(masked):
        add_masks(masked)
    state = masked.state_dict()
    exclude = [name for name, place in maskable(masked).items() if place.mask_key not in state]
    content = _content(state, config_of(network), exclude)
    complete = _saved(content)
    try:
        write_new(Path(path), complete)
    except FileExistsError:
        raise SparsityError(f"{path} exists and is not overwritten; give another name") from None
    except OSError as error:
        raise SparsityError(f"cannot write {path}: {error.strerror}") from error


def exported_checkpoint(network: nn.Module, config: NetworkConfig | None) -> memoryview:
    """A file with a network whose layers may be smaller than its class makes them.

    `load_network` and `SparseClassifier.load_from_checkpoint` read it.

    Args:
        network: Without masks; left unchanged.
        config: Of the network that it was before; None if its class is not one of ours.
    """
    return _saved({**_content(network.state_dict(), config, []), MARK: True})


def exported_safetensors(network: nn.Module, config: NetworkConfig | None) -> bytes:
    """The same as a file of the safetensors format, without zeros; `load_network` reads it.

    Args:
        network: Without masks; left unchanged.
        config: As in `exported_checkpoint`.

    Raises:
        SparsityError: If the package `safetensors` is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError:
        raise SparsityError(
            "the package safetensors, which writes this format, is not installed; run pip install -e '.[export]'"
        ) from None
    tensors, texts = with_texts(network.state_dict(), config)
    return save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, texts)


def config_of(network: nn.Module) -> NetworkConfig | None:
    """What makes a network of ours anew; None of any other.

    Raises:
        SparsityError: If its layers are smaller than its class makes them, which no argument of the class says.
    """
    if not type(network).__module__.startswith("sparsity.networks."):  # a subclass may compute anything
        return None
    if isinstance(network, ViT):
        config = vit_config(network)
    elif isinstance(network, FC | ResNet | WideResNet | VGG):
        config = infer_config(network.state_dict())
    else:
        return None
    config["init_args"]["input_shape"] = list(network.input_shape)
    with torch.device("meta"):
        made = build_network(config).state_dict()
    if {key: tensor.shape for key, tensor in made.items()} != _shapes_without_masks(network):
        raise SparsityError(
            f"the layers of this {type(network).__name__} are smaller than its class makes them, as export leaves "
            "them; write it in the format onnx or torch-export, or start from the network that it was made of"
        )
    return config


def _shapes_without_masks(network: nn.Module) -> dict[str, torch.Size]:
    state = network.state_dict()
    return {key: tensor.shape for key, tensor in state.items() if not is_mask_key(key, state)}


def _content(state: State, config: NetworkConfig | None, exclude: Sequence[str]) -> dict[str, Any]:
    """A checkpoint of `SparseClassifier` without the state of a fit."""
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LAYOUT,
        "state_dict": {f"network.{key}": tensor for key, tensor in state.items()},
        # Empty, so that `fit` can start from here with a new optimizer.
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {
            **({} if config is None else {"network": config}),
            "exclude": list(exclude),
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
        },
    }


def _saved(content: Mapping[str, Any]) -> memoryview:
    # Torch itself does not tell a full disk from an error of its own.
    complete = io.BytesIO()
    torch.save(content, complete)
    return complete.getbuffer()
