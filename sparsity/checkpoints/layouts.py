"""Where other programs keep their tensors, and what those tensors are called here.

Everything works on state dicts; no file is read and no network is built in this module.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.masks import SUFFIX

Kind = Literal["sparsity", "synflow_fc", "gem_miner_fc", "synflow_resnet", "gem_miner_resnet"]
"""Who wrote a checkpoint: this package, or SynFlow's or Gem-Miner's program with one of two kinds of network."""

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
        rename: Our name of a layer, from the file's name and the number of residual blocks per segment; a name that
            is not part of the layout comes back as it is.
    """

    keys: str
    marks: tuple[str, ...]
    rename: Callable[[str, int], str]


def _as_it_is(layer: str, _blocks: int) -> str:
    return layer


def _rename_sequential(layer: str, _blocks: int) -> str:
    # Flatten is module 0, and a ReLU follows every Linear but the last: the n-th Linear is module 2n - 1.
    found = re.fullmatch(r"(?:model\.)?(\d{0,3}[13579])", layer)
    return f"fc{(int(found[1]) + 1) // 2}" if found else layer


def _rename_segments(layer: str, blocks: int) -> str:
    if found := re.fullmatch(r"layer([123])\.(\d{1,3})\.(.+)", layer):
        return f"blocks.{(int(found[1]) - 1) * blocks + int(found[2])}.{found[3]}"
    return {"conv1": "conv", "bn1": "bn"}.get(layer, layer)


# In the order in which they are tried: SynFlow's ResNet has all our names, and masks on BatchNorm besides.
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
        _as_it_is,
    ),
    "gem_miner_resnet": Layout(
        "conv1.weight, conv1.flag, conv1.scores, layer1.0.conv1.weight, ..., fc.weight",
        (r"conv1\.flag", r"layer1\.0\.conv1\.scores"),
        _rename_segments,
    ),
    "sparsity": Layout(
        "network.fc1.weight, ... or network.conv.weight, network.blocks.0.conv1.weight, ...",
        (r"fc1\.weight|blocks\.0\.conv1\.weight",),
        _as_it_is,
    ),
}

# For every tensor that can be masked: SynFlow's mask, Gem-Miner's flags and its scores.
_MASKED_BY = {
    "weight": ("weight_mask", "flag", "scores"),
    "bias": ("bias_mask", "bias_flag", "bias_scores"),
}
_MASK_NAMES = frozenset(name for names in _MASKED_BY.values() for name in names)


def detect_kind(state: State) -> Kind:
    """Tell from the keys of a state dict which program wrote it.

    Args:
        state: Tensors by name, without the prefix of a wrapper (`network.`, `module.`).

    Raises:
        SparsityError: If it is none that we know; the message lists what was expected.
    """
    for kind, layout in LAYOUTS.items():
        if all(any(re.fullmatch(mark, key) for key in state) for mark in layout.marks):
            return kind
    known = "; ".join(f"{kind} ({layout.keys})" for kind, layout in LAYOUTS.items())
    raise SparsityError(
        f"its keys ({', '.join(list(state)[:3])}, ...) are of no known layout; expected one of these: {known}"
    )


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
        return dict(state)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        layer, _, name = key.rpartition(".")
        layers.setdefault(layer, {})[name] = tensor
    blocks = len({found[1] for layer in layers if (found := re.match(r"layer1\.(\d+)\.", layer))})

    translated: dict[str, Tensor] = {}
    for layer, tensors in layers.items():
        ours = LAYOUTS[kind].rename(layer, blocks)
        for name in [name for name in tensors if name not in _MASK_NAMES]:
            kept = _kept(layer, name, tensors, mask)
            translated[f"{ours}.{name}"] = tensors[name] if kept is None else tensors[name].masked_fill(~kept, 0)
            # Weights of Linear layers have two dimensions and those of convolutions four; BatchNorm's have one, and
            # the scales of identity shortcuts three.
            if name == "weight" and kept is not None and kept.dim() in (2, 4):
                translated[f"{ours}.{name}{SUFFIX}"] = kept
    return _without_unit_scales(translated)


def _kept(layer: str, name: str, tensors: State, mask: MaskChoice) -> Tensor | None:
    """The mask of one tensor of a layer, or None if it has none."""
    parts = []
    mask_name, flag_name, scores_name = _MASKED_BY.get(name, ("", "", ""))
    for binary in (mask_name, flag_name):
        if binary in tensors:
            values = tensors[binary]
            if not ((values == 0) | (values == 1)).all():
                raise SparsityError(f"{layer}.{binary} is no mask: it has values other than 0 and 1")
            parts.append(values == 1)
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
