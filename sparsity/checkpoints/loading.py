"""From a checkpoint file of any known kind to one of our networks."""

import copy
import os
from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor, nn

from sparsity.checkpoints.cutting import cut
from sparsity.checkpoints.layouts import (
    Kind,
    MaskChoice,
    State,
    detect_kind,
    translate,
    translated_for,
    with_batch_counters,
)
from sparsity.checkpoints.mask_forms import as_bool
from sparsity.checkpoints.network_files import FilePath, NetworkFile, read_network_file
from sparsity.checkpoints.networks import (
    GIVE_NETWORK,
    NetworkConfig,
    build_network,
    foreign_class,
    infer_config,
    read_config,
)
from sparsity.checkpoints.reading import require_numbers_of
from sparsity.checkpoints.sizes import resize_to
from sparsity.errors import SparsityError
from sparsity.masks import (
    SUFFIX,
    Place,
    add_masks,
    add_masks_of,
    is_mask_key,
    maskable,
    masked,
    masks,
    remove_masks,
    set_mask,
)


def load_network(
    path: FilePath, kind: Kind | None = None, mask: MaskChoice = "effective", network: nn.Module | None = None
) -> nn.Module:
    """Read a network from a checkpoint of this package or of another program whose layout is known (`Kind`).

    Foreign networks become an `FC`, `ResNet` or `VGG` with the same outputs, up to Gem-Miner's final log-softmax, which
    is left out. The masks of `torch.nn.utils.prune` are taken, and those in `mask.pth` beside a model of OpenLTH's. A
    file that ends in `.safetensors` is read by the package of this name. Code in the file is not run, and no class
    outside `sparsity.networks` is imported because a file names it. Layers for which the file has no mask get none,
    unless it has no masks at all: then all layers get one that keeps everything.

    Of what `export` wrote as pytorch or safetensors, layers have the sizes that were left, and masks of what is not
    zero; of no other file is a layer of another size taken.

    Args:
        path: The file, or the folder of an export.
        kind: Who wrote it; by default its keys tell.
        mask: For Gem-Miner: the `effective` mask `flag * (scores > 0.5)`, which its forward pass uses, or the `flag`
            alone. Before the search every flag is set, and the effective mask keeps the half with the higher scores.
        network: Of the file's architecture, if its class is not one of ours, which a file cannot name; a copy of it
            is filled, and itself left unchanged.

    Returns:
        The network on the CPU, in training mode like every new module, with masks; pruned weights are zero, with a
        warning where they were not.

    Raises:
        SparsityError: If there is no such file, or it is not what was expected; the message says what was.
    """
    if kind not in (None, *get_args(Kind)):
        raise SparsityError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    if mask not in get_args(MaskChoice):
        raise SparsityError(f"mask must be one of {', '.join(get_args(MaskChoice))}, not {mask!r}")
    checkpoint = read_network_file(path, names=() if network is None else network.state_dict())
    checkpoint.say()
    try:
        return _network(checkpoint, kind, mask) if network is None else _filled(network, checkpoint, kind, mask)
    except SparsityError as error:
        raise SparsityError(f"cannot read a network from {os.fspath(path)}: {error}") from error


def load_like(path: FilePath, network: nn.Module | None, mask: MaskChoice = "effective") -> nn.Module:
    """Read a network of a given architecture, or else one of ours, as `load_network` does.

    Args:
        path: The file.
        network: Of the architecture that the file probably has, left unchanged; None if nobody says.
        mask: As in `load_network`.

    Raises:
        SparsityError: If the file is neither; says why it is not the given one.
    """
    try:
        return load_network(path, mask=mask, network=network)
    except SparsityError as error:
        if network is None:
            raise
        try:
            return load_network(path, mask=mask)
        except SparsityError:
            raise error from None


def load_masks(path: FilePath, network: nn.Module) -> dict[str, Tensor]:
    """Read the masks of a network of the same architecture, whoever made it; without masks, what is not zero is kept.

    Args:
        path: A checkpoint of any network with masks or zeros, or one that `load_network` reads.
        network: Where the masks are to fit; left unchanged.

    Returns:
        A mask for every masked layer of `network`, bool and of its shape, on the CPU.

    Raises:
        SparsityError: If there is no such file, or its masks do not fit.
    """
    expected = masked(network)
    if not expected:
        raise SparsityError(
            f"{type(network).__name__} has no masks for those of {os.fspath(path)}; call add_masks first"
        )
    file = read_network_file(path, names=network.state_dict())
    file.say()
    state: State = file.state
    if _has_zeros_for_masks(state, expected):
        state = {place.mask_key: state[place.full_name] != 0 for place in expected.values()}
    if not all(place.mask_key in state for place in expected.values()):
        state = translate(state, detect_kind(state), "effective")
    for name, place in expected.items():
        mask, found = place.mask, state.get(place.mask_key)
        if found is None or found.shape != mask.shape:
            shape = "no mask" if found is None else f"a mask shaped {list(found.shape)}"
            raise SparsityError(
                f"the masks in {os.fspath(path)} are of another network: for layer {name!r}, shaped "
                f"{list(mask.shape)}, it has {shape}; give a checkpoint of the same architecture"
            )
    return {
        name: as_bool(f"{place.mask_key} in {os.fspath(path)}", state[place.mask_key])
        for name, place in expected.items()
    }


def _has_zeros_for_masks(state: State, expected: Mapping[str, Place]) -> bool:
    weights = [state.get(place.full_name) for place in expected.values()]
    if any(key.endswith((SUFFIX, ".flag")) for key in state) or any(weight is None for weight in weights):
        return False
    return any(bool((weight == 0).any()) for weight in weights if weight is not None)


def _network(checkpoint: NetworkFile, kind: Kind | None, mask: MaskChoice) -> nn.Module:
    if kind is None:
        is_ours = checkpoint.from_classifier or checkpoint.is_export
        kind = "sparsity" if is_ours else detect_kind(checkpoint.state)
    state = translate(checkpoint.state, kind, mask)
    config = read_config(checkpoint.hyper_parameters) if kind == "sparsity" else None
    if config is None and (other := foreign_class(checkpoint.hyper_parameters)) is not None:
        # Even if its tensors are called like those of a network of ours: it may do something else with them.
        raise SparsityError(f"it is of the class {other}, which a file cannot have imported; {GIVE_NETWORK}")
    if config is not None and (layers := _least_layers(config)) > len(state):
        raise SparsityError(f"it names a network of at least {layers} layers and has {len(state)} tensors")
    if config is None and checkpoint.is_export:
        raise SparsityError(f"its layers are smaller than their class makes them, and it names none; {GIVE_NETWORK}")
    config = config or infer_config(state)
    with torch.device("meta"):  # whatever size a file asks for, nothing is allocated before it is known to fit
        expected = build_network(config)
    if checkpoint.is_export:
        resize_to(expected, state)
        _require_tensors_of(expected, state)
        network = expected.to_empty(device="cpu")  # its sizes are those of tensors that are there
        _fill(network, _with_masks_of_zeros(network, state))
        return network
    state = with_batch_counters(state, expected.state_dict())
    _require_tensors_of(expected, state)
    network = build_network(config)
    _fill(network, state)
    return network


def _with_masks_of_zeros(network: nn.Module, state: State) -> State:
    """With a mask for each weight: an export has none, and what is zero in it was pruned."""
    places = maskable(network).values()
    return {**state, **{place.mask_key: state[place.full_name] != 0 for place in places if place.full_name in state}}


def _filled(network: nn.Module, checkpoint: NetworkFile, kind: Kind | None, mask: MaskChoice) -> nn.Module:
    network = copy.deepcopy(network).cpu().train()
    remove_masks(network)
    if checkpoint.is_export:
        resize_to(network, checkpoint.state)
        state = _with_masks_of_zeros(network, checkpoint.state)
    else:
        state = translated_for(checkpoint.state, network.state_dict(), kind, mask)
    _require_tensors_of(network, state)
    _fill(network, state)
    return network


def _least_layers(config: NetworkConfig) -> int:
    """How many layers a network has at least, told before any is made."""
    depth, blocks = (config["init_args"].get(name) for name in ("depth", "blocks"))
    counts = [depth, *(blocks if isinstance(blocks, list | tuple) else [])]
    return sum(count for count in counts if isinstance(count, int))


def _require_tensors_of(network: nn.Module, state: State) -> None:
    """Refuse a state dict whose keys, shapes or kinds of number are not the network's, masks aside.

    Raises:
        SparsityError: Names the first that does not fit.
    """
    masks = {key for key in state if is_mask_key(key, state)}
    expected, name = network.state_dict(), type(network).__name__
    if missing := sorted(expected.keys() - state.keys()):
        raise SparsityError(f"{missing[0]!r}, which the {name} needs, is missing, as are {len(missing) - 1} others")
    if unexpected := sorted(state.keys() - expected.keys() - masks):
        raise SparsityError(f"the {name} has no place for {unexpected[0]!r} and {len(unexpected) - 1} others")
    for key, tensor in expected.items():
        if state[key].shape != tensor.shape:
            raise SparsityError(
                f"{key!r} of the {name} must be shaped {list(tensor.shape)}, not {list(state[key].shape)}"
            )
        require_numbers_of(tensor, key, state[key])


def _fill(network: nn.Module, state: State) -> None:
    """Copy a state dict into a network without masks, and add those that it holds.

    Of a network that was saved without masks, what is zero is pruned, layers of zeros alone included: nothing of it is
    about to train.
    """
    network.load_state_dict({key: tensor for key, tensor in state.items() if not is_mask_key(key, state)})
    add_masks_of(network, state)
    if found := {name: state[place.mask_key].bool() for name, place in masked(network).items()}:
        add_masks(network, exclude=[name for name in maskable(network) if name not in found])
        cut(network, found)
        return
    add_masks(network)
    if any(not mask.all() for mask in masks(network).values()):
        set_mask(network, {name: place.weight != 0 for name, place in masked(network).items()})
