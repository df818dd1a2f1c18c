"""What a file may have built because it names a class: a config much, a checkpoint little, neither what merely runs.

A config is written by its user, whose own classes it may name and import. Of Python's own library it makes nothing, and
functions only where they say that they return what is looked for, since calling another one is all that a `class_path`
like `os.system` can be for. A checkpoint comes from anywhere: it may name classes of `sparsity.networks`, and
optimizers and schedules of `torch.optim`.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning.cli import ReduceLROnPlateau
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from sparsity.errors import SparsityError
from sparsity.interop.configuration import build_network, read_config

_MADE_BY_FUNCTIONS = (nn.Module, Optimizer, LRScheduler)


def require_classes(config: object) -> None:
    """Refuse a config that would run something else than it makes, before any of it is made.

    Args:
        config: As it was parsed: mappings and lists, with `class_path` wherever something is made.

    Raises:
        SparsityError: Names the place and what stands there.
    """
    for place, path in _class_paths(config, ""):
        found = _imported(path)
        package = str(getattr(found, "__module__", "")).partition(".")[0]
        if package in sys.stdlib_module_names or not (inspect.isclass(found) or _returns_a_kind(found)):
            raise SparsityError(
                f"{place or 'the config'} names {path} as what is made there, and it is no class for that; name a "
                "class, for example of torch.optim or of your own"
            )


def _class_paths(config: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(config, Namespace):
        config = vars(config)
    if isinstance(config, Mapping):
        if isinstance(path := config.get("class_path"), str):
            yield place, path
        for key, value in config.items():
            inner = place if key in ("init_args", "dict_kwargs") else f"{place}.{key}".lstrip(".")
            yield from _class_paths(value, inner)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _class_paths(value, place)


def _imported(path: str) -> object:
    """What a path names among what is imported: the parser has looked at it, and imported what there was."""
    module, names = path, list[str]()
    while module and module not in sys.modules:
        module, _, name = module.rpartition(".")
        names.insert(0, name)
    found: object = sys.modules.get(module)
    for name in names:
        found = getattr(found, name, None)
    return found


def _returns_a_kind(function: object) -> bool:
    try:
        returned = typing.get_type_hints(function).get("return")
    except (TypeError, NameError, AttributeError):
        return False
    return inspect.isclass(returned) and issubclass(returned, _MADE_BY_FUNCTIONS)


def network_named_by(hyper_parameters: object, path: str) -> nn.Module:
    """Build the network that a checkpoint names.

    Args:
        hyper_parameters: What the file has there; not trusted.
        path: Of the file, for messages.

    Raises:
        SparsityError: If it names none, or one that is not of `sparsity.networks`.
    """
    config = read_config(hyper_parameters)
    if config is None:
        raise SparsityError(
            f"{path} names no network of sparsity.networks, and a checkpoint may build no other; pass network=..."
        )
    return build_network(config)


def optimizer_named_by(hyper_parameters: object, path: str) -> Callable[..., Optimizer] | None:
    """What makes the optimizer that a checkpoint names; None if it names none.

    Args:
        hyper_parameters: What the file has there; not trusted.
        path: Of the file, for messages.

    Raises:
        SparsityError: If it is not of `torch.optim`, or has other arguments than plain values.
    """
    return _named_by(hyper_parameters, "optimizer", path, _classes(torch.optim, Optimizer))


def schedule_named_by(hyper_parameters: object, path: str) -> Callable[..., Any] | None:
    """What makes the learning rate's schedule that a checkpoint names; None if it names none.

    Args:
        hyper_parameters: What the file has there; not trusted.
        path: Of the file, for messages.

    Raises:
        SparsityError: If it is not of `torch.optim`, or has other arguments than plain values.
    """
    known = _classes(lr_scheduler, LRScheduler, lr_scheduler.ReduceLROnPlateau)
    return _named_by(hyper_parameters, "lr_scheduler", path, known | _path_of(ReduceLROnPlateau))


def _named_by(hyper_parameters: object, name: str, path: str, known: Mapping[str, type]) -> partial[Any] | None:
    named = hyper_parameters.get(name) if isinstance(hyper_parameters, Mapping) else None
    if named is None:
        return None
    spec = named if isinstance(named, Mapping) else {}
    class_path, arguments = spec.get("class_path"), spec.get("init_args") or {}
    if not isinstance(class_path, str) or class_path not in known or not _is_plain(arguments):
        raise SparsityError(
            f"{path} names as {name} {class_path or named!r}, and a checkpoint may only name one of torch.optim with "
            f"plain arguments; pass {name}=..., or None"
        )
    return partial(known[class_path], **arguments)


def _is_plain(arguments: object) -> bool:
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
        return False
    flat = [x for value in arguments.values() for x in (value if isinstance(value, list | tuple) else [value])]
    return all(value is None or isinstance(value, bool | int | float | str) for value in flat)


def _classes(package: Any, *kinds: type) -> dict[str, type]:
    found = [value for value in vars(package).values() if isinstance(value, type) and issubclass(value, kinds)]
    return {path: one for one in found for path in (f"{package.__name__}.{one.__name__}", *_path_of(one))}


def _path_of(one: type) -> dict[str, type]:
    return {f"{one.__module__}.{one.__name__}": one}
