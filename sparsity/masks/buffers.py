"""Masks as buffers beside parameters: added, taken away, set, and what they prune stored as zero."""

import warnings
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

from sparsity.errors import SparsityError
from sparsity.masks.places import SUFFIX, Place, averages, maskable, masked, own_modules

Mask = Mapping[str, Tensor]
"""One bool tensor per masked weight, shaped like it, by the weight's name; True = kept."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ZEROS_BY_CHANCE = 1e-3
"""Of all weights; a network with more of them was pruned by somebody who kept no masks."""


def add_masks(network: nn.Module, exclude: Collection[str] = (), include: Collection[str] = ()) -> None:
    """Give every weight that can be masked a buffer beside it, `weight_mask` beside `weight`, that keeps all of it.

    A weight that has a mask already, or was excluded before, is left as it is. A network with zeros was pruned by
    somebody who kept no masks: its masks keep what is not zero, and a warning says so. Layers that are zero altogether
    cannot be told from those that start at zero, and are kept whole. Copies of an `AveragedModel` within the network
    get masks of their own, and are not counted.

    Args:
        network: Any module tree; changed in place.
        exclude: Names of weights that stay dense and do not count, or patterns of them such as `*.downsample.*`.
        include: The same, or names of parameters, to mask besides what `maskable` has: an embedding, or a parameter of
            a layer of one's own with at least two axes, whose first is taken to be the units.

    Raises:
        SparsityError: If nothing is left to mask, a name or pattern fits none, two layers share a weight, or a weight
            is not an ordinary parameter.

    Example:
        >>> network = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 2))
        >>> add_masks(network, include=["0"])
        >>> list(masks(network))
        ['0', '2']
    """
    places = maskable(network)
    asked = _named("include", _matrices(network), include)
    places |= asked
    for name in _named("exclude", places, exclude):
        place = places[name]
        place.module._buffers.setdefault(place.parameter + SUFFIX, None)
    places = {name: place for name, place in places.items() if not place.is_excluded}
    if not places:
        raise SparsityError(
            f"{type(network).__name__} has no Linear, convolution, attention or recurrent layer to prune; give a "
            "network that has one, or name parameters to include"
        )
    _require_ordinary_weights(places)
    new = {name: place for name, place in places.items() if place.is_unknown}
    for name, mask in _masks_of_zeros(new, type(network).__name__).items():
        new[name].module.register_buffer(new[name].parameter + SUFFIX, mask)
    for copy in averages(network):
        others = _matrices(copy.module)
        add_masks(copy.module, *([p for p in patterns if _fitting(p, others)] for patterns in (exclude, include)))


def remove_masks(network: nn.Module) -> None:
    """Take all masks away; pruned weights stay zero, but nothing keeps them from training.

    The network's `state_dict()` is then that of an ordinary one. Weights that were excluded from masking stay so.

    Args:
        network: Any module tree; changed in place.
    """
    for copy in averages(network):
        remove_masks(copy.module)
    for place in masked(network).values():
        del place.module._buffers[place.parameter + SUFFIX]


def add_masks_of(network: nn.Module, state: Mapping[str, object]) -> None:
    """Give a network the masks that a state dict has, so that it can be loaded strictly.

    Args:
        network: Of the architecture that the state dict is of; changed in place. Weights for which the state dict has
            no mask are left as they are.
        state: As of `nn.Module.state_dict()`, with the names that `network` has.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> state = {"weight": torch.tensor([[1.0, 0.0]]), "weight_mask": torch.tensor([[True, False]])}
        >>> add_masks_of(network, state)
        >>> network.load_state_dict(state | {"bias": torch.zeros(1)})
        <All keys matched successfully>
    """
    for path, module in network.named_modules():
        for name, parameter in module._parameters.items():
            mask = state.get(f"{path}.{name}{SUFFIX}".lstrip("."))
            if parameter is None or not isinstance(mask, Tensor) or module._buffers.get(name + SUFFIX) is not None:
                continue
            if parameter.ndim > 1:
                module.register_buffer(name + SUFFIX, torch.ones_like(parameter, dtype=torch.bool))


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
    places = masked(network)
    if isinstance(mask, Tensor):
        if len(places) != 1:
            raise SparsityError(f"{type(network).__name__} has {len(places)} masks; give one for each by name")
        mask = dict.fromkeys(places, mask)
    for name, new in mask.items():
        if name not in places:
            raise SparsityError(f"no masked layer is called {name!r}; there are {list(places)}")
        shape = places[name].mask.shape
        if new.shape != shape or new.dtype != torch.bool:
            raise SparsityError(
                f"the mask of {name!r} must be bool and shaped {list(shape)}, not {new.dtype} {list(new.shape)}"
            )
    for name, new in mask.items():
        weight, own = places[name].module.get_parameter(places[name].parameter), places[name].mask
        if states := list(_state_tensors(optimizers, weight)):
            stays = own & new.to(own.device)
            for state in states:
                zero_pruned(state, stays)
        own.copy_(new)
        zero_pruned(weight, own)


@torch.no_grad()
def apply_masks(network: nn.Module) -> None:
    """Store zeros where the masks prune; restores the invariant after weights were written from outside."""
    for place in masked(network).values():
        zero_pruned(place.module.get_parameter(place.parameter), place.mask)


@torch.no_grad()
def zero_pruned(values: Tensor, mask: Tensor) -> None:
    """Store zeros in place where a mask prunes, whatever is there, also NaN and infinity.

    Args:
        values: Floating point, at most 64 bits each.
        mask: Shaped like the values, bool, True = kept.
    """
    # Bits times one or zero: a tenth of the time of masked_fill_, which branches at every weight on a CPU.
    values.view(_INTEGERS[values.itemsize]).mul_(mask)


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


def _matrices(network: nn.Module) -> dict[str, Place]:
    """All parameters that could be masked if somebody wanted it."""
    places = [
        Place(path, module, name)
        for path, module in own_modules(network)
        for name, parameter in module._parameters.items()
        if parameter is not None and (is_lazy(parameter) or parameter.ndim > 1)
    ]
    return {place.name: place for place in places}


def _named(verb: str, places: Mapping[str, Place], patterns: Collection[str]) -> dict[str, Place]:
    """The places that patterns fit.

    Raises:
        SparsityError: If a pattern fits none.
    """
    if isinstance(patterns, str):
        raise SparsityError(f"what to {verb} is a list of names, such as [{patterns!r}], not a text")
    found: dict[str, Place] = {}
    for pattern in patterns:
        fitting = _fitting(pattern, places)
        if not fitting:
            raise SparsityError(f"cannot {verb} {pattern!r}: the layers that can be masked are {list(places)}")
        found |= fitting
    return found


def _fitting(pattern: str, places: Mapping[str, Place]) -> dict[str, Place]:
    return {
        name: place
        for name, place in places.items()
        if any(pattern == known or fnmatchcase(known, pattern) for known in (name, place.full_name))
    }


def _require_ordinary_weights(places: Mapping[str, Place]) -> None:
    owners: dict[int, str] = {}
    for name, place in places.items():
        layer, parameter = place.module, place.parameter
        if is_parametrized(layer, parameter):
            raise SparsityError(
                f"the {parameter} of layer {place.path!r} is computed by a parametrisation; take it off with "
                f"torch.nn.utils.parametrize.remove_parametrizations(layer, {parameter!r}), or exclude the layer"
            )
        if f"{parameter}_orig" in layer._parameters and layer._buffers.get(parameter + SUFFIX) is not None:
            raise SparsityError(
                f"layer {place.path!r} is pruned by torch.nn.utils.prune; call torch.nn.utils.prune.remove(layer, "
                f"{parameter!r}) first: what it pruned is zero then and stays pruned"
            )
        weight = place.stored
        if weight is None:
            raise SparsityError(
                f"the {parameter} of layer {place.path!r} is computed anew in every forward pass (as by "
                "weight_norm or spectral_norm) and not a parameter; remove that first, or exclude the layer"
            )
        if is_lazy(weight):
            raise SparsityError(f"layer {place.path!r} is lazy and has no weights yet; let it see one batch first")
        if not place.is_unknown and not place.has_mask:
            raise SparsityError(
                f"layer {place.path!r} has a buffer {parameter}{SUFFIX} that is not bool, so of somebody else; "
                "rename it"
            )
        other = owners.setdefault(id(weight), name)
        if other != name:
            raise SparsityError(f"layers {other!r} and {name!r} share one weight; exclude one of them from masking")


@torch.no_grad()
def _masks_of_zeros(places: Mapping[str, Place], network: str) -> dict[str, Tensor]:
    """Masks that keep everything or, of a network that was pruned without masks, what is not zero."""
    if not places:
        return {}
    masks = {name: place.weight.detach() != 0 for name, place in places.items()}
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
