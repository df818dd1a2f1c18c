"""Which unit reads which, layer by layer in the order of the forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import fx, nn

from sparsity.graph.layers import analysed, parameter_names
from sparsity.graph.meanings import roles
from sparsity.graph.trace import Trace
from sparsity.graph.unit_vertices import Vertices, unit_vertices
from sparsity.graph.weight_uses import WeightUse, weight_uses
from sparsity.graph.weights import IntArray


@dataclass(frozen=True, eq=False)
class Layer:
    """What a layer reads and makes.

    Args:
        makes: `[units]`, vertices as of `unit_vertices`.
        reads: `[groups, inputs]`, vertices; one group but for grouped convolutions.
        before: Layers whose units may be among them, in the order of the forward pass: between here and there is no
            other layer.
        others: What else it reads: `input`, and full names of parameters that are no layers, such as tables of
            embeddings.
    """

    makes: Vertices
    reads: Vertices
    before: tuple[str, ...]
    others: tuple[str, ...]


def wiring(network: nn.Module, trace: Trace) -> tuple[dict[str, Layer], int]:
    """The layers of a network in the order of the forward pass.

    Args:
        network: Without parametrisations; left unchanged.
        trace: Its graph.

    Returns:
        By name the layers that take part, a tied one once; and how many vertices there are.
    """
    names = parameter_names(network)
    places = {names[place.weight]: place for place in reversed(analysed(network).values())}
    uses = weight_uses(trace, roles(trace))
    order = [name for name in dict.fromkeys(use.parameter for use in uses) if name in places]
    layer_of = {name: places[name].name for name in order}
    ends, count = unit_vertices(trace, {name: tuple(places[name].weight.shape) for name in order})
    read = _read_by(trace, uses)
    found: dict[str, Layer] = {}
    for name in order:
        rows, columns = ends[name]
        groups = len(columns)
        is_transposed = places[name].unit_axis == 1
        found[layer_of[name]] = Layer(
            makes=columns.flatten() if is_transposed else rows,
            reads=rows.reshape(groups, -1) if is_transposed else columns,
            before=tuple(layer for layer in found if layer in {layer_of.get(one) for one in read[name]}),
            others=tuple(one for one in read[name] if one not in layer_of),
        )
    return found, count


def _read_by(trace: Trace, uses: list[WeightUse]) -> Mapping[str, list[str]]:
    """By parameter, whose products it reads, without another in between; `input` for the network's own input."""
    made_by = {use.node: use.parameter for use in uses}
    found: dict[str, dict[str, None]] = {}
    for use in uses:
        reached = found.setdefault(use.parameter, {})
        waiting, seen = list(use.node.all_input_nodes), set[fx.Node]()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in made_by:
                reached[made_by[node]] = None
            elif node in trace.inputs:
                reached["input"] = None
            else:
                waiting.extend(node.all_input_nodes)
    return {name: sorted(reached) for name, reached in found.items()}


def makers(layer: Layer, wired: Mapping[str, Layer], dots: Mapping[str, IntArray], count: int) -> IntArray:
    """The dot behind each of a layer's inputs: in the last layer before it that makes it.

    Args:
        layer: That reads.
        wired: All layers, by name.
        dots: By layer the dot of each unit.
        count: Of all vertices.

    Returns:
        `[groups, inputs]`; -1 where no layer before makes what is read.
    """
    maker = np.full(count, -1)
    for name in layer.before:
        note_makers(maker, wired[name], dots[name])
    found = maker[layer.reads]
    # A single unit is the same wherever it stands, and so is tied to no place: what nothing else made is its.
    single = [name for name in layer.before if len(wired[name].makes) == 1]
    if single and not layer.others:
        found[found < 0] = dots[single[-1]][0]
    return found


def note_makers(maker: IntArray, layer: Layer, dots: IntArray) -> None:
    """Write the dots of a layer's units at their vertices; of several at one vertex, as of gates, the first."""
    maker[layer.makes[::-1]] = dots[::-1]
