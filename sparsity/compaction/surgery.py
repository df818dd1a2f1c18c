"""A network with fewer units: which parts of parameters and buffers stay, and those cut."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sparsity.checkpoints.sizes import replace_tensors
from sparsity.graph.needed import Unit
from sparsity.masks import SUFFIX

Cuts = Mapping[str, Mapping[int, Tensor]]
"""By name of a parameter or buffer and axis the positions that stay, int64 in rising order."""


def cuts(network: nn.Module, units: Iterable[Unit]) -> dict[str, dict[int, Tensor]]:
    """What stays of each tensor without some units.

    Args:
        network: With the tensors that the units lie in.
        units: To be taken out.
    """
    gone: dict[tuple[str, int], list[int]] = {}
    for unit in units:
        for name, axis, place in unit:
            gone.setdefault((name, axis), []).append(place)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    found: dict[str, dict[int, Tensor]] = {}
    for (name, axis), places in gone.items():
        stays = torch.ones(tensors[name].shape[axis], dtype=torch.bool)
        stays[places] = False
        found.setdefault(name, {})[axis] = stays.nonzero().flatten()
    return found


@torch.no_grad()
def cut_out(network: nn.Module, what_stays: Cuts) -> None:
    """Cut a network's tensors in place, masks along with their weights.

    Args:
        network: Whose layers have sizes of their own; a forward pass that names sizes itself will not run any more.
        what_stays: As of `cuts`.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    smaller: dict[str, Tensor] = {}
    for name, axes in what_stays.items():
        for member in (name, name + SUFFIX):
            if (tensor := tensors.get(member)) is not None:
                for axis, stays in axes.items():
                    tensor = tensor.index_select(axis, stays.to(tensor.device))
                smaller[member] = tensor
    replace_tensors(network, smaller)
