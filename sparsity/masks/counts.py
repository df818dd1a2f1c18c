"""How many weights there are, how many of them are kept, and which no mask covers."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sparsity.errors import SparsityError
from sparsity.masks.places import maskable, masked, masks, own_modules


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
    """Kept over all weights of the masked layers, in [0, 1], as the masks say; see `nonzero_pruned`.

    Raises:
        SparsityError: If the network has no masks.
    """
    total = sum(sizes(network).values())
    if not total:
        raise SparsityError(f"{type(network).__name__} has no masks; call add_masks(network) first")
    return sum(kept(network).values()) / total


def nonzero_pruned(network: nn.Module) -> int:
    """The number of weights that their masks prune and that are not zero: none, unless something wrote them since."""
    places = masked(network).values()
    return int(sum(((place.weight != 0) & ~place.mask).sum() for place in places))


def unmasked_weights(network: nn.Module) -> dict[str, int]:
    """The sizes of the weights that no mask covers, by full parameter name.

    Args:
        network: Any module tree, with masks or without.
    """
    covered = {id(place.stored) for place in masked(network).values()}
    return {name: weight.numel() for name, weight in matrix_weights(network).items() if id(weight) not in covered}


def tied_weights(network: nn.Module) -> dict[str, list[str]]:
    """The other names of weights that stand in several places, by the masked layer's name or else the first.

    A layer that is reachable by two names is one place.

    Args:
        network: Any module tree, with masks or without.
    """
    covered = {place.full_name for place in masked(network).values()}
    matrices = {id(weight) for weight in matrix_weights(network).values()}
    places: dict[int, list[str]] = {}
    for prefix, module in own_modules(network):
        for name, parameter in module._parameters.items():
            if id(parameter) in matrices:
                places.setdefault(id(parameter), []).append(f"{prefix}.{name}".lstrip("."))
    found = {}
    for names in places.values():
        name = next((name for name in names if name in covered), names[0])
        if len(names) > 1:
            found[name] = [other for other in names if other != name]
    return found


def matrix_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """What counts as weights, masked or not, by full parameter name.

    Parameters of which at least two axes are longer than 1, and all that `maskable` has. A tensor with
    several names is named once, by its first.

    Args:
        network: Any module tree, with masks or without.
    """
    of_layers = {id(place.stored) for place in maskable(network).values()}
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for prefix, module in own_modules(network):
        for name, parameter in module._parameters.items():
            if parameter is None or is_lazy(parameter):
                continue
            if id(parameter) in of_layers or sum(length > 1 for length in parameter.shape) > 1:
                found.setdefault(id(parameter), (f"{prefix}.{name}".lstrip("."), parameter))
    return dict(found.values())
