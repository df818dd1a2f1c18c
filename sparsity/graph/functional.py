"""In-place operations out of a graph: simply renamed where nobody else looks at the tensor that is written into."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from sparsity.graph.nodes import arguments, packet_name

_FRESH = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"}
    | {"batch_norm", "layer_norm", "group_norm", "add", "sub", "mul", "div", "addmm", "mm", "bmm", "cat", "stack"}
    | {"relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", "elu", "leaky_relu", "sigmoid", "tanh"}
    | {"mish", "celu", "selu", "softplus", "max_pool2d", "avg_pool2d"}
)
"""Operations that always allocate what they return; others may return a view of what they are given."""

_DROPOUTS = frozenset({"dropout_", "feature_dropout_", "alpha_dropout_", "feature_alpha_dropout_"})


def is_mutating(node: fx.Node) -> bool:
    """Whether a node writes into what it is given."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def inplace_by_rewriting(graph: fx.Graph) -> bool:
    """Whether `functional_graph` can rewrite all in-place operations, else the graph must be traced once more.

    It can if each writes into a tensor that was freshly allocated, and no view of it is there. Higher-order
    operations, such as a region without gradients, are only inlined by tracing.
    """
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op == "get_attr" or isinstance(node.target, torch._ops.HigherOrderOperator):
            return False
        if is_mutating(node) and (_replacement(node) is None or not _alone(node, order)):
            return False
    return True


def functional_graph(graph: fx.Graph) -> None:
    """Rewrite in-place operations in place of the graph: `relu_(x)` is `relu(x)`, and who read x later reads that."""
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not is_mutating(node):
            continue
        target, written = _replacement(node), arguments(node)[0]
        if target is None or not isinstance(written, fx.Node):  # not after inplace_by_rewriting, or a trace without
            continue
        node.target = target
        written.replace_all_uses_with(node, delete_user_cb=_comes_after(node, order))


def _comes_after(node: fx.Node, order: dict[fx.Node, int]) -> Callable[[fx.Node], bool]:
    return lambda user: order[user] > order[node]


def _replacement(node: fx.Node) -> Any:
    """The operation that does the same and returns it; None if there is none with the same arguments."""
    name = packet_name(node.target)
    packet = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") and node.args else None
    target = getattr(packet, getattr(node.target, "_overloadname", ""), None)
    if target is None or target._schema.is_mutable:
        return None
    operation: Any = node.target
    own, others = ([argument.name for argument in each._schema.arguments] for each in (operation, target))
    return target if own[1:] == others[1:] and len(own) == len(others) else None


def _alone(writer: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether what a node writes into was freshly allocated, and nobody holds a view of it at that time."""
    if packet_name(writer.target) in _DROPOUTS and writer.args[2] is False:  # which writes nothing
        return True
    names = [writer]  # of the same memory
    while is_mutating(names[-1]):
        written = names[-1].args[0]
        if not isinstance(written, fx.Node) or written.op != "call_function":
            return False
        names.append(written)
    if packet_name(names[-1].target) not in _FRESH:
        return False
    value, result = names[-1].meta.get("val"), writer.meta.get("val")
    if not isinstance(value, torch.Tensor) or not isinstance(result, torch.Tensor):
        return False
    if value.shape != result.shape or value.dtype != result.dtype:
        return False
    # Who reads it later, reads it under its new name; who only reads and allocates is no view of it.
    earlier = [user for name in names[1:] for user in name.users if user not in names and order[user] < order[writer]]
    return all(packet_name(user.target) in _FRESH for user in earlier)
