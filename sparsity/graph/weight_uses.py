"""Where parameters take part in products with activations, and which of their axes are the units that they make."""

from dataclasses import dataclass

from torch import Tensor, fx

from sparsity.graph.meanings import MEANINGS, Meaning, Role, addend, factors, meaning
from sparsity.graph.nodes import arguments, named_arguments, packet_name
from sparsity.graph.trace import Trace


@dataclass(frozen=True)
class Layout:
    """How the units of a weight lie in it.

    Args:
        axis: 0 for `[units, inputs, ...]`, as of a Linear or Conv; 1 for `[inputs, units, ...]`, as of a transposed
            convolution, of `x @ weight` and of an embedding.
        groups: Of a transposed convolution, whose units are spread over groups of its inputs; 1 otherwise.
    """

    axis: int = 0
    groups: int = 1

    def by_unit(self, tensor: Tensor) -> Tensor:
        """A tensor shaped like the weight as `[units, what each reads]`."""
        if self.axis == 0 or tensor.ndim < 2:
            return tensor.reshape(len(tensor), -1) if tensor.ndim else tensor.reshape(1, 1)
        if self.groups == 1:
            return tensor.movedim(self.axis, 0).flatten(1)
        grouped = tensor.reshape(self.groups, -1, *tensor.shape[1:])  # [groups, inputs, units, ...]
        return grouped.movedim(2, 1).flatten(0, 1).flatten(1)


@dataclass(frozen=True)
class WeightUse:
    """One operation that a weight enters.

    Args:
        node: The operation, a product or a look-up.
        operand: What it is given: the parameter itself, or computed from it.
        parameter: Full name of the parameter.
        layout: Which axis of the parameter its units are.
    """

    node: fx.Node
    operand: fx.Node
    parameter: str
    layout: Layout


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
        for place, operand in places:
            origin = source(operand, trace) if of[operand] == Role.WEIGHT else None
            if origin is not None:
                layout = _layout(node, place, operand, origin)
                uses.append(WeightUse(node, operand, trace.parameters[origin], layout))
    return uses


def layouts(trace: Trace, of: dict[fx.Node, Role]) -> dict[str, Layout]:
    """By parameter how its units lie; of one that several operations take, as the first of them has it."""
    found: dict[str, Layout] = {}
    for use in weight_uses(trace, of):
        found.setdefault(use.parameter, use.layout)
    return found


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


def _layout(node: fx.Node, place: int, operand: fx.Node, origin: fx.Node) -> Layout:
    name = packet_name(node.target)
    if name == "embedding":
        return Layout(axis=1)
    if name.startswith("conv_transpose"):
        groups = named_arguments(node)["groups"]
        return Layout(1, int(groups))
    if name == "convolution" and arguments(node)[6]:
        return Layout(1, int(arguments(node)[8]))
    if _is_layer(node) or name in ("bilinear", "einsum"):
        return Layout(_same_axis(operand, 0, origin))
    given: Tensor = operand.meta["val"]
    on_the_left = place == (1 if addend(node) is not None else 0)
    return Layout(_same_axis(operand, max(given.ndim - 2, 0) if on_the_left else given.ndim - 1, origin))


def _is_layer(node: fx.Node) -> bool:
    name = packet_name(node.target)
    return name == "linear" or name.startswith("conv")


def _same_axis(operand: fx.Node, axis: int, origin: fx.Node) -> int:
    """Which axis of a parameter an axis of what is computed from it is, told by strides: 0 unless it is another."""
    node = operand
    while node is not origin:
        if meaning(node) not in (Meaning.MOVE, Meaning.IDENTITY):
            return 0
        node = node.all_input_nodes[0]
        if node.op == "placeholder" and node is not origin:
            return 0
    given, whole = operand.meta["val"], origin.meta["val"]
    if whole.ndim < 2 or given.ndim == 0 or not whole.is_contiguous():
        return 0
    stride = given.stride(axis)
    return next((i for i in range(whole.ndim) if stride and stride % whole.stride(i) == 0), 0)
