"""A network with fewer units: parameters and buffers cut, and what layers say of their sizes set to what they have."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
    owners = _owners(network)
    changed: dict[int, nn.Module] = {}
    for name, axes in what_stays.items():
        path, _, own = name.rpartition(".")
        module = network.get_submodule(path)
        for member in (own, own + SUFFIX):
            if not isinstance(tensor := getattr(module, member, None), Tensor):
                continue
            smaller = tensor
            for axis, stays in axes.items():
                smaller = smaller.index_select(axis, stays.to(tensor.device))
            if isinstance(tensor, nn.Parameter):
                smaller = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
            for holder, key in owners[id(tensor)]:
                holder[key] = smaller
        changed |= {id(m): m for m in network.modules() if own in m._parameters or own in m._buffers}
    for module in changed.values():
        set_sizes(module)


def _owners(network: nn.Module) -> dict[int, list[tuple[dict[str, Any], str]]]:
    """By identity of a tensor the dictionaries that hold it: a tied one lies in several modules."""
    found: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for module in network.modules():
        for members in (module._parameters, module._buffers):
            for key, tensor in members.items():
                if tensor is not None:
                    found.setdefault(id(tensor), []).append((members, key))
    return found


def set_sizes(module: nn.Module) -> None:
    """Make what a layer of torch's says of its sizes what its tensors say; of other layers nothing is known."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape  # type: ignore[union-attr]
    elif isinstance(module, nn.modules.conv._ConvNd):
        _set_channels(module)
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        sized = next((t for t in (module.running_mean, weight) if isinstance(t, Tensor)), None)
        module.num_features = module.num_features if sized is None else len(sized)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = module.weight.shape
    elif isinstance(module, nn.RNNBase):
        module.hidden_size = module.get_parameter("weight_hh_l0").shape[1]
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    elif hasattr(module, "nf") and isinstance(weight, Tensor):  # Hugging Face's Conv1D
        setattr(module, "nf", weight.shape[1])  # noqa: B010 # torch's stubs take it for a module


def _set_channels(module: nn.modules.conv._ConvNd) -> None:
    first, second = module.weight.shape[:2]
    is_by_channel = module.groups == module.in_channels and module.groups > 1
    if module.transposed:
        if is_by_channel:
            module.groups = first
        module.in_channels, module.out_channels = first, second * module.groups
        return
    if is_by_channel:
        module.groups = first * module.groups // module.out_channels
    module.in_channels, module.out_channels = second * module.groups, first
