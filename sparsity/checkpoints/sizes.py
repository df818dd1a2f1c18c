"""Networks whose layers have other sizes than their class makes them: tensors replaced, and layers told of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_GATES: dict[type[nn.Module], int] = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def replace_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put other tensors in the place of parameters and buffers, and make what layers say of their sizes fit.

    Args:
        network: Changed in place; a tied tensor is replaced wherever it lies.
        tensors: By name of what they replace, of any shape.
    """
    owners = _owners(network)
    before = {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}
    changed: dict[int, nn.Module] = {}
    for name, tensor in tensors.items():
        old = before[name]
        new = nn.Parameter(tensor, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else tensor
        for module, members, key in owners[id(old)]:
            members[key] = new
            changed[id(module)] = module
    for module in changed.values():
        set_sizes(module)


@torch.no_grad()
def resize_to(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give layers the sizes and precision that their saved tensors have, and a bias where one was saved.

    What is larger than the class makes it, or has other axes, stays as it is: nothing that was made smaller is.

    Args:
        network: Changed in place; values of what is resized are undefined.
        state: Tensors by name, as of a smaller network of the same class.
    """
    members = {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}
    new: dict[str, Tensor] = {}
    for name, saved in state.items():
        if name in members:
            old = members[name]
            fits = old.ndim == saved.ndim and all(a <= b for a, b in zip(saved.shape, old.shape, strict=True))
            if fits and (old.shape != saved.shape or old.dtype != saved.dtype):
                new[name] = torch.empty(saved.shape, dtype=saved.dtype, device=old.device)
        elif name.endswith(".bias") or name == "bias":
            layer = dict(network.named_modules()).get(name.rpartition(".")[0])
            if layer is not None and layer._parameters.get("bias", layer) is None:
                layer.bias = nn.Parameter(torch.empty(saved.shape, dtype=saved.dtype, device=layer.weight.device))
    replace_tensors(network, new)


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
        _set_hidden(module)
    elif hasattr(module, "nf") and isinstance(weight, Tensor):  # Hugging Face's Conv1D
        setattr(module, "nf", weight.shape[1])  # noqa: B010 # torch's stubs take it for a module


def _owners(network: nn.Module) -> dict[int, list[tuple[nn.Module, dict[str, Any], str]]]:
    """By identity of a tensor the modules and dictionaries that hold it: a tied one lies in several."""
    found: dict[int, list[tuple[nn.Module, dict[str, Any], str]]] = {}
    for module in network.modules():
        for members in (module._parameters, module._buffers):
            for key, tensor in members.items():
                if tensor is not None:
                    found.setdefault(id(tensor), []).append((module, members, key))
    return found


def _set_hidden(module: nn.RNNBase) -> None:
    gates = next(count for kind, count in _GATES.items() if isinstance(module, kind))
    module.hidden_size = len(module.get_parameter("weight_hh_l0")) // gates
    module.input_size = module.get_parameter("weight_ih_l0").shape[1]
    if module.proj_size:
        module.proj_size = len(module.get_parameter("weight_hr_l0"))
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


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
