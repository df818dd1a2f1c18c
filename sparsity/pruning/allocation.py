"""How many weights each layer keeps, when that is decided before looking at single weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import masked

Allocation = Literal["uniform", "erk", "balanced", "smart_ratio"]

LayerDensities = Allocation | Sequence[float] | Mapping[str, float]
"""A rule, or each layer's density in the order of the layers or by name."""


def allocate(
    network: nn.Module, density: float, allocation: LayerDensities, available: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The number of weights that each masked layer keeps; together exactly `round(density * N)`.

    Args:
        network: A network with masks. It counts as residual if a submodule is called `shortcut` or `downsample`.
        density: Kept fraction of all maskable weights, in (0, 1].
        allocation: A rule, or densities as in `explicit`.
        available: How many weights of each layer there are to choose from; by default all. What a layer lacks for its
            share goes to the others in proportion to theirs.

    Raises:
        SparsityError: If there is no such rule, or it cannot meet the density, see `smart_ratio` and `explicit`.
    """
    places = masked(network)
    shapes = {name: place.mask.shape for name, place in places.items()}
    layers = {name: place.layers for name, place in places.items()}
    counts = _allocate(network, shapes, layers, density, allocation)
    if available is None or all(count <= available[name] for name, count in counts.items()):
        return counts
    total = round(density * sum(_sizes(shapes).values()))
    if not isinstance(allocation, str) or total > sum(available.values()):
        name = next(name for name, count in counts.items() if count > available[name])
        raise SparsityError(
            f"the allocation keeps {counts[name]} weights of layer {name!r}, which has {available[name]} left; "
            "lower its density"
        )
    return _in_proportion({name: max(count, 1) for name, count in counts.items()}, available, total)


def _allocate(
    network: nn.Module,
    shapes: Mapping[str, Sequence[int]],
    layers: Mapping[str, int],
    density: float,
    allocation: LayerDensities,
) -> dict[str, int]:
    sizes = _sizes(shapes)
    match allocation:
        case "uniform":
            return uniform(sizes, density)
        case "erk":
            return erk(shapes, density, layers)
        case "balanced":
            return balanced(sizes, density)
        case "smart_ratio":
            modules = {name.rpartition(".")[2] for name, _ in network.named_modules()}
            return smart_ratio(shapes, density, residual=not modules.isdisjoint({"shortcut", "downsample"}))
        case str():
            raise SparsityError(
                f"no allocation is called {allocation!r}; choose uniform, erk, balanced or smart_ratio, "
                "or give each layer's density"
            )
    return explicit(sizes, allocation, density)


def uniform(sizes: Mapping[str, int], density: float) -> dict[str, int]:
    """The same density in every layer; together exactly `round(density * N)` weights.

    Args:
        sizes: Number of weights of each layer.
        density: Kept fraction, in (0, 1].
    """
    ideal = {name: density * size for name, size in sizes.items()}
    return largest_remainder(ideal, round(density * sum(sizes.values())))


def balanced(sizes: Mapping[str, int], density: float) -> dict[str, int]:
    """The same number of weights in every layer (Gadhikar et al. 2023); together exactly `round(density * N)`.

    A layer that is too small for its share is dense, and the others share the rest.

    Args:
        sizes: Number of weights of each layer.
        density: Kept fraction, in (0, 1].
    """
    return _in_proportion(dict.fromkeys(sizes, 1), sizes, round(density * sum(sizes.values())))


def erk(shapes: Mapping[str, Sequence[int]], density: float, layers: Mapping[str, int] | None = None) -> dict[str, int]:
    """Erdos-Renyi-Kernel: densities in proportion to `sum(shape) / prod(shape)` (Evci et al. 2020, section 3).

    Layers that would pass density 1 are dense, and the others share the rest. Together exactly `round(density * N)`.

    Args:
        shapes: Each layer's weight shape, `[out, in]` or `[out, in, height, width]`; a 1x1 kernel adds 1 + 1.
        density: Kept fraction, in (0, 1].
        layers: How many layers stand one below the other in a weight, such as the gates of a recurrent one, each of
            which has a density of its own by the rule; by default one.
    """
    sizes = _sizes(shapes)
    # A density in proportion to sum / prod is a number of weights in proportion to the sum.
    parts = {name: 1 if layers is None else layers[name] for name in shapes}
    sums = {name: parts[name] * (shape[0] // parts[name] + sum(shape[1:])) for name, shape in shapes.items()}
    return _in_proportion(sums, sizes, round(density * sum(sizes.values())))


def smart_ratio(shapes: Mapping[str, Sequence[int]], density: float, residual: bool) -> dict[str, int]:
    """Densities that fall with depth, in proportion to `(L-l+1)^2 + (L-l+1)` for layer l of L (Su et al. 2020).

    The last Linear keeps 30 %. What would pass density 1 goes to the layers that follow, the last Linear at the end.
    Together exactly `round(density * N)` weights.

    Args:
        shapes: Each layer's weight shape, in the order of the network; those of two dimensions are Linear.
        density: Kept fraction, in (0, 1].
        residual: Whether the network is a ResNet; for others the authors' program also divides by `l^2`.

    Raises:
        SparsityError: If 30 % of the last Linear are more than the density leaves altogether.
    """
    sizes = _sizes(shapes)
    total = round(density * sum(sizes.values()))
    depth = len(shapes)
    wanted = {
        name: sizes[name] * ((depth - layer + 1) ** 2 + (depth - layer + 1)) / (1 if residual else layer**2)
        for layer, name in enumerate(shapes, 1)
    }
    fixed: dict[str, float] = {}
    last_linear = next((name for name in reversed(list(shapes)) if len(shapes[name]) == 2), None)
    if last_linear is not None and depth > 1:
        del wanted[last_linear]
        fixed[last_linear] = 0.3 * sizes[last_linear]
        if fixed[last_linear] > total:
            raise SparsityError(
                f"smart_ratio keeps 30 % of the last Linear {last_linear!r}, {fixed[last_linear]:.1f} weights, and "
                f"density {density:g} leaves {total} in the whole network; raise it, or choose another allocation"
            )
    scale = (total - sum(fixed.values())) / sum(wanted.values())
    ideal: dict[str, float] = {}
    excess = 0.0
    for name, number in ({name: scale * number for name, number in wanted.items()} | fixed).items():
        ideal[name] = min(number + excess, sizes[name])
        excess += number - ideal[name]
    return largest_remainder({name: ideal[name] for name in shapes}, total)


def explicit(
    sizes: Mapping[str, int], densities: Sequence[float] | Mapping[str, float], density: float
) -> dict[str, int]:
    """Densities decided elsewhere, such as those of a published network; together exactly `round(density * N)`.

    Args:
        sizes: Number of weights of each layer.
        densities: Of every layer, in [0, 1], by name or in the order of `sizes`.
        density: Kept fraction, in (0, 1]; what the densities amount to, up to rounding each layer's number.

    Raises:
        SparsityError: If densities do not name each layer once, one is not in [0, 1], or they amount to another
            density.
    """
    if not isinstance(densities, Mapping):
        if len(densities) != len(sizes):
            raise SparsityError(
                f"the allocation has {len(densities)} densities for {len(sizes)} layers; "
                f"give one for each of {list(sizes)}"
            )
        densities = dict(zip(sizes, densities, strict=True))
    if different := sorted(densities.keys() ^ sizes.keys()):
        raise SparsityError(
            f"the allocation {'misses' if different[0] in sizes else 'has no use for'} layer {different[0]!r}; "
            f"give a density for each of {list(sizes)}"
        )
    for name, value in densities.items():
        if not 0 <= value <= 1:
            raise SparsityError(f"the allocation's density of layer {name!r} must be in [0, 1], not {value}")
    ideal = {name: densities[name] * size for name, size in sizes.items()}
    total = round(density * sum(sizes.values()))
    if not sum(map(math.floor, ideal.values())) <= total <= sum(map(math.ceil, ideal.values())):
        amount = sum(ideal.values()) / sum(sizes.values())
        raise SparsityError(
            f"the allocation's densities amount to {amount:.10g} of the network's weights, not to the density "
            f"{density:g}; set density to {amount:.10g}"
        )
    return largest_remainder(ideal, total)


def largest_remainder(ideal: Mapping[str, float], total: int) -> dict[str, int]:
    """Round numbers to integers that sum to `total`: all down, then the largest remainders up.

    Args:
        ideal: Non-negative numbers, of which `total` is a sum with each rounded up or down, up to float error.
        total: The sum wanted.

    Returns:
        One integer per name, each within 1 of its ideal; a whole number stays as it is.
    """
    values = np.fromiter(ideal.values(), dtype=np.float64)
    counts = np.floor(values).astype(np.int64)
    missing = total - int(counts.sum())
    by_remainder = np.argsort(counts - values, kind="stable")
    counts[by_remainder[:missing]] += 1
    return dict(zip(ideal, counts.tolist(), strict=True))


def _in_proportion(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Share out `total` weights in proportion to positive shares, where layers that would be over-full are full."""
    ideal: dict[str, float] = {}
    rest = dict(shares)
    while rest:
        factor = (total - sum(ideal.values())) / sum(rest.values())
        full = {name for name, share in rest.items() if factor * share >= sizes[name]}
        if not full:
            ideal |= {name: factor * share for name, share in rest.items()}
            break
        ideal |= {name: sizes[name] for name in full}
        rest = {name: share for name, share in rest.items() if name not in full}
    return largest_remainder({name: ideal[name] for name in sizes}, total)


def _sizes(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    return {name: math.prod(shape) for name, shape in shapes.items()}
