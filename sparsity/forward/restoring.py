"""Putting back what other people's code did to a network, or to a batch: all that can be reached and copied."""

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_ATOMS = (int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)


@contextmanager
def restored(*things: object) -> Iterator[None]:
    """Put things back in the end, each the very same object as before.

    That is what modules have as attributes, what lists, dictionaries, sets and records hold (records are objects of
    plain values alone, such as a running mean), the values of tensors and arrays and the states of random generators,
    as far as they are found within each other. Other objects, such as files, iterators and a Trainer, are left alone.

    Args:
        things: For example a LightningModule and a batch.
    """
    undoing = list(_undoing(things))
    try:
        yield
    finally:
        with torch.no_grad():
            for undo in undoing:
                undo()


def _undoing(things: tuple[object, ...]) -> Iterator[Callable[[], None]]:
    waiting: list[Any] = list(things)
    known: dict[int, object] = {}  # kept alive, so that no identity is used twice
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, _ATOMS) or id(thing) in known:
            continue
        known[id(thing)] = thing
        match thing:
            case Tensor():
                yield from _undo_tensor(thing)
            case np.ndarray():
                yield from _undo_array(thing)
            case torch.Generator():
                yield _setting(thing.set_state, thing.get_state())
            case random.Random():
                yield _setting(thing.setstate, thing.getstate())
            case np.random.Generator():
                yield _setting(thing.bit_generator.__setattr__, "state", thing.bit_generator.state)
            case dict():
                yield _undo_dictionary(thing)
                waiting += thing.values()
            case list() | deque():
                yield _undo_list(thing)
                waiting += thing
            case set():
                yield _undo_set(thing)
            case Mapping():
                waiting += [*thing.values(), *([vars(thing)] if _is_record(thing) else [])]
            case tuple():
                waiting += thing
            case nn.Module():
                waiting.append(vars(thing))
            case _ if _is_record(thing):
                waiting.append(vars(thing))


def _is_record(thing: object) -> bool:
    if isinstance(thing, type) or not hasattr(thing, "__dict__"):
        return False
    return all(isinstance(value, (*_ATOMS, *_CONTAINERS, Tensor, np.ndarray)) for value in vars(thing).values())


def _setting(set_state: Callable[..., Any], *state: Any) -> Callable[[], None]:
    return lambda: set_state(*state)


def _undo_tensor(tensor: Tensor) -> Iterator[Callable[[], None]]:
    if is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return
    values = tensor.detach().clone()
    has_gradient = tensor.is_leaf and tensor.requires_grad
    gradient = tensor.grad if has_gradient else None

    def undo() -> None:
        if tensor.shape != values.shape:
            tensor.data = values
        elif not torch.equal(tensor.detach(), values):
            tensor.detach().copy_(values)
        if has_gradient and tensor.grad is not gradient:
            tensor.grad = gradient

    yield undo


def _undo_array(array: "np.ndarray[Any, Any]") -> Iterator[Callable[[], None]]:
    if array.flags.writeable:
        values = array.copy()
        yield lambda: array.__setitem__(..., values)


def _undo_dictionary(members: dict[Any, Any]) -> Callable[[], None]:
    before = list(members.items())

    def undo() -> None:
        now = list(members.items())
        if len(now) != len(before) or any(a is not b or x is not y for (a, x), (b, y) in zip(now, before, strict=True)):
            members.clear()
            members.update(dict(before))  # of pairs a Counter would count each

    return undo


def _undo_list(members: "list[Any] | deque[Any]") -> Callable[[], None]:
    before = list(members)

    def undo() -> None:
        if len(members) != len(before) or any(a is not b for a, b in zip(members, before, strict=True)):
            members.clear()
            members.extend(before)

    return undo


def _undo_set(members: set[Any]) -> Callable[[], None]:
    before = set(members)

    def undo() -> None:
        if members != before:
            members.clear()
            members.update(before)

    return undo
