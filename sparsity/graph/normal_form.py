"""The normal form of a traced graph: attention, recurrent layers, long products written out, nothing that asserts."""

import math
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.einsum import in_pairs
from sparsity.graph.emitting import Emitter, aten
from sparsity.graph.nodes import arguments, named_arguments, packet_name, shape
from sparsity.graph.recurrent import RECURRENT, written_out

_FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "empty_like": 0.0, "new_empty": 0.0}
"""Constants that take a tensor only for its dtype and device, and their value."""


def normal_form(graph: fx.Graph, returned: Collection[str], held: Collection[fx.Node]) -> None:
    """Bring a graph without in-place operations into normal form, in place.

    Args:
        graph: As `torch.export` traces it.
        returned: Names of the tensors that the network itself returns; others, such as changed buffers, are dropped.
        held: Placeholders of buffers and constants.

    Raises:
        SparsityError: If a recurrent layer reads packed sequences.
    """
    result = next(node for node in graph.nodes if node.op == "output")
    result.args = (tuple(node for node in result.all_input_nodes if node.name in returned),)
    for node in list(graph.nodes):
        name = packet_name(node.target)
        if name.startswith("_assert") or name in ("sym_constrain_range", "sym_constrain_range_for_size"):
            graph.erase_node(node)
        elif name in RECURRENT:
            _replace(node, written_out(node, name))
        elif name == "scaled_dot_product_attention":
            node.replace_all_uses_with(_attention(node, held))
        elif name == "einsum" and len(arguments(node)[1]) > 2:
            node.replace_all_uses_with(in_pairs(node))
        elif node.target in (aten.view.default, aten._unsafe_view.default):  # written out, numbers may lie otherwise
            node.target = aten.reshape.default
        elif name == "native_dropout":  # drawn in evaluation mode too
            _replace(node, (node.all_input_nodes[0],))
        elif name == "_native_batch_norm_legit_no_training":
            values, weight, bias, mean, variance, momentum, eps = arguments(node)
            normalised = (values, weight, bias, mean, variance, False, momentum, eps, False)
            _replace(node, (Emitter(node)(aten.batch_norm.default, *normalised),))
        elif name == "_weight_norm":
            node.replace_all_uses_with(_weight_norm(node))
        elif name in _FILLED or name in ("full_like", "new_full"):
            value = _FILLED.get(name, arguments(node)[-1])
            node.replace_all_uses_with(_filled(node, value))
    drop_unread(graph)
    graph.lint()


def drop_unread(graph: fx.Graph) -> None:
    """Drop the operations whose value nobody reads; unlike torch's own, those that may draw random numbers too."""
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users:
            graph.erase_node(node)


def _replace(node: fx.Node, results: tuple[fx.Node, ...]) -> None:
    """Put what an operation returns in place of those who take it apart, or of itself where it is one tensor."""
    for user in list(node.users):
        if user.target is operator.getitem:
            index = user.args[1]
            if isinstance(index, int) and (index < len(results) or user.users):
                user.replace_all_uses_with(results[index])
    if isinstance(node.meta.get("val"), Tensor):
        node.replace_all_uses_with(results[0])


def _filled(node: fx.Node, value: Any) -> fx.Node:
    like: Tensor = node.meta["val"]
    return Emitter(node)(aten.full.default, list(like.shape), value, dtype=like.dtype, device=like.device)


def _weight_norm(node: fx.Node) -> fx.Node:
    """A direction over its length, times a size."""
    emit = Emitter(node)
    direction, size, axis = (*arguments(node), 0)[:3]
    axes = [other for other in range(len(shape(direction))) if axis == -1 or other != axis]
    length = emit(aten.linalg_vector_norm.default, direction, 2, axes, True)
    return emit(aten.mul.Tensor, direction, emit(aten.div.Tensor, size, length))


def _attention(node: fx.Node, held: Collection[fx.Node]) -> fx.Node:
    """`softmax(q k' scale + mask) v`, in elementary operations; where the mask forbids, weights are set to 0 as well.

    That the weight is 0 says nothing new to numbers, but to whoever takes the softmax for something else.
    """
    emit = Emitter(node)
    given = named_arguments(node)
    query, key, value = (given[name] for name in ("query", "key", "value"))
    mask, scale = given.get("attn_mask"), given.get("scale")
    if given.get("enable_gqa"):
        repeats = shape(query)[-3] // shape(key)[-3]
        key, value = (emit(aten.repeat_interleave.self_int, part, repeats, -3) for part in (key, value))
    scores = emit(aten.matmul.default, query, emit(aten.transpose.int, key, -2, -1))
    scores = emit(aten.mul.Tensor, scores, 1 / math.sqrt(shape(query)[-1]) if scale is None else scale)
    allowed: fx.Node | None = None
    if given.get("is_causal"):
        rows, columns = shape(scores)[-2:]
        device = scores.meta["val"].device
        allowed = emit(
            aten.tril.default, emit(aten.full.default, [rows, columns], True, dtype=torch.bool, device=device)
        )
    elif mask is not None and mask.meta["val"].dtype == torch.bool:
        allowed = mask
    elif mask is not None:
        scores = emit(aten.add.Tensor, scores, mask)
        if _is_constant(mask, held):
            allowed = emit(aten.ne.Scalar, mask, -math.inf)
    if allowed is not None and (mask is None or mask.meta["val"].dtype == torch.bool):
        scores = emit(aten.masked_fill.Scalar, scores, emit(aten.logical_not.default, allowed), -math.inf)
    weights = emit(aten.softmax.int, scores, -1)
    if allowed is not None:
        weights = emit(aten.mul.Tensor, weights, allowed)
    return emit(aten.matmul.default, weights, value)


def _is_constant(node: fx.Node, held: Collection[fx.Node]) -> bool:
    """Whether a value depends on neither inputs nor parameters."""
    seen: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting.extend(current.all_input_nodes)
    return all(current in held for current in seen if current.op == "placeholder")
