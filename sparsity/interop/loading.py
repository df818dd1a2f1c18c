"""From a checkpoint file of any known kind to one of our networks."""

import os
from typing import get_args

from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.interop.configuration import build_network, infer_config, maskable_layers, read_config
from sparsity.interop.files import Checkpoint, FilePath, read_checkpoint
from sparsity.interop.layouts import Kind, MaskChoice, State, detect_kind, translate
from sparsity.masks import add_masks, masks, set_mask

_SUFFIX = ".weight_mask"


def load_network(path: FilePath, kind: Kind | None = None, mask: MaskChoice = "effective") -> nn.Module:
    """Read a network from a checkpoint of this package, of SynFlow's program or of Gem-Miner's.

    Foreign networks become an `FC` or a `ResNet` with the same outputs, up to Gem-Miner's final log-softmax, which
    is left out. Code in the file is not run, and no class outside `sparsity.networks` is imported because a file
    names it. Layers for which the file has no mask get none, unless it has no masks at all: then all layers get one
    that keeps everything.

    Args:
        path: The file.
        kind: Who wrote it; by default its keys tell.
        mask: For Gem-Miner: the `effective` mask `flag * (scores > 0.5)`, which its forward pass uses, or the `flag`
            alone. Before the search every flag is set, and the effective mask keeps the half with the higher scores.

    Returns:
        The network on the CPU, in training mode like every new module, with masks; pruned weights are zero.

    Raises:
        SparsityError: If there is no such file, or it is not what was expected; the message says what was.
    """
    if kind not in (None, *get_args(Kind)):
        raise SparsityError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    if mask not in get_args(MaskChoice):
        raise SparsityError(f"mask must be one of {', '.join(get_args(MaskChoice))}, not {mask!r}")
    checkpoint = read_checkpoint(path)
    try:
        return _network(checkpoint, kind, mask)
    except SparsityError as error:
        raise SparsityError(f"cannot read a network from {os.fspath(path)}: {error}") from error


def load_masks(path: FilePath, network: nn.Module) -> dict[str, Tensor]:
    """Read the masks of a network of the same architecture, whoever made it.

    Args:
        path: A checkpoint of any network with masks, or one that `load_network` reads.
        network: Where the masks are to fit; left unchanged.

    Returns:
        A mask for every masked layer of `network`, bool and of its shape, on the CPU.

    Raises:
        SparsityError: If there is no such file, or its masks do not fit.
    """
    state: State = read_checkpoint(path).state
    expected = masks(network)
    if not all(f"{name}{_SUFFIX}" in state for name in expected):
        state = translate(state, detect_kind(state), "effective")
    for name, mask in expected.items():
        found = state.get(f"{name}{_SUFFIX}")
        if found is None or found.shape != mask.shape:
            shape = "no mask" if found is None else f"a mask shaped {list(found.shape)}"
            raise SparsityError(
                f"the masks in {os.fspath(path)} are of another network: for layer {name!r}, shaped "
                f"{list(mask.shape)}, it has {shape}; give a checkpoint of the same architecture"
            )
    return {name: state[f"{name}{_SUFFIX}"].bool() for name in expected}


def _network(checkpoint: Checkpoint, kind: Kind | None, mask: MaskChoice) -> nn.Module:
    if kind is None:
        kind = "sparsity" if checkpoint.from_classifier else detect_kind(checkpoint.state)
    state = translate(checkpoint.state, kind, mask)
    config = read_config(checkpoint.hyper_parameters) if kind == "sparsity" else None
    network = build_network(config or infer_config(state))
    _fill(network, state)
    return network


def _fill(network: nn.Module, state: State) -> None:
    """Copy a state dict into a network without masks and add those that it holds.

    Raises:
        SparsityError: If keys or shapes do not fit.
    """
    layers = maskable_layers(network)
    masks = {name: state[f"{name}{_SUFFIX}"] for name in layers if f"{name}{_SUFFIX}" in state}
    values = {key: tensor for key, tensor in state.items() if key.removesuffix(_SUFFIX) not in masks}
    expected = network.state_dict()
    name = type(network).__name__
    if missing := sorted(expected.keys() - values.keys()):
        raise SparsityError(f"{missing[0]!r}, which the {name} needs, is missing, as are {len(missing) - 1} others")
    if unexpected := sorted(values.keys() - expected.keys()):
        raise SparsityError(f"the {name} has no place for {unexpected[0]!r} and {len(unexpected) - 1} others")
    for key, tensor in expected.items():
        if values[key].shape != tensor.shape:
            raise SparsityError(
                f"{key!r} of the {name} must be shaped {list(tensor.shape)}, not {list(values[key].shape)}"
            )
    network.load_state_dict(values)
    add_masks(network, exclude=[layer for layer in layers if masks and layer not in masks])
    set_mask(network, masks)
