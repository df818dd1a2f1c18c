"""Networks that are a plain chain of layers: which ones are, and how the units of one layer show in the next."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch.fx
from torch import nn

from sparsity.errors import SparsityError
from sparsity.forward.passes import unchanged
from sparsity.graph.layers import analysed
from sparsity.graph.weights import Array, FloatArray, IntArray, Weights, as_weights, unit_vectors


def chain_weights(network: nn.Module | Weights) -> dict[str, Array]:
    """The weights of a network that is a plain chain: ungrouped layers, each of which feeds only the next.

    A network's forward pass is traced, so that branches and residual sums are seen. A map of weights shows nothing
    but shapes: whoever gives one vouches for the rest.

    Raises:
        SparsityError: Says where the chain breaks.
    """
    if isinstance(network, nn.Module):
        _require_chain(network)
    weights = as_weights(network)
    for (name, weight), (next_name, next_weight) in pairwise(weights.items()):
        if not _reads(next_weight, weight):
            raise SparsityError(
                f"layer {next_name!r} {list(next_weight.shape)} does not read just the {len(weight)} units of layer "
                f"{name!r}, so their matching cannot be propagated; use align='independent'"
            )
    return weights


def permute_inputs(weight: Array, matching: IntArray) -> Array:
    """A layer's weights for inputs in another order of units.

    Args:
        weight: `[out, in]` or `[out, in, kh, kw]`; after a flatten each of the n units feeds a block of `in / n`
            neighbouring inputs (PyTorch's channels-first order).
        matching: `[n]`, the unit that comes to each place.
    """
    blocks = weight.reshape(len(weight), len(matching), -1)
    return blocks[:, matching].reshape(weight.shape)


def outgoing_signatures(weights: Sequence[Array]) -> list[FloatArray]:
    """Describe what every hidden unit's outgoing weights lead to, whatever order the hidden units have.

    A relabelled copy of a network has the same descriptions in another order, so they can break ties between units
    with equal incoming weights. They add up strengths of paths, products of absolute weights: a unit is described by
    how strongly it feeds others, directly or through later layers, by what those others see of the network's input,
    and by the outputs it reaches (inputs and outputs keep their places in every copy).

    Args:
        weights: The layers of a chain, in order.

    Returns:
        One array `[units, n + 1 + outputs]` for every layer but the last, n being the weights of a first-layer unit.
        Rows are non-negative; a unit without outgoing weights has zeros.
    """
    strengths = [_strengths(weight, len(before)) for before, weight in pairwise(weights)]
    outputs, inputs = len(weights[-1]), math.prod(weights[0].shape[1:])
    seen = _scaled(_strengths(weights[0], inputs))
    targets = []
    for strength in strengths:
        targets.append(np.hstack([seen, np.ones((len(seen), 1)), np.zeros((len(seen), outputs))]))
        seen = _scaled(strength @ seen)
    targets.append(np.hstack([np.zeros((outputs, inputs)), np.ones((outputs, 1)), np.eye(outputs)]))
    feeds = [np.zeros_like(targets[-1])]
    for strength, target in zip(reversed(strengths), reversed(targets), strict=False):
        feeds.append(_scaled(strength.T @ (target + feeds[-1])))
    return feeds[:0:-1]


def _strengths(weight: Array, units_before: int) -> FloatArray:
    """How strongly each unit of the layer before feeds each unit, `[units, units_before]`, non-negative.

    Places in a kernel (or in a flattened map) and signs have factors of their own, all between 0.6 and 1.5, or
    units that differ in nothing else, as they do in binary and signed-constant networks, would look the same.
    """
    blocks = unit_vectors(weight).reshape(len(weight), units_before, -1)
    places = blocks.shape[2]
    factors = np.sqrt(1 + np.arange(places) / places)
    return cast(FloatArray, np.where(blocks > 0, blocks, -0.618 * blocks) @ factors)


def _scaled(strengths: FloatArray) -> FloatArray:
    """Scale to a maximum of 1: path strengths grow and shrink exponentially with depth."""
    largest = strengths.max(initial=0)
    return strengths / largest if largest > 0 else strengths


def _reads(weight: Array, before: Array) -> bool:
    inputs, units = weight.shape[1], len(before)
    flattened = weight.ndim == 2 and before.ndim > 2
    return inputs % units == 0 if flattened else inputs == units and weight.ndim <= before.ndim


def _require_chain(network: nn.Module) -> None:
    kind = type(network).__name__
    layers = list(analysed(network))
    try:
        with unchanged(network):
            graph = torch.fx.symbolic_trace(network).graph
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise SparsityError(
            f"the forward pass of {kind} cannot be traced to see whether it is a chain; use align='independent', "
            "or give layer_weights(network) if each layer feeds only the next"
        ) from error
    values = [node for node in graph.nodes if node.op != "output" and not _is_shape(node)]
    for node in values:
        inputs = [before for before in node.all_input_nodes if not _is_shape(before)]
        users = [after for after in node.users if not _is_shape(after)]
        if len(inputs) > 1 or len(users) > 1:
            raise SparsityError(
                f"{kind} is not a chain of layers (at {node.name!r} paths join or part, as in a residual network, "
                "which ties the order of several layers' units together); use align='independent'"
            )
    called = [node.target for node in values if node.op == "call_module" and node.target in layers]
    if called != layers:
        raise SparsityError(
            f"{kind} does not run its layers once each in the order in which it registers them; use align='independent'"
        )


def _is_shape(node: torch.fx.Node) -> bool:
    """Whether a traced value is a size, or computed from sizes, rather than activations."""
    if node.op == "call_method" and node.target in ("size", "dim"):
        return True
    if node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim"):
        return True
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(_is_shape(before) for before in inputs)
