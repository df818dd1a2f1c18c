"""Which of our networks a state dict belongs to, in the form in which Lightning's checkpoints say it."""

import inspect
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any, TypedDict

import torch
from torch import nn

from sparsity import networks
from sparsity.checkpoints.layouts import State
from sparsity.errors import SparsityError
from sparsity.networks.vit import EncoderBlock, ViT

GIVE_NETWORK = "give the network (--network my_module.MyNetwork)"
_LONGEST_NAME = 80


class NetworkConfig(TypedDict):
    """A class of `sparsity.networks` and its arguments, as LightningCLI stores them among the hyper-parameters."""

    class_path: str
    init_args: dict[str, Any]


def infer_config(state: State) -> NetworkConfig:
    """Find the `FC`, `ResNet`, `WideResNet` or `VGG` that has tensors of these shapes.

    Sizes that leave no trace in the tensors are guessed: FC inputs count as a square image with one or three
    channels if they can be one, and other images as 32 x 32. Neither changes what the network computes. Dropout
    leaves none either, and is taken to be zero.

    Args:
        state: Tensors named as in our networks.

    Raises:
        SparsityError: If the tensors belong to none of them.
    """
    if "fc1.weight" in state:
        return {"class_path": "sparsity.networks.FC", "init_args": _fc_arguments(state)}
    if "conv.weight" in state and "fc.weight" in state:
        # A 1x1 convolution alone; a ResNet's factors per channel, of the same name, have three dimensions.
        if any(state[key].dim() == 4 for key in _of_blocks(state, "shortcut.weight")):
            return {"class_path": "sparsity.networks.WideResNet", "init_args": _wide_resnet_arguments(state)}
        return {"class_path": "sparsity.networks.ResNet", "init_args": _resnet_arguments(state)}
    if "layers.0.conv.weight" in state and "fc.weight" in state:
        return {"class_path": "sparsity.networks.VGG", "init_args": _vgg_arguments(state)}
    raise SparsityError(
        f"its layers ({', '.join(list(state)[:3])}, ...) are neither those of an FC (fc1, fc2, ...) nor of a ResNet or "
        "WideResNet (conv, bn, blocks.0.conv1, ..., fc) nor of a VGG (layers.0.conv, ..., fc); of another class, which "
        f"a file cannot name, {GIVE_NETWORK}"
    )


def vit_config(network: ViT) -> NetworkConfig:
    """The arguments of a `ViT`; its tensors do not say how many heads they are read by."""
    blocks: list[EncoderBlock] = [block for block in network.blocks if isinstance(block, EncoderBlock)]
    (patch_size, _), dim = network.patches.kernel_size, network.fc.in_features
    arguments = {
        "patch_size": patch_size,
        "dim": dim,
        "depth": len(blocks),
        "heads": blocks[0].attention.heads,
        "mlp_dim": blocks[0].fc1.out_features,
        "num_classes": network.num_classes,
    }
    return {"class_path": "sparsity.networks.ViT", "init_args": arguments}


def read_config(hyper_parameters: object) -> NetworkConfig | None:
    """Find the network that a checkpoint names in its hyper-parameters, if it is one of ours.

    Args:
        hyper_parameters: Whatever the file has there; not trusted.

    Returns:
        The class and its arguments; None if nothing is named, or a class outside `sparsity.networks`, which is never
        imported because a file says so.
    """
    network = hyper_parameters.get("network") if isinstance(hyper_parameters, Mapping) else None
    if not isinstance(network, Mapping):
        return None
    class_path, arguments = network.get("class_path"), network.get("init_args", {})
    if not isinstance(class_path, str) or class_path not in _classes() or not isinstance(arguments, Mapping):
        return None
    return {"class_path": class_path, "init_args": dict(arguments)}


def foreign_class(hyper_parameters: object) -> str | None:
    """The class of a network that a checkpoint names and that is none of ours; None if it names none, or one of ours.

    Args:
        hyper_parameters: Whatever the file has there; not trusted.
    """
    network = hyper_parameters.get("network") if isinstance(hyper_parameters, Mapping) else None
    class_path = network.get("class_path") if isinstance(network, Mapping) else None
    if not isinstance(class_path, str) or class_path in _classes():
        return None
    return ascii(class_path)[1:-1][:_LONGEST_NAME]


def build_network(config: NetworkConfig) -> nn.Module:
    """Make the network of a configuration; torch's global generator is left as it was.

    Raises:
        SparsityError: If the arguments do not make a network.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return _classes()[config["class_path"]](**config["init_args"])
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise SparsityError(
            f"{config['class_path']} cannot be built with the arguments {config['init_args']}: {error}"
        ) from error


def _classes() -> dict[str, type[nn.Module]]:
    found = [member for _, member in inspect.getmembers(networks, inspect.isclass) if issubclass(member, nn.Module)]
    # LightningCLI writes the short path, a config written by hand may name the module that defines the class.
    return {f"{path}.{cls.__name__}": cls for cls in found for path in ("sparsity.networks", cls.__module__)}


def _fc_arguments(state: State) -> dict[str, Any]:
    depth = sum(re.fullmatch(r"fc\d+\.weight", key) is not None for key in state)
    first, last = _shape(state, "fc1.weight", 2), _shape(state, f"fc{depth}.weight", 2)
    bias = "none"
    if "fc1.bias" in state:
        bias = "all" if f"fc{depth}.bias" in state else "hidden"
    arguments = {"input_shape": _image_shape(first[1]), "num_classes": last[0], "bias": bias}
    widths = [_shape(state, f"fc{number}.weight", 2)[0] for number in range(1, depth)]
    if len(set(widths)) > 1:
        return {**arguments, "widths": widths}
    return {**arguments, "depth": depth} | ({"width": widths[0]} if widths else {})


def _resnet_arguments(state: State) -> dict[str, Any]:
    width, channels, *_ = _shape(state, "conv.weight", 4)
    num_classes, _ = _shape(state, "fc.weight", 2)
    channels_of_blocks = [_shape(state, f"blocks.{number}.conv1.weight", 4)[0] for number in range(_blocks(state))]
    blocks = [len(list(segment)) for _, segment in groupby(channels_of_blocks)]
    is_thin = len(blocks) == 3 and len(set(blocks)) == 1
    padded = len(blocks) > 1 and not _of_blocks(state, "shortcut.0.weight")
    return {
        **({"depth": 2 * sum(blocks) + 2} if is_thin else {"blocks": blocks}),
        "width": width,
        "input_shape": [channels, 32, 32],
        "num_classes": num_classes,
        "affine": "bn.weight" in state,
        "output_bias": "fc.bias" in state,
        "shortcut_scale": bool(_of_blocks(state, "shortcut.weight")),
        "shortcut": "pad" if padded else "conv",
    }


def _wide_resnet_arguments(state: State) -> dict[str, Any]:
    _, channels, *_ = _shape(state, "conv.weight", 4)
    num_classes, features = _shape(state, "fc.weight", 2)
    return {
        "depth": 2 * _blocks(state) + 4,
        "widen": features // 64,
        "input_shape": [channels, 32, 32],
        "num_classes": num_classes,
    }


def _vgg_arguments(state: State) -> dict[str, Any]:
    width, channels, *_ = _shape(state, "layers.0.conv.weight", 4)
    num_classes, _ = _shape(state, "fc.weight", 2)
    convolutions = sum(re.fullmatch(r"layers\.\d+\.conv\.weight", key) is not None for key in state)
    return {
        "depth": convolutions + 3,
        "width": width,
        "input_shape": [channels, 32, 32],
        "num_classes": num_classes,
        "conv_bias": "layers.0.conv.bias" in state,
    }


def _blocks(state: State) -> int:
    return len({found[1] for key in state if (found := re.match(r"blocks\.(\d+)\.", key))})


def _of_blocks(state: State, name: str) -> list[str]:
    return [key for key in state if re.fullmatch(rf"blocks\.\d+\.{re.escape(name)}", key)]


def _shape(state: State, key: str, dimensions: int) -> list[int]:
    if key not in state:
        raise SparsityError(f"{key!r} is missing")
    shape = list(state[key].shape)
    if len(shape) != dimensions:
        raise SparsityError(f"{key} must have {dimensions} dimensions, not the shape {shape}")
    return shape


def _image_shape(features: int) -> list[int]:
    for channels in (1, 3):
        side = round((features / channels) ** 0.5)
        if channels * side**2 == features:
            return [channels, side, side]
    return [features]
