"""Networks that are a plain chain of layers: how the units of one layer show in the next."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, FloatArray, IntArray, Weights, unit_vectors


def require_chain(weights: Weights) -> None:
    """Refuse weights that cannot be those of a plain chain: ungrouped layers, each of which feeds only the next.

    They show nothing but shapes: whoever gives them vouches for the rest.

    Raises:
        SparsityError: Says where the chain breaks.
    """
    for (name, weight), (next_name, next_weight) in pairwise(weights.items()):
        if not _reads(next_weight, weight):
            raise SparsityError(
                f"layer {next_name!r} {list(next_weight.shape)} does not read just the {len(weight)} units of layer "
                f"{name!r}, so their matching cannot be propagated; use align='independent', or give the network"
            )


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
    strengths = [_fed(weight, len(before)) for before, weight in pairwise(weights)]
    outputs, inputs = len(weights[-1]), math.prod(weights[0].shape[1:])
    seen = scaled(_fed(weights[0], inputs))
    targets = []
    for strength in strengths:
        targets.append(np.hstack([seen, np.ones((len(seen), 1)), np.zeros((len(seen), outputs))]))
        seen = scaled(strength @ seen)
    targets.append(np.hstack([np.zeros((outputs, inputs)), np.ones((outputs, 1)), np.eye(outputs)]))
    feeds = [np.zeros_like(targets[-1])]
    for strength, target in zip(reversed(strengths), reversed(targets), strict=False):
        feeds.append(scaled(strength.T @ (target + feeds[-1])))
    return feeds[:0:-1]


def _fed(weight: Array, units_before: int) -> FloatArray:
    """How strongly each unit of the layer before feeds each unit, `[units, units_before]`, non-negative.

    Places in a kernel (or in a flattened map) and signs have factors of their own, all between 0.6 and 1.5, or
    units that differ in nothing else, as they do in binary and signed-constant networks, would look the same.
    """
    blocks = unit_vectors(weight).reshape(len(weight), units_before, -1)
    return connection_strengths(blocks) @ place_factors(blocks.shape[2])


def connection_strengths(weights: FloatArray) -> FloatArray:
    """Non-negative, with a factor for the sign: units that differ in nothing else would look the same."""
    return np.where(weights > 0, weights, -0.618 * weights)


def place_factors(places: int) -> FloatArray:
    """A factor of its own for each of some places, `[places]`, between 1 and 1.5."""
    return np.sqrt(1 + np.arange(places) / places)


def scaled(strengths: FloatArray) -> FloatArray:
    """Scale to a maximum of 1: path strengths grow and shrink exponentially with depth."""
    largest = strengths.max(initial=0)
    return strengths / largest if largest > 0 else strengths


def _reads(weight: Array, before: Array) -> bool:
    inputs, units = weight.shape[1], len(before)
    flattened = weight.ndim == 2 and before.ndim > 2
    return inputs % units == 0 if flattened else inputs == units and weight.ndim <= before.ndim
