"""Where other programs keep their tensors, and what those tensors are called here.

Everything works on state dicts; no file is read and no network is built in this module.
"""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsity.checkpoints.mask_forms import as_bool
from sparsity.errors import SparsityError
from sparsity.masks import SUFFIX, is_mask_key

Kind = Literal[
    "sparsity",
    "synflow_fc",
    "gem_miner_fc",
    "synflow_resnet",
    "synflow_vgg",
    "gem_miner_resnet",
    "open_lth_lenet",
    "akamaster_resnet",
]
"""Who wrote a checkpoint, and of what kind of network: this package, SynFlow's program, Gem-Miner's, OpenLTH (whose
ResNets and VGGs have our names), or akamaster's pytorch_resnet_cifar10."""

MaskChoice = Literal["effective", "flag"]
"""Which of Gem-Miner's masks: the one its forward pass uses, or the flags alone."""

State = Mapping[str, Tensor]
"""Tensors by name, as in `nn.Module.state_dict()`."""

SCORE_THRESHOLD = 0.5
"""Gem-Miner keeps a weight whose score is above this (its `quantize_threshold`)."""


@dataclass(frozen=True)
class Layout:
    """How one program names its layers.

    Attributes:
        keys: Keys by which a person recognises the layout, for error messages.
        marks: Regular expressions, each of which fits a whole key of every such checkpoint.
        rename: Our names of all layers of a file, by the file's; those that are not part of the layout are left out.
    """

    keys: str
    marks: tuple[str, ...]
    rename: Callable[[Collection[str]], Mapping[str, str]]


def _as_they_are(_layers: Collection[str]) -> dict[str, str]:
    return {}


def _rename_sequential(layers: Collection[str]) -> dict[str, str]:
    # Flatten is module 0, and a ReLU follows every Linear but the last: the n-th Linear is module 2n - 1.
    found = {layer: re.fullmatch(r"(?:model\.)?(\d{0,3}[13579])", layer) for layer in layers}
    return {layer: f"fc{(int(number[1]) + 1) // 2}" for layer, number in found.items() if number}


def _rename_lenet(layers: Collection[str]) -> dict[str, str]:
    found = {layer: re.fullmatch(r"fc_layers\.(\d{1,3})", layer) for layer in layers}
    hidden = {layer: f"fc{int(number[1]) + 1}" for layer, number in found.items() if number}
    return hidden | {"fc": f"fc{len(hidden) + 1}"}


def _rename_segments(layers: Collection[str]) -> dict[str, str]:
    blocks: dict[str, set[str]] = {}
    found = {layer: re.fullmatch(r"layer([1-9])\.(\d{1,3})\.(.+)", layer) for layer in layers}
    places = {layer: place.groups() for layer, place in found.items() if place}
    for segment, number, _ in places.values():
        blocks.setdefault(segment, set()).add(number)
    before = {segment: sum(len(blocks[other]) for other in blocks if other < segment) for segment in blocks}
    renamed = {layer: f"blocks.{before[s] + int(number)}.{name}" for layer, (s, number, name) in places.items()}
    return renamed | {"conv1": "conv", "bn1": "bn", "linear": "fc"}


# In the order in which they are tried: SynFlow's ResNet and VGG have all our names, and masks on BatchNorm besides.
LAYOUTS: dict[Kind, Layout] = {
    "synflow_fc": Layout(
        "1.weight, 1.weight_mask, 3.weight, ...",
        (r"1\.weight_mask",),
        _rename_sequential,
    ),
    "gem_miner_fc": Layout(
        "model.1.weight, model.1.flag, model.1.scores, model.3.weight, ...",
        (r"model\.1\.flag", r"model\.1\.scores"),
        _rename_sequential,
    ),
    "synflow_resnet": Layout(
        "conv.weight, bn.weight_mask, blocks.0.conv1.weight, ..., fc.weight",
        (r"bn\.weight_mask", r"blocks\.0\.conv1\.weight"),
        _as_they_are,
    ),
    "synflow_vgg": Layout(
        "layers.0.conv.weight, layers.0.bn.weight_mask, ..., fc.weight",
        (r"layers\.0\.bn\.weight_mask", r"layers\.0\.conv\.weight"),
        _as_they_are,
    ),
    "gem_miner_resnet": Layout(
        "conv1.weight, conv1.flag, conv1.scores, layer1.0.conv1.weight, ..., fc.weight",
        (r"conv1\.flag", r"layer1\.0\.conv1\.scores"),
        _rename_segments,
    ),
    "open_lth_lenet": Layout(
        "fc_layers.0.weight, ..., fc.weight",
        (r"fc_layers\.0\.weight", r"fc\.weight"),
        _rename_lenet,
    ),
    "akamaster_resnet": Layout(
        "conv1.weight, bn1.weight, layer1.0.conv1.weight, ..., linear.weight",
        (r"conv1\.weight", r"layer1\.0\.conv1\.weight", r"linear\.weight"),
        _rename_segments,
    ),
    "sparsity": Layout(
        "fc1.weight, ... or conv.weight, blocks.0.conv1.weight, ... or layers.0.conv.weight, ...",
        (r"fc1\.weight|blocks\.0\.conv1\.weight|layers\.0\.conv\.weight",),
        _as_they_are,
    ),
}

# For every tensor that can be masked: SynFlow's mask, Gem-Miner's flags and its scores.
_MASKED_BY = {
    "weight": ("weight_mask", "flag", "scores"),
    "bias": ("bias_mask", "bias_flag", "bias_scores"),
}
_COUNTER = "num_batches_tracked"
_MASK_NAMES = frozenset(name for names in _MASKED_BY.values() for name in names)


def detect_kind(state: State) -> Kind:
    """Tell from the keys of a state dict which program wrote it.

    Args:
        state: Tensors by name, without the prefix of a wrapper (`network.`, `module.`).

    Raises:
        SparsityError: If it is none that we know; the message lists what was expected.
    """
    if (found := _kind(state)) is not None:
        return found
    known = "; ".join(f"{kind} ({layout.keys})" for kind, layout in LAYOUTS.items())
    raise SparsityError(
        f"its keys ({', '.join(list(state)[:3])}, ...) are of no known layout; expected one of these: {known}; of "
        "another class, which a file cannot name, give the network (--network my_module.MyNetwork)"
    )


def is_known(state: State) -> bool:
    """Whether a state dict's keys are those of some layout."""
    return _kind(state) is not None


def _kind(state: State) -> Kind | None:
    for kind, layout in LAYOUTS.items():
        if all(any(re.fullmatch(mark, key) for key in state) for mark in layout.marks):
            return kind
    return None


def translate(state: State, kind: Kind, mask: MaskChoice = "effective") -> dict[str, Tensor]:
    """Rename a state dict to our layout and turn every kind of mask into bool `weight_mask` entries.

    Pruned weights come out as zero. Masks on biases and BatchNorm, which our networks do not have, are multiplied
    into the values. Identity shortcuts that are all ones are left out, as they change nothing.

    Args:
        state: Tensors by name, as the program of this kind writes them; left unchanged.
        kind: Who wrote it.
        mask: For Gem-Miner: `flag` alone, or the effective `flag * (scores > 0.5)`. Other programs have one mask.

    Returns:
        Tensors named as in our networks.

    Raises:
        SparsityError: If a mask has another shape than its tensor or values other than 0 and 1, or flags come
            without scores.
    """
    if kind == "sparsity":
        return {key: as_bool(key, value) if is_mask_key(key, state) else value for key, value in state.items()}
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        layer, _, name = key.rpartition(".")
        layers.setdefault(layer, {})[name] = tensor
    names = LAYOUTS[kind].rename(layers)

    translated: dict[str, Tensor] = {}
    for layer, tensors in layers.items():
        ours = names.get(layer, layer)
        for name in [name for name in tensors if name not in _MASK_NAMES]:
            kept = _kept(layer, name, tensors, mask)
            translated[f"{ours}.{name}"] = tensors[name] if kept is None else tensors[name].masked_fill(~kept, 0)
            # Weights of Linear layers have two dimensions and those of convolutions four; BatchNorm's have one, and
            # the scales of identity shortcuts three.
            if name == "weight" and kept is not None and kept.dim() in (2, 4):
                translated[f"{ours}.{name}{SUFFIX}"] = kept
    return _without_unit_scales(translated)


def with_batch_counters(state: State, names: Collection[str]) -> dict[str, Tensor]:
    """Add the counters of batches that BatchNorm did not have before PyTorch 0.4.1, at zero as torch itself does.

    Args:
        state: Tensors named as in a network; left unchanged.
        names: All that the network has.
    """
    counters = {name: name.replace(_COUNTER, "running_mean") for name in names if name.endswith(f".{_COUNTER}")}
    new = {name: torch.tensor(0) for name, mean in counters.items() if name not in state and mean in state}
    return {**state, **new}


def translated_for(
    state: State, names: Collection[str], kind: Kind | None = None, mask: MaskChoice = "effective"
) -> dict[str, Tensor]:
    """What is another program's by our names, for a network that is there; what is not, as it is.

    Args:
        state: Tensors by name; left unchanged.
        names: All that the network has.
        kind: Who wrote it; by default its keys tell, if not all tensors have the network's names already.
        mask: As in `translate`.
    """
    if kind is not None or not all(key in state for key in names if not is_mask_key(key, names)):
        with suppress(SparsityError):  # of no known layout: what is wrong with it, the network's own names show
            state = translate(state, detect_kind(state) if kind is None else kind, mask)
    return with_batch_counters(state, names)


def _kept(layer: str, name: str, tensors: State, mask: MaskChoice) -> Tensor | None:
    """The mask of one tensor of a layer, or None if it has none."""
    mask_name, flag_name, scores_name = _MASKED_BY.get(name, ("", "", ""))
    parts = [as_bool(f"{layer}.{key}", tensors[key]) for key in (mask_name, flag_name) if key in tensors]
    if flag_name in tensors and mask == "effective":
        if scores_name not in tensors:
            raise SparsityError(f"{layer}.{flag_name} comes without {layer}.{scores_name}; read it with mask='flag'")
        parts.append(tensors[scores_name] > SCORE_THRESHOLD)
    if not parts:
        return None
    shape = tensors[name].shape
    if wrong := [part for part in parts if part.shape != shape]:
        raise SparsityError(f"a mask of {layer}.{name} is shaped {list(wrong[0].shape)}, not {list(shape)}")
    return torch.stack(parts).all(dim=0)


def _without_unit_scales(state: dict[str, Tensor]) -> dict[str, Tensor]:
    scales = [key for key, tensor in state.items() if key.endswith(".shortcut.weight") and tensor.dim() == 3]
    if any(bool((state[key] != 1).any()) for key in scales):
        return state
    return {key: tensor for key, tensor in state.items() if key not in scales}
