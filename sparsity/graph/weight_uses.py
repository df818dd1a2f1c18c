"""Where parameters take part in products with activations."""

from dataclasses import dataclass

from torch import fx

from sparsity.graph.meanings import MEANINGS, Meaning, Role, factors
from sparsity.graph.nodes import arguments, packet_name
from sparsity.graph.trace import Trace


@dataclass(frozen=True)
class WeightUse:
    """One operation that a weight enters.

    Args:
        node: The operation, a product or a look-up.
        operand: What it is given: the parameter itself, or computed from it.
        parameter: Full name of the parameter.
    """

    node: fx.Node
    operand: fx.Node
    parameter: str


def weight_uses(trace: Trace, of: dict[fx.Node, Role]) -> list[WeightUse]:
    """The operations in which a weight meets activations, in the order of the forward pass.

    Args:
        trace: A network's graph.
        of: Its `roles`.
    """
    uses = []
    for node in trace.graph.nodes:
        if node.op != "call_function":
            continue
        kind = MEANINGS.get(packet_name(node.target))
        if kind == Meaning.LOOK_UP:
            places: list[tuple[int, fx.Node]] = [(0, arguments(node)[0])]
        elif kind == Meaning.PRODUCT:
            given = factors(node)
            if isinstance(given[0][1], list | tuple):
                given = tuple(enumerate(given[0][1]))
            places = [(place, factor) for place, factor in given if isinstance(factor, fx.Node)]
        else:
            continue
        if of[node] == Role.WEIGHT:  # a layer that reads a constant, such as an initial state of zeros
            places = [given for given in places if kind == Meaning.LOOK_UP or (given[0] == 1 and _is_layer(node))]
        elif of[node] != Role.ACTIVATION:
            continue
        for _, operand in places:
            origin = source(operand, trace) if of[operand] == Role.WEIGHT else None
            if origin is not None:
                uses.append(WeightUse(node, operand, trace.parameters[origin]))
    return uses


def source(operand: fx.Node, trace: Trace) -> fx.Node | None:
    """The largest parameter that a value without inputs is computed from; None if there is none."""
    seen: set[fx.Node] = set()
    waiting = [operand]
    found = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        waiting.extend(node.all_input_nodes)
        if node in trace.parameters:
            found.append(node)
    return max(found, key=lambda node: int(node.meta["val"].numel()), default=None)


def _is_layer(node: fx.Node) -> bool:
    name = packet_name(node.target)
    return name == "linear" or name.startswith("conv")
