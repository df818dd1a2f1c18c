"""Masks on ordinary layers: which weights of a network are kept, and the pruned ones stored as zero.

A masked layer is any `nn.Linear` or `nn.Conv2d` with one more buffer, `weight_mask` (bool, shaped like the
weight, True = kept). The invariant of the whole package: a pruned weight is stored as exactly zero, so that the
forward pass is the ordinary dense one. Here are the functions on one network; keeping the invariant while an
optimizer writes is the pruning callback's work.
"""

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from sparsity.errors import SparsityError

Mask = Mapping[str, Tensor]
"""One bool tensor per masked layer, shaped like its weight, keyed by layer name; True = kept."""

MASK = "weight_mask"
"""The buffer's name; None instead of a tensor says that the layer was excluded and stays dense."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ZEROS_BY_CHANCE = 1e-3
"""Of all weights; a network with more of them was pruned by somebody who kept no masks."""


def maskable(network: nn.Module) -> dict[str, nn.Module]:
    """The layers whose weight can be masked, by name, in the order in which the network registers them.

    The copies that an `AveragedModel` within the network averages into are not among them.
    """
    return {name: module for name, module in _own_modules(network) if isinstance(module, nn.Linear | nn.Conv2d)}


def add_masks(network: nn.Module, exclude: Collection[str] = ()) -> None:
    """Give every `nn.Linear` and `nn.Conv2d` a buffer `weight_mask` that keeps all its weights.

    A layer that has a mask already, or was excluded before, is left as it is. A network with zeros was pruned by
    somebody who kept no masks: its masks keep what is not zero, and a warning says so. Layers that are zero altogether
    cannot be told from those that start at zero, and are kept whole. Copies of an `AveragedModel` within the network
    get masks of their own, and are not counted.

    Args:
        network: Any module tree; changed in place.
        exclude: Names of layers, as in `network.named_modules()`, that stay dense and do not count.

    Raises:
        SparsityError: If nothing is left to mask, an excluded name is not a layer, two layers share a weight, or a
            layer's weight is not an ordinary parameter.
    """
    layers = maskable(network)
    if unknown := sorted(set(exclude) - layers.keys()):
        raise SparsityError(f"cannot exclude {unknown[0]!r}: the layers that can be masked are {list(layers)}")
    for name in exclude:
        layers[name]._buffers.setdefault(MASK, None)
    layers = {name: layer for name, layer in layers.items() if not _is_excluded(layer)}
    if not layers:
        raise SparsityError(
            f"{type(network).__name__} has no Linear or Conv2d layer to prune; give a network that has one"
        )
    _require_ordinary_weights(layers)
    new = {name: layer for name, layer in layers.items() if MASK not in layer._buffers}
    for name, mask in _masks_of_zeros(new, type(network).__name__).items():
        new[name].register_buffer(MASK, mask)
    for copy in averages(network):
        add_masks(copy.module)


def remove_masks(network: nn.Module) -> None:
    """Take all masks away; pruned weights stay zero, but nothing keeps them from training.

    The network's `state_dict()` is then that of an ordinary one. Layers that were excluded from masking stay so.

    Args:
        network: Any module tree; changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and _mask(module) is not None:
            del module._buffers[MASK]


def add_masks_of(network: nn.Module, state: Mapping[str, object]) -> None:
    """Give a network the masks that a state dict has, so that it can be loaded strictly.

    Args:
        network: Of the architecture that the state dict is of; changed in place. Layers for which the state dict has
            no mask are left as they are.
        state: As of `nn.Module.state_dict()`, with the names that `network` has.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> state = {"weight": torch.tensor([[1.0, 0.0]]), "weight_mask": torch.tensor([[True, False]])}
        >>> add_masks_of(network, state)
        >>> network.load_state_dict(state | {"bias": torch.zeros(1)})
        <All keys matched successfully>
    """
    for name, module in network.named_modules():
        mask = state.get(f"{name}.{MASK}" if name else MASK)
        if isinstance(mask, Tensor) and isinstance(module, nn.Linear | nn.Conv2d) and module._buffers.get(MASK) is None:
            module.register_buffer(MASK, torch.ones_like(module.weight, dtype=torch.bool))


def averages(network: nn.Module) -> list[AveragedModel]:
    """The averages of weights that live within a network, such as an EMA of it."""
    return [module for module in network.modules() if isinstance(module, AveragedModel) and module is not network]


def masked_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that have a mask, by name, in the order in which the network registers them."""
    return {name: module for name, module in _own_modules(network) if _mask(module) is not None}


def masks(network: nn.Module) -> dict[str, Tensor]:
    """The masks of a network by layer name; the buffers themselves, not copies."""
    return {name: layer.get_buffer(MASK) for name, layer in masked_layers(network).items()}


@torch.no_grad()
def set_mask(network: nn.Module, mask: Mask | Tensor, optimizers: Iterable[Optimizer] = ()) -> None:
    """Replace masks in place, zero the weights that are pruned now, and the optimizers' state of all that changed.

    Args:
        network: A network with masks.
        mask: New masks by layer name; layers that are not named keep theirs. For a single layer also its tensor.
        optimizers: Optimizers whose floating-point state tensors shaped like a weight (momentum, moments) are zeroed
            where it is pruned, and where it was pruned before: gradients of pruned weights went into it. State of
            integers, as quantised optimizers keep it, is left alone, and a warning says so.

    Raises:
        SparsityError: If a name has no masked layer, or a shape or dtype does not fit; nothing is changed then.
    """
    mask = {"": mask} if isinstance(mask, Tensor) else mask
    layers = masked_layers(network)
    for name, new in mask.items():
        if name not in layers:
            raise SparsityError(f"no masked layer is called {name!r}; there are {list(layers)}")
        shape = layers[name].get_parameter("weight").shape
        if new.shape != shape or new.dtype != torch.bool:
            raise SparsityError(
                f"the mask of {name!r} must be bool and shaped {list(shape)}, not {new.dtype} {list(new.shape)}"
            )
    for name, new in mask.items():
        weight, mask_buffer = layers[name].get_parameter("weight"), layers[name].get_buffer(MASK)
        if states := list(_state_tensors(optimizers, weight)):
            stays = mask_buffer & new.to(mask_buffer.device)
            for state in states:
                zero_pruned(state, stays)
        mask_buffer.copy_(new)
        zero_pruned(weight, mask_buffer)


@torch.no_grad()
def apply_masks(network: nn.Module) -> None:
    """Store zeros where the masks prune; restores the invariant after weights were written from outside."""
    for layer in masked_layers(network).values():
        zero_pruned(layer.get_parameter("weight"), layer.get_buffer(MASK))


@torch.no_grad()
def zero_pruned(values: Tensor, mask: Tensor) -> None:
    """Store zeros in place where a mask prunes, whatever is there, also NaN and infinity.

    Args:
        values: Floating point, at most 64 bits each.
        mask: Shaped like the values, bool, True = kept.
    """
    # Bits times one or zero: a tenth of the time of masked_fill_, which branches at every weight on a CPU.
    values.view(_INTEGERS[values.itemsize]).mul_(mask)


def kept(network: nn.Module) -> dict[str, int]:
    """The number of kept weights of each masked layer, by name."""
    by_name = masks(network)
    if not by_name:
        return {}
    counts = torch.stack([m.sum() for m in by_name.values()]).tolist()
    return dict(zip(by_name, counts, strict=True))


def sizes(network: nn.Module) -> dict[str, int]:
    """The number of weights, kept or not, of each masked layer, by name."""
    return {name: m.numel() for name, m in masks(network).items()}


def density(network: nn.Module) -> float:
    """Kept over all weights of the masked layers, in [0, 1].

    Raises:
        SparsityError: If the network has no masks.
    """
    total = sum(sizes(network).values())
    if not total:
        raise SparsityError(f"{type(network).__name__} has no masks; call add_masks(network) first")
    return sum(kept(network).values()) / total


def unmasked_weights(network: nn.Module) -> dict[str, int]:
    """The sizes of the weights that no mask covers, by full parameter name.

    Args:
        network: Any module tree, with masks or without.
    """
    masked = {id(layer._parameters.get("weight")) for layer in masked_layers(network).values()}
    return {name: weight.numel() for name, weight in matrix_weights(network).items() if id(weight) not in masked}


def tied_weights(network: nn.Module) -> dict[str, list[str]]:
    """The other names of weights that stand in several places, by the masked layer's name or else the first.

    A layer that is reachable by two names is one place.

    Args:
        network: Any module tree, with masks or without.
    """
    masked = {f"{name}.weight".lstrip(".") for name in masked_layers(network)}
    matrices = {id(weight) for weight in matrix_weights(network).values()}
    places: dict[int, list[str]] = {}
    for prefix, module in _own_modules(network):
        for name, parameter in module._parameters.items():
            if id(parameter) in matrices:
                places.setdefault(id(parameter), []).append(f"{prefix}.{name}".lstrip("."))
    found = {}
    for names in places.values():
        name = next((name for name in names if name in masked), names[0])
        if len(names) > 1:
            found[name] = [other for other in names if other != name]
    return found


def matrix_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """What counts as weights, masked or not, by full parameter name.

    Parameters of which at least two axes are longer than 1, and the weight of every Linear and Conv2d. A tensor with
    several names is named once, by its first.

    Args:
        network: Any module tree, with masks or without.
    """
    of_layers = {id(layer._parameters.get("weight")) for layer in maskable(network).values()}
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for prefix, module in _own_modules(network):
        for name, parameter in module._parameters.items():
            if parameter is None or is_lazy(parameter):
                continue
            if id(parameter) in of_layers or sum(length > 1 for length in parameter.shape) > 1:
                found.setdefault(id(parameter), (f"{prefix}.{name}".lstrip("."), parameter))
    return dict(found.values())


def _state_tensors(optimizers: Iterable[Optimizer], weight: nn.Parameter) -> list[Tensor]:
    states = [optimizer.state[weight] for optimizer in optimizers if weight in optimizer.state]
    shaped = [
        (key, value)
        for state in states
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == weight.shape
    ]
    if quantised := [f"{key} ({value.dtype})" for key, value in shaped if not value.is_floating_point()]:
        warnings.warn(
            f"the optimizer keeps {quantised[0]} of a weight whose mask changes; where zero lies in it is not known, "
            "so it is left as it is",
            stacklevel=3,
        )
    return [value for _, value in shaped if value.is_floating_point()]


def _own_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules by name but those within an `AveragedModel`."""
    skipped: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name.startswith(skipped):
            continue
        if name and isinstance(module, AveragedModel):
            skipped += (f"{name}.",)
        yield name, module


def _mask(module: nn.Module) -> Tensor | None:
    mask = module._buffers.get(MASK)
    return mask if mask is not None and mask.dtype == torch.bool else None


def is_unknown(layer: nn.Module) -> bool:
    """Whether a layer that can be masked was neither masked nor excluded yet."""
    return MASK not in layer._buffers


def _is_excluded(layer: nn.Module) -> bool:
    return MASK in layer._buffers and layer._buffers[MASK] is None


def _require_ordinary_weights(layers: Mapping[str, nn.Module]) -> None:
    owners: dict[int, str] = {}
    for name, layer in layers.items():
        if nn.utils.parametrize.is_parametrized(layer, "weight"):
            raise SparsityError(
                f"the weight of layer {name!r} is computed by a parametrisation; take it off with "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight'), or exclude the layer"
            )
        if "weight_orig" in layer._parameters:
            raise SparsityError(
                f"layer {name!r} is pruned by torch.nn.utils.prune; call torch.nn.utils.prune.remove(layer, 'weight') "
                "first: what it pruned is zero then and stays pruned"
            )
        weight = layer._parameters.get("weight")
        if weight is None:
            raise SparsityError(
                f"the weight of layer {name!r} is computed anew in every forward pass (as by weight_norm) and not a "
                "parameter; remove that first, or exclude the layer"
            )
        if is_lazy(weight):
            raise SparsityError(f"layer {name!r} is lazy and has no weights yet; let it see one batch first")
        if MASK in layer._buffers and _mask(layer) is None:
            raise SparsityError(f"layer {name!r} has a buffer {MASK} that is not bool, so of somebody else; rename it")
        other = owners.setdefault(id(weight), name)
        if other != name:
            raise SparsityError(f"layers {other!r} and {name!r} share one weight; exclude one of them from masking")


@torch.no_grad()
def _masks_of_zeros(layers: Mapping[str, nn.Module], network: str) -> dict[str, Tensor]:
    """Masks that keep everything or, of a network that was pruned without masks, what is not zero."""
    if not layers:
        return {}
    masks = {name: layer.get_parameter("weight").detach() != 0 for name, layer in layers.items()}
    kept = dict(zip(masks, torch.stack([mask.sum() for mask in masks.values()]).tolist(), strict=True))
    sparse = [name for name, mask in masks.items() if 0 < kept[name] < mask.numel()]
    zeros = sum(masks[name].numel() - kept[name] for name in sparse)
    total = sum(mask.numel() for mask in masks.values())
    if zeros <= _ZEROS_BY_CHANCE * total:
        sparse = []
    else:
        empty = [name for name in masks if kept[name] == 0]
        whole = f"; layers of zeros alone, {', '.join(empty)}, are kept whole" if empty else ""
        warnings.warn(
            f"{network} has zeros and no masks: {zeros:,} of {total:,} weights are zero and count as pruned{whole}",
            stacklevel=3,
        )
    return {name: mask if name in sparse else torch.ones_like(mask) for name, mask in masks.items()}
