"""From networks to their pictures."""

from collections.abc import Mapping
from functools import partial
from math import prod

import numpy as np
from torch import nn

from sparsity.analysis.comparison.networks import require_comparable
from sparsity.analysis.topology.connectivity import connectivity_and_masks
from sparsity.analysis.topology.density import densities
from sparsity.errors import SparsityError
from sparsity.graph.layers import without_parametrisations
from sparsity.graph.sample import Given, shape_of, trace_of
from sparsity.graph.weights import Array, BoolArray, FloatArray, IntArray, layer_masks, layer_weights
from sparsity.viewer.picture import (
    DEAD,
    MOST_DOTS,
    OFF_PATH,
    ON_PATH,
    Column,
    Counts,
    Edges,
    Picture,
    require_same_columns,
)
from sparsity.viewer.wiring import Layer, makers, note_makers, wiring

MOST_EDGES = 12_000
"""Drawn of a network: more are a haze, and take a browser longer than a glance."""
_MOST_MAP_VALUES = 400_000

_Shape = tuple[int, ...]


def pictures(
    networks: Mapping[str, nn.Module], input_shape: Given = None, most: int = MOST_EDGES
) -> dict[str, Picture]:
    """The pictures of one network, or of two of one architecture.

    Args:
        networks: One or two, by name; left unchanged. Of two, equal units are those of equal numbers: align them first.
        input_shape: As in `sparsity.graph.sample`.
        most: Edges of each, see `Picture.strongest`.

    Raises:
        SparsityError: If a network cannot be traced or what reaches what in it is not known, they differ in their
            layers, or there are more than two.
    """
    if len(networks) > 2:
        raise SparsityError(f"one network is shown, or two side by side, not {len(networks)}")
    masks = [layer_masks(network) for network in networks.values()]
    if len(networks) == 2:
        require_comparable(*networks.values())
    others = [dict(zip(mask, masks[1 - k].values(), strict=True)) if len(masks) == 2 else None
              for k, mask in enumerate(masks)]  # fmt: skip
    found = {
        name: picture(network, input_shape, other).strongest(most)
        for (name, network), other in zip(networks.items(), others, strict=True)
    }
    require_same_columns(found)
    return found


def picture(network: nn.Module, input_shape: Given = None, other: Mapping[str, BoolArray] | None = None) -> Picture:
    """The picture of a network, with all its edges.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `sparsity.graph.sample`.
        other: Masks of another network by the names of this one's layers, as of `layer_masks`, to be compared with.

    Raises:
        SparsityError: If the network has no layer, cannot be traced, or what reaches what in it is not known.
    """
    plain = without_parametrisations(network)
    shape = shape_of(plain, input_shape)
    wired, vertices = wiring(plain, trace_of(plain, input_shape))
    if not wired:
        raise SparsityError(
            f"no layer of {type(network).__name__} takes part in its forward pass; there is nothing to draw"
        )
    weights, masks = layer_weights(plain), layer_masks(plain)
    connectivity, effective = connectivity_and_masks(plain, input_shape)
    columns, dots, read = _columns(wired, vertices, shape)
    parts = []
    for name in wired:
        shared = None if other is None else masks[name] & other[name]
        parts.append(_edges(dots[name], read[name], weights[name], masks[name], effective[name], shared))
    edges = Edges(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
    count = columns[-1].first + columns[-1].dots
    by_dot = partial(np.bincount, minlength=count)
    counted, connected = densities(plain).layers, connectivity.layers
    alive = np.zeros(count, dtype=bool)
    alive[edges.source] = True  # of values that no layer here makes, those that are read
    for name in wired:
        layer = connected[name]
        alive[dots[name]] = False
        alive[dots[name][~(layer.no_input | layer.no_output)]] = True
    is_on_path = np.zeros(count, dtype=bool)
    is_on_path[edges.source[edges.on_path]] = is_on_path[edges.target[edges.on_path]] = True
    return Picture(
        columns=tuple(columns),
        edges=edges,
        all_edges=len(edges),
        ties=_ties(wired, dots, vertices),
        state=np.select([is_on_path, alive], [ON_PATH, OFF_PATH], DEAD).astype(np.uint8),
        fan_in=by_dot(edges.target, edges.kept).astype(np.intp),
        fan_out=by_dot(edges.source, edges.kept).astype(np.intp),
        layers={
            name: Counts(
                units=len(weights[name]),
                alive=len(weights[name]) - connected[name].dead,
                kept=counted[name].kept,
                size=counted[name].size,
                effective=connected[name].effective,
            )
            for name in wired
        },
        maps=_maps(wired, weights, shape),
        unused=tuple(name for name in weights if name not in wired),
    )


def _columns(
    wired: Mapping[str, Layer], vertices: int, shape: _Shape
) -> tuple[list[Column], dict[str, IntArray], dict[str, IntArray]]:
    """The columns; by layer the dot of each unit, `[units]`, and of each of its inputs, `[groups, inputs]`."""
    columns: list[Column] = []
    dots: dict[str, IntArray] = {}
    read: dict[str, IntArray] = {}
    values: dict[tuple[str, int], Column] = {}

    def added(name: str, units: int, is_layer: bool) -> Column:
        is_image = not is_layer and len(shape) == 3 and units == prod(shape) and prod(shape[1:]) > 1
        first = columns[-1].first + columns[-1].dots if columns else 0
        columns.append(Column(name, units, first, is_layer, (shape[0], shape[1], shape[2]) if is_image else None))
        return columns[-1]

    for name, layer in wired.items():
        sources = makers(layer, wired, dots, vertices)
        unknown = sources < 0
        if count := int(unknown.sum()):
            # Layers that read the input read all of it, each at its own vertices.
            what = ", ".join(layer.others) or f"inputs of {name}"
            if (what, count) not in values:
                values[what, count] = added(what, count, is_layer=False)
            sources[unknown] = values[what, count].dot_of_units()
        dots[name], read[name] = added(name, len(layer.makes), is_layer=True).dot_of_units(), sources
    return columns, dots, read


def _edges(
    targets: IntArray, sources: IntArray, weight: Array, mask: BoolArray, effective: BoolArray, shared: BoolArray | None
) -> Edges:
    """A layer's weights by pairs of dots.

    Args:
        targets: `[units]`, dots.
        sources: `[groups, inputs]`, dots.
        weight: `[units, inputs, ...]`, pruned weights 0.
        mask: Shaped like it.
        effective: Shaped like it.
        shared: Shaped like it; None without another network.
    """
    units, inputs, *area = weight.shape
    group_of = np.arange(units) // max(units // len(sources), 1)
    target_of, target = np.unique(targets, return_inverse=True)
    source_of, source = np.unique(sources, return_inverse=True)
    source = source.reshape(sources.shape)
    # Neighbours of one dot and group are added up first, which makes the most of weights few.
    starts = np.flatnonzero(np.diff(target * len(sources) + group_of, prepend=-1))
    target, group_of = target[starts], group_of[starts]

    def by_rows(values: Array) -> FloatArray:
        rows = np.add.reduceat(values.reshape(units, inputs, prod(area)), starts, axis=0, dtype=np.float64)
        kernels: FloatArray = rows.sum(axis=2)
        return kernels

    kept = by_rows(mask)
    row, place = np.nonzero(kept)
    pair = target[row] * len(source_of) + source[group_of[row], place]
    pairs = len(target_of) * len(source_of)
    found = np.flatnonzero(np.bincount(pair, minlength=pairs))

    def summed(rows: FloatArray) -> FloatArray:
        """Of all weights between two dots."""
        return np.bincount(pair, weights=rows[row, place], minlength=pairs)[found].astype(np.float64)

    units_in = np.zeros((len(target_of), len(sources)))
    np.add.at(units_in, (target, group_of), np.diff(starts, append=units))
    inputs_in = np.zeros((len(sources), len(source_of)))
    np.add.at(inputs_in, (np.arange(len(sources))[:, None], source), 1)
    sizes = prod(area) * (units_in @ inputs_in).flatten()
    return Edges(
        source=source_of[found % len(source_of)],
        target=target_of[found // len(source_of)],
        value=summed(by_rows(weight)),
        strength=summed(by_rows(np.abs(weight))),
        kept=summed(kept).astype(np.intp),
        size=sizes[found].astype(np.intp),
        on_path=summed(by_rows(effective)) > 0,
        shared=np.zeros(len(found), dtype=np.intp) if shared is None else summed(by_rows(shared)).astype(np.intp),
    )


def _ties(wired: Mapping[str, Layer], dots: Mapping[str, IntArray], vertices: int) -> IntArray:
    """Of units that several layers make, the dots: of one and of the next one of these layers."""
    maker = np.full(vertices, -1)
    found = []
    for name, layer in wired.items():
        before = maker[layer.makes]
        pairs = np.stack([before, dots[name]])[:, before >= 0]
        found.append(np.unique(pairs, axis=1))
        note_makers(maker, layer, dots[name])
    return np.concatenate(found, axis=1)


def _maps(wired: Mapping[str, Layer], weights: Mapping[str, Array], shape: _Shape) -> dict[str, FloatArray]:
    """The weights of layers that read nothing but images, where a dot is one unit and they are not too many to keep."""
    found = {}
    for name, layer in wired.items():
        weight = weights[name]
        if layer.before or layer.others != ("input",) or len(shape) != 3 or shape[0] not in (1, 3):
            continue
        if weight.ndim == 2 and weight.shape[1] == prod(shape):
            weight = weight.reshape(len(weight), *shape)
        is_map = weight.ndim == 4 and weight.shape[1] == shape[0] and prod(weight.shape[2:]) > 1
        if is_map and len(weight) <= MOST_DOTS and weight.size <= _MOST_MAP_VALUES:
            found[name] = weight.astype(np.float64)
    return found
