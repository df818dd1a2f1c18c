"""What a checkpoint may have made because it names a class: networks of ours, optimizers and schedules of torch's.

A checkpoint comes from anywhere, so nothing else that it names is looked at, imported or called.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning.cli import ReduceLROnPlateau
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from sparsity.checkpoints.networks import build_network, read_config
from sparsity.errors import SparsityError


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
