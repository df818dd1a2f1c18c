"""Reading the nodes of a traced graph: which operation, on what, of which shape."""

from typing import Any

import torch
from torch import Tensor, fx


def packet_name(target: Any) -> str:
    """The plain name of an ATen operation, whatever its overload: `add` for `aten.add.Tensor`; "" for others."""
    return str(target.overloadpacket.__name__) if isinstance(target, torch._ops.OpOverload) else ""


def called(node: fx.Node) -> Any:
    """The operation that a node calls."""
    return node.target


def non_negative(node: fx.Node) -> Any:
    """As `called`, but of an interpolation that overshoots the one that does not."""
    name = packet_name(node.target)
    operation: Any = node.target
    if "bicubic" not in name:
        return operation
    return getattr(getattr(torch.ops.aten, name.replace("bicubic", "bilinear")), operation._overloadname)


def arguments(node: fx.Node) -> tuple[Any, ...]:
    """A node's positional arguments."""
    return node.args


def named_arguments(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by the names that the operation's schema gives them, defaults included."""
    operation: Any = node.target
    schema = operation._schema.arguments
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return given | dict(zip((argument.name for argument in schema), node.args, strict=False)) | dict(node.kwargs)


def value(node: fx.Node) -> Any:
    """A node's value without its numbers: a tensor that has a shape and a dtype only, or a tuple of such."""
    return node.meta.get("val")


def shape(node: fx.Node) -> torch.Size:
    """The shape of a node's value, of the first if there are several."""
    found = value(node)
    size: torch.Size = (found if isinstance(found, Tensor) else found[0]).shape
    return size


def retyped(given: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Arguments with another precision in place of every floating one, and another device."""
    if isinstance(given, dict):
        return {key: retyped(item, device, dtype) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(retyped(item, device, dtype) for item in given)
    if isinstance(given, torch.dtype):
        return dtype if given.is_floating_point else given
    return device if isinstance(given, torch.device) else given
