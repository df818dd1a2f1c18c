"""Distances of layers and networks whose units have no fixed order: match the units, then compare."""

from functools import partial

import numpy as np
from torch import nn

from sparsity.analysis.assignment import assign, assign_breaking_ties
from sparsity.analysis.comparison.alignment import bray_curtis, matched_units, matching_of
from sparsity.analysis.comparison.measures import distance_measures
from sparsity.analysis.comparison.prepared import Align, Prepared
from sparsity.analysis.comparison.results import LayerDistance, NetworkDistance
from sparsity.errors import SparsityError
from sparsity.graph.chain import permute_inputs
from sparsity.graph.sample import Given
from sparsity.graph.weights import Array, FloatArray, IntArray, Weights, unit_vectors

_BLOCK = 16


def unit_distances(a: Array, b: Array, measure: str) -> FloatArray:
    """The distance of every unit of one layer to every unit of another.

    Args:
        a: Weights `[units_a, ...]`, a unit being a row or a filter.
        b: Weights `[units_b, ...]`, units as long as those of `a`.
        measure: The name of a `DistanceMeasure`: `nnstd`, Jaccard distance of the supports (Liu et al. 2020); `sasd`,
            the same where only positions of equal sign count as shared (Holler 2022); `maed`, `sum |a - b|` over the
            largest value that any order of the two vectors' weights gives it,
            `sum |sort_ascending(a) - sort_descending(b)|`; or one that was added to `MEASURES`.

    Returns:
        `[units_a, units_b]`, in [0, 1]; 0 for two units without weights.

    Raises:
        SparsityError: If the units' lengths differ or the measure is unknown.
    """
    known = distance_measures()
    if measure not in known:
        raise SparsityError(f"there is no distance called {measure!r}; there are {', '.join(known)}")
    rows, columns = unit_vectors(a), unit_vectors(b)
    if rows.shape[1] != columns.shape[1]:
        raise SparsityError(
            f"units of different lengths cannot be compared: {rows.shape[1]} and {columns.shape[1]} weights"
        )
    return known[measure].between_units(rows, columns)


def paired_distances(a: Array, b: Array, measure: str) -> FloatArray:
    """The distance of each unit of one layer to the unit in its place in another, `[units]`.

    Args:
        a: Weights `[units, ...]`.
        b: Weights of the same shape.
        measure: As in `unit_distances`.
    """
    # Of the distances of every two units, which measures give, only those in blocks on the diagonal are computed.
    blocks = range(0, len(a), _BLOCK)
    found = [np.diagonal(unit_distances(a[i : i + _BLOCK], b[i : i + _BLOCK], measure)) for i in blocks]
    return np.concatenate(found)


def vector_distance(a: Array, b: Array, measure: str) -> float:
    """The same distance of two arrays of one shape, each taken as a single vector; in [0, 1]."""
    return float(unit_distances(a.reshape(1, a.size), b.reshape(1, b.size), measure)[0, 0])


def layer_distance(a: Array, b: Array, measure: str) -> LayerDistance:
    """Match the units of two layers one to one at the lowest total distance, and compare.

    Args:
        a: Weights `[units, ...]`.
        b: Weights of the same shape.
        measure: As in `unit_distances`.

    Raises:
        SparsityError: If the shapes differ or the measure is unknown.
    """
    if a.shape != b.shape:
        raise SparsityError(
            f"layers are compared unit by unit and need one shape, not {list(a.shape)} and {list(b.shape)}"
        )
    cost = unit_distances(a, b, measure)
    return _compared(a, b, measure, cost, assign(cost))


def network_distance(
    a: nn.Module | Weights,
    b: nn.Module | Weights,
    measure: str,
    align: Align = "independent",
    input_shape: Given = None,
) -> NetworkDistance:
    """The mean distance of two networks' layers, paired in forward order.

    Args:
        a: A network, or effective weights by layer name.
        b: Another of the same layer shapes; its layers may have other names.
        measure: As in `unit_distances`.
        align: `independent` matches every layer by itself, its inputs in their given order. `propagate` follows
            the matchings (Liu et al. 2020): after units are matched, whatever reads them is put in the matched order
            before it is matched itself. Units that a network ties together, such as those of a residual stream, are
            matched once, as a group, and those whose places are given from outside, such as classes, are compared in
            place. Among equally good matchings the one wins whose units are connected most alike, so that a relabelled
            copy is at distance 0 in every layer (but for rare symmetric groups of units in networks whose weights are
            all equal). Bare weights are taken to be those of a chain.
        input_shape: The shape of one sample, or a sample, as in `sparsity.graph.sample`, for `propagate` through
            networks that do not say it.

    Raises:
        SparsityError: If the networks' layers differ in number or shape, the measure is unknown, or `propagate` is
            asked for networks that cannot be traced or bare weights that are not a chain.
    """
    return prepared_distance(Prepared(a, align, input_shape), Prepared(b, align, input_shape), measure)


def prepared_distance(a: Prepared, b: Prepared, measure: str) -> NetworkDistance:
    """The same of networks that are prepared, both for the same alignment."""
    shapes_a, shapes_b = ([list(weight.shape) for weight in one.weights.values()] for one in (a, b))
    if shapes_a != shapes_b:
        raise SparsityError(
            f"only networks with the same layer shapes can be compared; these have {shapes_a} and {shapes_b}"
        )
    if a.align == "propagate":
        distances = _propagated(a, b, measure) if a.is_chain and b.is_chain else _by_groups(a, b, measure)
    else:
        pairs = zip(a.weights.values(), b.weights.values(), strict=True)
        distances = [layer_distance(layer_a, layer_b, measure) for layer_a, layer_b in pairs]
    layers = dict(zip(a.weights, distances, strict=True))
    return NetworkDistance(layers, float(np.mean([layer.mean_matched for layer in distances])))


def _propagated(a: Prepared, b: Prepared, measure: str) -> list[LayerDistance]:
    distances: list[LayerDistance] = []
    for number, (layer_a, layer_b) in enumerate(zip(a.weights.values(), b.weights.values(), strict=True)):
        aligned = permute_inputs(layer_b, distances[-1].matching) if distances else layer_b
        cost = unit_distances(layer_a, aligned, measure)
        if number == len(a.weights) - 1:
            matching = np.arange(len(layer_a))
        else:
            matching = assign_breaking_ties(cost, partial(bray_curtis, a.fed[number], b.fed[number]))
        distances.append(_compared(layer_a, aligned, measure, cost, matching))
    return distances


def _by_groups(a: Prepared, b: Prepared, measure: str) -> list[LayerDistance]:
    first, second = a.units, b.units
    assert first is not None
    assert second is not None
    matchings, tensors = matched_units(first, second, distance_measures()[measure])
    distances = []
    for name in first.places:
        rows_a, rows_b = first.rows(name, first.tensors), second.rows(name, tensors)
        matched = paired_distances(rows_a, rows_b, measure)
        whole = vector_distance(rows_a, rows_b, measure)
        distances.append(LayerDistance(float(matched.mean()), whole, matching_of(second, name, matchings)))
    return distances


def _compared(a: Array, b: Array, measure: str, cost: FloatArray, matching: IntArray) -> LayerDistance:
    mean_matched = float(cost[np.arange(len(cost)), matching].mean())
    return LayerDistance(mean_matched, vector_distance(a, b[matching], measure), matching)
