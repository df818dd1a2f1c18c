"""Writing a network as a checkpoint of ours, without overwriting anything."""

import copy
import io
from pathlib import Path

import torch
from torch import nn

from sparsity.atomic import write_new
from sparsity.checkpoints.network_files import FilePath
from sparsity.checkpoints.networks import NetworkConfig, infer_config, vit_config
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, maskable, masks
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
    config = _config(network)
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LAYOUT,
        "state_dict": {f"network.{key}": tensor for key, tensor in state.items()},
        # Empty, so that `fit` can start from here with a new optimizer.
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {
            **({} if config is None else {"network": config}),
            "exclude": [name for name, place in maskable(masked).items() if place.mask_key not in state],
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
        },
    }
    # Torch itself does not tell a full disk from an error of its own.
    complete = io.BytesIO()
    torch.save(content, complete)
    try:
        write_new(Path(path), complete.getbuffer())
    except FileExistsError:
        raise SparsityError(f"{path} exists and is not overwritten; give another name") from None
    except OSError as error:
        raise SparsityError(f"cannot write {path}: {error.strerror}") from error


def _config(network: nn.Module) -> NetworkConfig | None:
    """What makes a network of ours anew; None of any other."""
    if isinstance(network, ViT):
        config = vit_config(network)
    elif isinstance(network, FC | ResNet | WideResNet | VGG):
        config = infer_config(network.state_dict())
    else:
        return None
    config["init_args"]["input_shape"] = list(network.input_shape)
    return config
