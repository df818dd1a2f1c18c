"""Masks on ordinary layers: which weights of a network are kept, and the pruned ones stored as zero.

A masked layer is any `nn.Linear` or `nn.Conv2d` with one more buffer, `weight_mask` (bool, shaped like the
weight, True = kept). The invariant of the whole package: a pruned weight is stored as exactly zero, so that the
forward pass is the ordinary dense one. Here are the functions on one network; keeping the invariant while an
optimizer writes is the pruning callback's work.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsity.errors import SparsityError

Mask = Mapping[str, Tensor]
"""One bool tensor per masked layer, shaped like its weight, keyed by layer name; True = kept."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def add_masks(network: nn.Module, exclude: Collection[str] = ()) -> None:
    """Give every `nn.Linear` and `nn.Conv2d` a buffer `weight_mask` that keeps all its weights.

    A layer that already has a mask is left as it is.

    Args:
        network: Any module tree; changed in place.
        exclude: Names of layers, as in `network.named_modules()`, that stay dense and do not count.

    Raises:
        SparsityError: If nothing is left to mask, an excluded name is not a layer, or two layers share a weight.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    if unknown := sorted(set(exclude) - layers.keys()):
        raise SparsityError(f"cannot exclude {unknown[0]!r}: the layers that can be masked are {list(layers)}")
    layers = {n: m for n, m in layers.items() if n not in exclude}
    if not layers:
        raise SparsityError(
            f"{type(network).__name__} has no Linear or Conv2d layer to prune; give a network that has one"
        )
    owners: dict[int, str] = {}
    for name, layer in layers.items():
        other = owners.setdefault(id(layer.weight), name)
        if other != name:
            raise SparsityError(f"layers {other!r} and {name!r} share one weight; exclude one of them from masking")
        if not hasattr(layer, "weight_mask"):
            layer.register_buffer("weight_mask", torch.ones_like(layer.weight, dtype=torch.bool))


def masked_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that have a mask, by name, in the order in which the network registers them."""
    return {name: module for name, module in network.named_modules() if "weight_mask" in module._buffers}


def masks(network: nn.Module) -> dict[str, Tensor]:
    """The masks of a network by layer name; the buffers themselves, not copies."""
    return {name: layer.get_buffer("weight_mask") for name, layer in masked_layers(network).items()}


@torch.no_grad()
def set_mask(network: nn.Module, mask: Mask | Tensor, optimizers: Iterable[Optimizer] = ()) -> None:
    """Replace masks in place, zero the weights that are pruned now, and the optimizers' state of all that changed.

    Args:
        network: A network with masks.
        mask: New masks by layer name; layers that are not named keep theirs. For a single layer also its tensor.
        optimizers: Optimizers whose state tensors shaped like a weight (momentum, moments) are zeroed where it is
            pruned, and where it was pruned before: gradients of pruned weights went into it.

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
        weight, mask_buffer = layers[name].get_parameter("weight"), layers[name].get_buffer("weight_mask")
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
        zero_pruned(layer.get_parameter("weight"), layer.get_buffer("weight_mask"))


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


def _state_tensors(optimizers: Iterable[Optimizer], weight: nn.Parameter) -> list[Tensor]:
    states = [optimizer.state[weight] for optimizer in optimizers if weight in optimizer.state]
    return [
        value
        for state in states
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == weight.shape
    ]


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
    for prefix, module in network.named_modules():
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
    layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    of_layers = {id(layer._parameters.get("weight")) for layer in layers}
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if not nn.parameter.is_lazy(parameter)
        and (id(parameter) in of_layers or sum(length > 1 for length in parameter.shape) > 1)
    }
