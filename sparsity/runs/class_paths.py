"""What a config may have made because it names a class: much, but nothing that merely runs.

A config is written by its user, whose own classes it may name and import. Of Python's own library it makes nothing, and
functions only where they say that they return what is looked for, since calling another one is all that a `class_path`
like `os.system` can be for. What a checkpoint may name is in `sparsity.checkpoints.named`.
"""

import inspect
import sys
import typing
from collections.abc import Iterator, Mapping

from jsonargparse import Namespace
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sparsity.errors import SparsityError

_MADE_BY_FUNCTIONS = (nn.Module, Optimizer, LRScheduler)


def require_classes(config: object) -> None:
    """Refuse a config that would run something else than it makes, before any of it is made.

    Args:
        config: As it was parsed: mappings and lists, with `class_path` wherever something is made.

    Raises:
        SparsityError: Names the place and what stands there.
    """
    for place, path, found in _named(config, ""):
        package = str(getattr(found, "__module__", "")).partition(".")[0]
        if package in sys.stdlib_module_names or not (inspect.isclass(found) or _returns_a_kind(found)):
            raise SparsityError(
                f"{place or 'the config'} names {path} as what is made there, and it is no class for that; name a "
                "class, for example of torch.optim or of your own"
            )


def takes_any_name(path: str) -> bool:
    """Whether a class or function that was imported takes arguments of any name, as `**kwargs`."""
    found = _imported(path)
    try:
        parameters = inspect.signature(found).parameters if callable(found) else {}
    except ValueError:  # of some that are not written in Python
        return False
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def _named(config: object, place: str) -> Iterator[tuple[str, str, object]]:
    """Every class or function in a config: its place, how it is named, and itself."""
    if isinstance(config, Namespace):
        config = vars(config)
    if isinstance(config, Mapping):
        if isinstance(path := config.get("class_path"), str):
            yield place, path, _imported(path)
        for key, value in config.items():
            inner = place if key in ("init_args", "dict_kwargs") else f"{place}.{key}".lstrip(".")
            yield from _named(value, inner)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _named(value, place)
    elif inspect.isroutine(config):  # jsonargparse before 4.52 has imported a function that is named without class_path
        yield place, f"{config.__module__}.{config.__qualname__}", config


def _imported(path: str) -> object:
    """What a path names among what is imported: the parser has looked at it, and imported what there was.

    Of a module and a member of its package that have one name, as of torchvision's networks, it is the member.
    """
    module, _, last = path.rpartition(".")
    names = [last]
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
