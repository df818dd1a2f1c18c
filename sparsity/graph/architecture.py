"""Which networks have one architecture, so that one trace serves them all."""

import weakref
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.graph.trace import Sample, Trace, trace

_NOT_CODE = frozenset(
    {"training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook"}
    | {"_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks"}
    | {"_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"}
)
"""Attributes of a module that a forward pass in evaluation mode does not depend on, or that are looked at apart."""

_KEPT = 16
_traces: OrderedDict[Hashable, Trace] = OrderedDict()


def traced(network: nn.Module, sample: Sample) -> Trace:
    """A network's graph, traced once for all networks of its architecture.

    Args:
        network: Any network; left unchanged.
        sample: A batch of one, see `trace`; only shapes and dtypes of its tensors matter.

    Raises:
        SparsityError: As `trace`.
    """
    key = architecture(network, sample)
    found = _traces.get(key)
    if found is None or not _same_constants(found, network):
        found = _traces[key] = trace(network, sample)
    _traces.move_to_end(key)
    while len(_traces) > _KEPT:
        _traces.popitem(last=False)
    return found


def architecture(network: nn.Module, sample: Sample) -> Hashable:
    """What two networks must have in common for their forward passes to be the same graph.

    Classes of all modules, their plain attributes, hooks, names, shapes and dtypes of all tensors, which of them are
    tied, and the same of the sample. An attribute that is neither a plain value nor made of such is compared by
    identity: two networks that differ in it are two architectures, even if it does not matter.

    Args:
        network: Any network.
        sample: A batch of one, see `trace`.
    """
    owners: dict[int, str] = {}
    tensors = []
    for name, tensor in [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]:
        first = owners.setdefault(id(tensor), name)
        tensors.append((name, first, isinstance(tensor, nn.Parameter), *_look(tensor)))
    modules = []
    first_modules: dict[int, str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        first = first_modules.setdefault(id(module), name)
        plain: tuple[Any, ...] = ()
        if first == name:
            attributes = ((key, value) for key, value in module.__dict__.items() if key not in _NOT_CODE)
            plain = tuple((key, _frozen(value, owners)) for key, value in attributes)
        modules.append((name, first, type(module), plain))
    settings = (torch.get_default_dtype(), torch.is_autocast_enabled())
    return settings, tuple(modules), tuple(tensors), _frozen(sample, None)


class _Same:
    """An object that equals nothing but itself; does not keep it alive if it can be helped."""

    def __init__(self, value: object) -> None:
        self._hash = id(value)
        try:
            self._reference: Any = weakref.ref(value)
        except TypeError:
            self._reference = lambda: value

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        value = self._reference()
        return isinstance(other, _Same) and value is not None and value is other._reference()


def _frozen(value: Any, owners: Mapping[int, str] | None, within: tuple[int, ...] = ()) -> Hashable:
    """A plain value, or one made of such, as something that can be compared; other objects by identity.

    Args:
        value: Anything.
        owners: Names of a network's tensors by identity; None for a sample, whose tensors count by their shapes.
        within: Identities of what holds the value, against going round in circles.
    """
    if isinstance(value, weakref.ref):
        value = value()
    if isinstance(value, type) or value is None:
        return value
    if isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device | torch.layout):
        # As text, since 1 == 1.0 == True and NaN is not itself; subclasses, as of an Enum, differ by their type.
        return type(value), repr(value)
    if owners is not None and id(value) in owners:
        return "tensor", owners[id(value)]
    if isinstance(value, Tensor):
        return _look(value) if owners is None else _Same(value)
    if id(value) in within:
        return "itself", len(within) - within.index(id(value))
    inside = (*within, id(value))
    if isinstance(value, Mapping):
        return type(value), tuple((_frozen(key, owners, inside), _frozen(value[key], owners, inside)) for key in value)
    if isinstance(value, list | tuple):
        return type(value), tuple(_frozen(item, owners, inside) for item in value)
    if isinstance(value, set | frozenset):
        return type(value), frozenset(_frozen(item, owners, inside) for item in value)
    return _Same(value)


def _look(tensor: Tensor) -> tuple[Hashable, ...]:
    if nn.parameter.is_lazy(tensor):
        return ("lazy", tensor.dtype, tensor.device)
    return tuple(tensor.shape), tensor.dtype, tensor.device


def _same_constants(found: Trace, network: nn.Module) -> bool:
    """Whether the whole-number buffers that a trace holds, such as indices, have the same values in a network."""
    held = [(found.buffers[node], value) for node, value in found.constants.items() if node in found.buffers]
    return all(torch.equal(network.get_buffer(name), value) for name, value in held)
