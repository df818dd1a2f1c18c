"""A network's graph rewritten so that nothing in it saturates, mixes or cuts: what synaptic flow runs on."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.meanings import Meaning, Role, addend, factor_nodes, factors, meaning, roles, unknown
from sparsity.graph.nodes import arguments, called, named_arguments, non_negative, packet_name, retyped, shape, value
from sparsity.graph.normal_form import drop_unread
from sparsity.graph.trace import Trace

aten = torch.ops.aten
DTYPE = torch.float64


@dataclass(frozen=True, eq=False)
class Linearised:
    """A rewritten graph.

    Args:
        graph: Takes the parameters, then the buffers, and returns all outputs of the network in a tuple.
        parameters: Full names of the parameters, in order.
        buffers: Full names of the buffers, in order.
        constants: By attribute of the graph's module what it holds.
        starts: Which of these are the ones that stand for the input.
    """

    graph: fx.Graph
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    constants: dict[str, Tensor]
    starts: frozenset[str]


def linearised(trace: Trace, device: torch.device) -> Linearised:
    """Rewrite a network's graph, see `sparsity.graph.flow.Flow`.

    Args:
        trace: A network's graph; left as it is.
        device: Where the graph is to run.

    Raises:
        SparsityError: If an operation is not known.
    """
    return _Rewriting(trace, device).result()


class _Rewriting:
    def __init__(self, trace: Trace, device: torch.device) -> None:
        self.trace = trace
        self.device = device
        self.roles = roles(trace)
        self.graph = fx.Graph()
        self.new: dict[fx.Node, Any] = {}
        self.constants: dict[str, Tensor] = {}
        self.starts: set[str] = set()
        self.equal_weights: set[fx.Node] = set()  # softmaxes that weigh, and what is made of them alone

    def result(self) -> Linearised:
        by_name: dict[str, fx.Node] = {}
        kinds: list[dict[fx.Node, str]] = [self.trace.parameters, self.trace.buffers]
        for kind in kinds:
            for node, name in kind.items():
                if node in self.trace.constants:
                    continue
                if name not in by_name:  # a tied parameter has several placeholders
                    by_name[name] = self.graph.placeholder(f"value_{len(by_name)}")
                self.new[node] = by_name[name]
        for node in self.trace.graph.nodes:
            if node in self.new or node.op == "output":
                continue
            self.new[node] = self._placeholder(node) if node.op == "placeholder" else self._operation(node)
        ends = [node for node in self.trace.outputs if self.roles[node] == Role.ACTIVATION]
        self.graph.output(tuple(self.new[node] for node in ends))
        drop_unread(self.graph)
        self.graph.lint()
        alive = {node.target for node in self.graph.nodes if node.op == "get_attr"}
        names = dict.fromkeys(self.trace.parameters.values())
        return Linearised(
            self.graph,
            tuple(name for name in by_name if name in names),
            tuple(name for name in by_name if name not in names),
            {name: held for name, held in self.constants.items() if name in alive},
            frozenset(self.starts),
        )

    def held(self, tensor: Tensor) -> fx.Node:
        """A tensor that the graph's module holds."""
        name = f"held_{len(self.constants)}"
        self.constants[name] = tensor.to(self.device, DTYPE if tensor.is_floating_point() else tensor.dtype)
        return self.graph.create_node("get_attr", name)

    def started(self, size: torch.Size) -> fx.Node:
        """Ones that stand for an input, or for what is made of labels."""
        found = self.held(torch.ones(size))
        self.starts.add(str(found.target))
        return found

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """An operation in the new graph."""
        return self.graph.call_function(operation, args, kwargs)

    def copied(self, node: fx.Node) -> Any:
        """The same operation on what its arguments have become."""
        args, kwargs = fx.map_arg((arguments(node), dict(node.kwargs)), self.new.__getitem__)
        args, kwargs = retyped((args, kwargs), self.device, DTYPE)
        found = self.call(non_negative(node), *args, **kwargs)
        made, read = value(node), [value(argument) for argument in node.all_input_nodes]
        if isinstance(made, Tensor) and made.is_floating_point() and not any(map(_is_floating, read)):
            return self.call(aten.to.dtype, found, DTYPE)  # whole numbers give the default precision
        return found

    def positive(self, argument: Any) -> Any:
        """A term or factor: parameters and activations are not negative, constants by their absolute value."""
        if not isinstance(argument, fx.Node):
            return abs(argument) if isinstance(argument, int | float) and not isinstance(argument, bool) else argument
        role = self.roles[argument]
        if role == Role.CONSTANT and value(argument).is_floating_point():
            return self.call(aten.abs.default, self.new[argument])
        return (
            self.call(aten.abs.default, self.new[argument]) if self._may_be_negative(argument) else self.new[argument]
        )

    def _may_be_negative(self, argument: fx.Node) -> bool:
        """Whether something was computed from parameters alone; they themselves are given by absolute value."""
        return self.roles[argument] == Role.WEIGHT and argument.op != "placeholder"

    def _placeholder(self, node: fx.Node) -> Any:
        if node in self.trace.constants:
            return self.held(self.trace.constants[node])
        if self.roles[node] == Role.ACTIVATION:
            return self.started(shape(node))
        found = value(node)
        return self.held(torch.zeros(found.shape, dtype=found.dtype)) if isinstance(found, Tensor) else None

    def _operation(self, node: fx.Node) -> Any:
        if self.roles[node] != Role.ACTIVATION:
            return self.copied(node)
        if node.target is operator.getitem:
            several = self.new[arguments(node)[0]]
            return several[arguments(node)[1]] if isinstance(several, tuple) else self.copied(node)
        active = [given for given in node.all_input_nodes if self.roles[given] == Role.ACTIVATION]
        if active and all(given in self.equal_weights for given in active):
            self.equal_weights.add(node)
        return _REWRITES[meaning(node)](self, node)


def _is_floating(given: Any) -> bool:
    tensors = given if isinstance(given, list | tuple) else (given,)
    return any(isinstance(tensor, Tensor) and tensor.is_floating_point() for tensor in tensors)


def _same(own: _Rewriting, node: fx.Node) -> Any:
    return own.copied(node)


def _first(own: _Rewriting, node: fx.Node) -> Any:
    """The identity, of what becomes a number only here ones."""
    first = arguments(node)[0]
    return own.new[first] if own.roles[first] == Role.ACTIVATION else own.started(shape(node))


def _product(own: _Rewriting, node: fx.Node) -> Any:
    args = list(arguments(node))
    for place, factor in factors(node):
        is_list = isinstance(factor, list | tuple)
        args[place] = [own.positive(one) for one in factor] if is_list else own.positive(factor)
    added = addend(node)
    args = [own.positive(arg) if arg is added else arg for arg in args]
    args = [own.new.get(arg, arg) if isinstance(arg, fx.Node) and arg.graph is not own.graph else arg for arg in args]
    kwargs = {key: own.new[item] if isinstance(item, fx.Node) else _unsigned(item) for key, item in node.kwargs.items()}
    product = own.call(node.target, *args, **kwargs)
    active = [given for given in factor_nodes(node) if own.roles[given] == Role.ACTIVATION]
    active = [given for given in active if given not in own.equal_weights]
    return _of_degree_one(own, product, [own.new[given] for given in active]) if len(active) > 1 else product


def _of_degree_one(own: _Rewriting, product: fx.Node, given: list[fx.Node]) -> fx.Node:
    """A product of activations over what makes it of degree one in them, which counts as a constant.

    It would grow with the square of its factors, and that of the next block with the fourth power: R of a network
    with a dozen gates passes any precision. Over a constant, each factor still has all of the product's flow.
    """
    for factor in given:
        size = own.call(aten.pow.Tensor_Scalar, own.call(aten.mean.default, factor), 1 - 1 / len(given))
        size = own.call(aten.detach.default, size)
        size = own.call(aten.add.Tensor, size, own.call(aten.eq.Scalar, size, 0))  # nothing flows through zeros
        product = own.call(aten.div.Tensor, product, size)
    return product


def _unsigned(item: Any) -> Any:
    return abs(item) if isinstance(item, int | float) and not isinstance(item, bool) else item


def _sum(own: _Rewriting, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name == "lerp":
        raise unknown(node, "write it as a sum")
    terms = [own.positive(argument) for argument in arguments(node)[:2]]
    if name in ("maximum", "minimum", "fmax", "fmin", "logaddexp"):
        return own.call(aten.add.Tensor, *terms)
    alpha = abs(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
    if name == "rsub":
        alpha = abs(arguments(node)[2]) if len(arguments(node)) > 2 else alpha
        return own.call(aten.add.Tensor, *reversed(terms), **({"alpha": alpha} if alpha != 1 else {}))
    is_node = isinstance(terms[0], fx.Node)
    terms = terms if is_node else terms[::-1]
    return own.call(aten.add.Tensor, *terms, **({"alpha": alpha} if alpha != 1 else {}))


def _reduction(own: _Rewriting, node: fx.Node) -> Any:
    """Sums and averages as they are; a largest or a norm too, which grow with what they are given."""
    name = packet_name(node.target)
    if name in ("max", "min") and len(arguments(node)) > 1 and isinstance(arguments(node)[1], fx.Node):
        return _sum(own, node)
    if name in ("var", "std", "var_mean", "logsumexp"):
        named = named_arguments(node)
        axes, keep = named.get("dim"), bool(named.get("keepdim", False))
        mean = own.call(aten.mean.dim, own.new[arguments(node)[0]], axes or [], keep)
        return (mean, mean) if name == "var_mean" else mean
    return own.copied(node)


def _function(own: _Rewriting, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name == "relu":  # where statistics of a BatchNorm shift below 0, as in the network itself
        return own.copied(node)
    if name == "glu":
        halves = own.call(aten.chunk.default, own.new[arguments(node)[0]], 2, (*arguments(node), -1)[1])
        both = [own.call(operator.getitem, halves, i) for i in range(2)]
        return _of_degree_one(own, own.call(aten.mul.Tensor, *both), both)
    if name in ("rsqrt", "reciprocal"):  # of a normalisation's statistics
        return own.call(aten.ones_like.default, own.new[arguments(node)[0]])
    first = _first(own, node)
    return first if isinstance(value(node), Tensor) else (first, None)


def _quotient(own: _Rewriting, node: fx.Node) -> Any:
    above, below = arguments(node)[:2]
    if isinstance(below, fx.Node) and own.roles[below] == Role.ACTIVATION:
        expanded = list(shape(node))
        return own.call(aten.expand.default, own.positive(above), expanded) if isinstance(above, fx.Node) else above
    return own.call(called(node), own.positive(above), own.positive(below))


def _power(own: _Rewriting, node: fx.Node) -> Any:
    base, exponent = arguments(node)[:2]
    activation = base if isinstance(base, fx.Node) and own.roles[base] == Role.ACTIVATION else exponent
    if isinstance(exponent, int | float) and exponent < 0:
        return own.call(aten.ones_like.default, own.new[activation])
    return own.call(aten.expand.default, own.new[activation], list(shape(node)))


def _normalisation(own: _Rewriting, node: fx.Node) -> Any:
    name = packet_name(node.target)
    named = named_arguments(node)
    if name == "batch_norm":
        return own.copied(node)
    flow = own.new[named["input"]]
    by_channel = name in ("group_norm", "instance_norm", "native_group_norm")
    for key, operation in (("weight", aten.mul.Tensor), ("bias", aten.add.Tensor)):
        vector = named.get(key)
        if vector is not None:
            vector = own.positive(vector)
            if by_channel:
                vector = own.call(aten.reshape.default, vector, [1, -1, *[1] * (len(shape(node)) - 2)])
            flow = own.call(operation, flow, vector)
    return flow if isinstance(value(node), Tensor) else (flow, None, None)


def _softmax(own: _Rewriting, node: fx.Node) -> Any:
    """Equal weights where activations are averaged with them, the identity where they are the result."""
    size, axis = shape(node), arguments(node)[1]
    if not _weighs(own, node):
        return own.new[arguments(node)[0]]
    own.equal_weights.add(node)
    return own.held(torch.full(size, 1 / max(size[axis] if size else 1, 1), dtype=DTYPE))


def _weighs(own: _Rewriting, node: fx.Node) -> bool:
    """Whether something that is made of a softmax is multiplied with activations, as attention does."""
    waiting, seen = list(node.users), {node}
    while waiting:
        user = waiting.pop()
        if user in seen or user.op == "output":
            continue
        seen.add(user)
        kind = meaning(user)
        if kind == Meaning.PRODUCT or kind == Meaning.SCALING:
            inside = [given for _, given in factors(user) if isinstance(given, fx.Node)]
            others = [given for given in inside if given not in seen]
            if any(own.roles[given] == Role.ACTIVATION for given in others):
                return True
            if kind == Meaning.PRODUCT:
                continue
        waiting.extend(user.users)
    return False


def _look_up(own: _Rewriting, node: fx.Node) -> Any:
    return own.started(shape(node))


def _selection(own: _Rewriting, node: fx.Node) -> Any:
    """As the condition says if it is a constant; both, if it depends on the input."""
    name = packet_name(node.target)
    condition = arguments(node)[1] if name == "masked_fill" else arguments(node)[0]
    if name == "masked_fill":
        chosen = own.new[arguments(node)[0]]
        if own.roles[condition] != Role.CONSTANT:
            return chosen
        return own.call(aten.masked_fill.Scalar, chosen, own.new[condition], 0.0)
    sources = [own.positive(argument) for argument in arguments(node)[1:3]]
    if own.roles[condition] != Role.CONSTANT:
        return own.call(aten.add.Tensor, *sources)
    return own.call(called(node), own.new[condition], *sources)


def _move(own: _Rewriting, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name == "fill":
        return (
            own.held(torch.full(shape(node), 1.0))
            if isinstance(arguments(node)[1], fx.Node)
            else own.held(torch.full(shape(node), abs(float(arguments(node)[1]))))
        )
    if any(own.roles[argument] == Role.LABEL for argument in node.all_input_nodes):
        return own.started(shape(node))
    return own.copied(node)


def _refused(own: _Rewriting, node: fx.Node) -> Any:
    raise unknown(node, "it makes numbers out of activations")


_REWRITES: dict[Meaning, Callable[[_Rewriting, fx.Node], Any]] = {
    Meaning.PRODUCT: _product,
    Meaning.SCALING: _product,
    Meaning.SUM: _sum,
    Meaning.REDUCTION: _reduction,
    Meaning.FUNCTION: _function,
    Meaning.OFFSET_FUNCTION: _function,
    Meaning.QUOTIENT: _quotient,
    Meaning.POWER: _power,
    Meaning.NORMALISATION: _normalisation,
    Meaning.SOFTMAX: _softmax,
    Meaning.WINDOW_MAXIMUM: _same,
    Meaning.LOOK_UP: _look_up,
    Meaning.SELECTION: _selection,
    Meaning.MOVE: _move,
    Meaning.IDENTITY: _first,
    Meaning.CONSTANT: _refused,
}
