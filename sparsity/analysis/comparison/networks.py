"""Comparing several networks pair by pair: distances, overlaps, correlations."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, combinations

from torch import Tensor, nn

from sparsity.analysis.activations.correlation import correlations_of
from sparsity.analysis.activations.responses import Point
from sparsity.analysis.activations.similarity import similarities_of
from sparsity.analysis.activations.statistics import response_statistics
from sparsity.analysis.comparison.distance import prepared_distance
from sparsity.analysis.comparison.measures import distance_measures
from sparsity.analysis.comparison.overlap import MaskOverlap, overlap_of_masks
from sparsity.analysis.comparison.prepared import Align, Prepared
from sparsity.analysis.comparison.results import Comparison, NetworkDistance, Pair
from sparsity.errors import SparsityError
from sparsity.forks import in_forks
from sparsity.graph.layers import analysed
from sparsity.graph.sample import Given, trace_of

Names = tuple[str, str]

_BATCH = 32
_SHARES = 16
"""So many parts all pairs are compared in, side by side."""


def comparable_groups(networks: Mapping[str, nn.Module]) -> list[dict[str, nn.Module]]:
    """Sort networks into groups of equal layer shapes, within which they can be compared.

    Args:
        networks: By name.
    """
    groups: dict[tuple[tuple[int, ...], ...], dict[str, nn.Module]] = {}
    for name, network in networks.items():
        groups.setdefault(_shapes(network), {})[name] = network
    return list(groups.values())


def require_comparable(a: nn.Module, b: nn.Module) -> None:
    """Refuse networks whose layers differ.

    Raises:
        SparsityError: Names the first layer that differs.
    """
    layers_a, layers_b = list(analysed(a)), list(analysed(b))
    shapes_a, shapes_b = _shapes(a), _shapes(b)
    if len(shapes_a) != len(shapes_b):
        raise SparsityError(f"one network has {len(shapes_a)} masked layers and the other {len(shapes_b)}")
    for name_a, name_b, shape_a, shape_b in zip(layers_a, layers_b, shapes_a, shapes_b, strict=True):
        if shape_a != shape_b:
            raise SparsityError(
                f"layer {name_a!r} is shaped {list(shape_a)} in one network, and {name_b!r} in the other "
                f"{list(shape_b)}"
            )


def require_alignable(networks: Mapping[str, nn.Module], align: Align, input_shape: Given = None) -> None:
    """Refuse `align='propagate'` for networks that cannot be traced, before anything is computed.

    Args:
        networks: By name.
        align: As in `network_distance`.
        input_shape: As in `network_distance`.

    Raises:
        SparsityError: Names the network, and says why.
    """
    if align != "propagate":
        return
    for name, network in networks.items():
        _require_traceable(name, network, input_shape)


def compare(
    networks: Mapping[str, nn.Module],
    images: Tensor | None = None,
    align: Align = "independent",
    point: Point = "post",
    track: Callable[[Sequence[Names]], Iterable[Names]] = iter,
    input_shape: Given = None,
) -> Comparison:
    """Compare every two of some networks.

    Args:
        networks: Two or more by name, all with the same layer shapes; left unchanged.
        images: `[n, *input_shape]`, on which activations are compared; none, and they are not.
        align: How units are matched, as in `network_distance`.
        point: Where activations are taken, as in `responses`.
        input_shape: As in `network_distance`.
        track: Passes on the pairs' names one by one; for a progress bar.

    Raises:
        SparsityError: If the networks' layers differ, or `propagate` is asked for networks that cannot be traced.
    """
    names = list(networks)
    prepared = {name: Prepared(network, align, input_shape) for name, network in networks.items()}
    statistics = None if images is None else response_statistics(networks, images, point, _BATCH)
    correlations = None if statistics is None else correlations_of(statistics)
    similarities = None if statistics is None else similarities_of(statistics)
    for one in prepared.values():
        one.read()
    pairs = list(combinations(names, 2))
    size = max(1, math.ceil(len(pairs) / _SHARES))
    shares = [[(prepared[a], prepared[b]) for a, b in pairs[i : i + size]] for i in range(0, len(pairs), size)]
    differences = chain.from_iterable(in_forks([partial(_differences, share) for share in shares]))
    found = [
        Pair(
            a=a,
            b=b,
            distances=distances,
            overlap=overlap,
            correlation=None if correlations is None else correlations[a, b],
            similarity=None if similarities is None else similarities[a, b],
        )
        for (a, b), (distances, overlap) in zip(track(pairs), differences, strict=True)
    ]
    return Comparison(tuple(names), tuple(analysed(networks[names[0]])), tuple(found))


def _differences(pairs: Sequence[tuple[Prepared, Prepared]]) -> list[tuple[dict[str, NetworkDistance], MaskOverlap]]:
    """What the weights of two networks differ in, for each of some pairs."""
    return [
        (
            {measure: prepared_distance(first, second, measure) for measure in distance_measures()},
            overlap_of_masks(first.masks, second.masks),
        )
        for first, second in pairs
    ]


def _shapes(network: nn.Module) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(place.shape) for place in analysed(network).values())


def _require_traceable(name: str, network: nn.Module, input_shape: Given) -> None:
    try:
        trace_of(network, input_shape)
    except SparsityError as error:
        raise SparsityError(f"{name}: {error}; use align='independent'") from error
