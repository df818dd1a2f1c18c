"""Between which two numbers every value of a forward pass lies, whatever the input is.

Interval arithmetic over the graph (Moore 1966), in float64. Where both bounds are equal the value is a constant: that
of a unit all of whose inputs are pruned, of one that reads such units alone, and of a ReLU in front of which nothing
can be positive. A rule that knows less than there is to know gives wider bounds, never wrong ones.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor, fx

from sparsity.graph.intervals import Bounds, Intervals, linear, may_be_there, mended, times, unbounded, unknown
from sparsity.graph.meanings import Meaning, Role, addend, known_meaning, roles
from sparsity.graph.nodes import arguments, called, named_arguments, packet_name, retyped, shape
from sparsity.graph.trace import Trace


def bounds(trace: Trace, state: Mapping[str, Tensor]) -> dict[fx.Node, Any]:
    """The bounds of all values of a traced network.

    Args:
        trace: A network's graph.
        state: Parameters and buffers by full name.

    Returns:
        By node `Bounds` of what depends on the input as numbers, the value itself of what does not depend on it,
        None of labels and of what is no tensor; tuples where an operation returns several.
    """
    run = _Pass(trace)
    run.read(state)
    return run.values


def numbers(trace: Trace, state: Mapping[str, Tensor]) -> dict[fx.Node, Any]:
    """The values of a traced network that do not depend on the input, floating-point ones in float64.

    Args:
        trace: A network's graph.
        state: Parameters and buffers by full name.
    """
    run = _Pass(trace)
    run.read(state, activations=False)
    return run.values


class _Pass(Intervals):
    def __init__(self, trace: Trace) -> None:
        super().__init__(roles(trace))
        self.trace = trace

    def read(self, state: Mapping[str, Tensor], activations: bool = True) -> None:
        device = next((tensor.device for tensor in state.values()), torch.device("cpu"))
        with torch.no_grad():
            for node in self.trace.graph.nodes:
                if node.op == "output" or (self.roles[node] == Role.ACTIVATION and not activations):
                    continue
                is_given = node.op == "placeholder"
                self.values[node] = self._placeholder(node, state) if is_given else self._run(node, device)

    def _placeholder(self, node: fx.Node, state: Mapping[str, Tensor]) -> Any:
        role, trace = self.roles[node], self.trace
        if role == Role.ACTIVATION:
            return unbounded(node)
        if role == Role.LABEL:
            return None
        name = trace.parameters.get(node) or trace.buffers.get(node)
        value = trace.constants[node] if node in trace.constants else state[name] if name is not None else None
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    def _run(self, node: fx.Node, device: torch.device) -> Any:
        role = self.roles[node]
        if role == Role.LABEL:
            return None
        if role != Role.ACTIVATION:
            return self._evaluated(node, device)
        rule = _RULES.get(known_meaning(node) or Meaning.CONSTANT, unknown)
        try:
            found = rule(self, node)
        except (RuntimeError, TypeError, IndexError):  # an overload of which the rule does not know
            found = unbounded(node)
        return mended(found)

    def _evaluated(self, node: fx.Node, device: torch.device) -> Any:
        args, kwargs = retyped(
            fx.map_arg((arguments(node), dict(node.kwargs)), self.values.__getitem__), device, torch.float64
        )
        found = called(node)(*args, **kwargs)
        return found.double() if isinstance(found, Tensor) and found.is_floating_point() else found


def _monotone(run: Intervals, node: fx.Node) -> Any:
    """An operation that never falls where its first argument rises."""
    source = run.both(arguments(node)[0])
    if source is None:
        return unbounded(node)
    low, high = run.applied(node, source.low), run.applied(node, source.high)
    if isinstance(low, Tensor):
        return Bounds(low, high)
    return tuple(Bounds(a, b) if a.is_floating_point() else None for a, b in zip(low, high, strict=True))


_RISING = frozenset(
    """relu relu6 hardtanh elu celu selu tanh softshrink hardshrink sinh atan asinh erf sign sgn floor ceil round trunc
    expm1 nan_to_num sigmoid exp exp2 softplus hardsigmoid log_sigmoid""".split()  # noqa: SIM905
)
_CLAMPS = frozenset(["clamp", "clamp_min", "clamp_max", "clip"])
_AT_LEAST = {"gelu": -0.17, "silu": -0.2785, "mish": -0.309, "hardswish": -0.375, "abs": 0.0, "square": 0.0,
             "sqrt": 0.0, "rsqrt": 0.0}  # fmt: skip
"""What no value of a function is below; the lowest of GELU is -0.16997 (of its approximation -0.1700), of SiLU
-0.27846, of Mish -0.30884."""
_DIPS = frozenset(["gelu", "silu", "mish", "hardswish"])
"""Functions that rise from 0 on."""


def _function(run: Intervals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    source = run.both(arguments(node)[0])
    if source is None or name == "glu":
        return unknown(run, node)
    numbers = all(not isinstance(argument, fx.Node) for argument in arguments(node)[1:])
    if name in _RISING or (name in _CLAMPS and numbers) or (name == "leaky_relu" and _slope(node) >= 0):
        return _monotone(run, node)
    if not numbers or len(node.all_input_nodes) > 1:
        return unknown(run, node)
    lowest = _AT_LEAST.get(name, -inf) - 1e-3 * (name in _DIPS)
    low, high = torch.full_like(source.low, lowest), torch.full_like(source.high, inf)
    at_low, at_high = run.applied(node, source.low), run.applied(node, source.high)
    if not isinstance(at_low, Tensor):
        return unbounded(node)
    if name in _DIPS:
        rising = source.low >= 0
        low = torch.where(rising, at_low, low)
        high = torch.where(source.high >= 0, at_high, 0.0)
    constant = source.is_constant
    return Bounds(torch.where(constant, at_low, low), torch.where(constant, at_low, high))


def _slope(node: fx.Node) -> float:
    slope = named_arguments(node)["negative_slope"]
    return float(slope) if isinstance(slope, int | float) else -1.0


def _sum(run: Intervals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    a, b = (run.both(argument) for argument in arguments(node)[:2])
    if a is None or b is None:
        return unbounded(node)
    alpha = named_arguments(node).get("alpha", 1)
    if name == "rsub":
        a, b, name = b, a, "sub"
    if not isinstance(alpha, int | float):
        return unbounded(node)
    sign = -1 if name in ("sub", "subtract") else 1
    if name in ("add", "sub", "subtract"):
        scaled = times(b, Bounds(*(torch.tensor(float(sign * alpha), dtype=torch.float64),) * 2))
        return Bounds(a.low + scaled.low, a.high + scaled.high)
    if name in ("maximum", "minimum", "fmax", "fmin"):
        choose = torch.maximum if "max" in name else torch.minimum
        return Bounds(choose(a.low, b.low), choose(a.high, b.high))
    return unknown(run, node)


def _scaling(run: Intervals, node: fx.Node) -> Any:
    a, b = (run.both(argument) for argument in arguments(node)[:2])
    if packet_name(node.target) == "addcmul" or a is None or b is None:
        return unknown(run, node)
    return times(a, b)


def _quotient(run: Intervals, node: fx.Node) -> Any:
    a, b = (run.both(argument) for argument in arguments(node)[:2])
    if a is None or b is None or node.kwargs.get("rounding_mode") or not bool((b.is_constant & (b.low != 0)).all()):
        return unknown(run, node)
    at = Bounds(a.low / b.low, a.high / b.low)
    return Bounds(torch.minimum(at.low, at.high), torch.maximum(at.low, at.high))


def _product(run: Intervals, node: fx.Node) -> Any:
    name = packet_name(node.target)
    if name in ("einsum", "bilinear", "addbmm"):
        return unknown(run, node)
    place = 1 if name in ("addmm", "baddbmm", "addmv") else 0
    first, second = arguments(node)[place], arguments(node)[place + 1]
    a, b = run.both(first), run.both(second)
    if a is None or b is None or any(node.kwargs.get(key, 1) != 1 for key in ("alpha", "beta")):
        return unbounded(node)
    added = addend(node)
    extra = run.both(added) if isinstance(added, fx.Node) else None

    def on(x: Tensor, y: Tensor) -> Tensor:
        args = list(arguments(node))
        args[place], args[place + 1] = x, y
        if place:
            args[0] = torch.zeros_like(x.new_empty(1))
        elif isinstance(added, fx.Node):
            args[2] = None
        kwargs = {key: value for key, value in node.kwargs.items() if key != "bias"}
        found: Tensor = called(node)(*args, **kwargs)
        return found

    if bool(b.is_constant.all()):
        low, high = linear(a, b.low, on)
    elif bool(a.is_constant.all()):
        low, high = linear(b, a.low, lambda x, w: on(w, x))
    else:
        terms = on(may_be_there(a), may_be_there(b))
        low, high = torch.where(terms > 0, -inf, 0.0), torch.where(terms > 0, inf, 0.0)
        low, high = low.double(), high.double()
    if extra is not None:
        is_map = name.startswith("conv")
        size = (-1, *([1] * (low.ndim - 2))) if is_map else tuple(extra.low.shape)
        low, high = low + extra.low.reshape(size), high + extra.high.reshape(size)
    return Bounds(low, high)


def _normalisation(run: Intervals, node: fx.Node) -> Any:
    named = named_arguments(node)
    source = run.both(arguments(node)[0])
    if packet_name(node.target) == "batch_norm" and source is not None and not named["training"]:
        mean, variance, weight, bias = (
            run.given(named[key]) for key in ("running_mean", "running_var", "weight", "bias")
        )
        scale = (variance + named["eps"]).rsqrt() * (1.0 if weight is None else weight)
        shift = (0.0 if bias is None else bias) - mean * scale
        size = (-1, *([1] * (source.low.ndim - 2)))
        scale, shift = scale.reshape(size), shift.reshape(size)
        scaled = times(source, Bounds(scale, scale))
        return Bounds(scaled.low + shift, scaled.high + shift)
    return unknown(run, node)


def _softmax(run: Intervals, node: fx.Node) -> Any:
    found = unknown(run, node)
    is_log = "log" in packet_name(node.target)
    low, high = (-inf, 0.0) if is_log else (0.0, 1.0)
    return Bounds(found.low.clamp(min=low), found.high.clamp(max=high))


_RISING_REDUCTIONS = frozenset(
    """mean sum amax amin avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d""".split()  # noqa: SIM905
)


def _reduction(run: Intervals, node: fx.Node) -> Any:
    if packet_name(node.target) in _RISING_REDUCTIONS and len(node.all_input_nodes) == 1:
        return _monotone(run, node)
    return unknown(run, node)


def _move(run: Intervals, node: fx.Node) -> Any:
    """Run on either bound."""
    if any(run.roles[argument] == Role.LABEL for argument in node.all_input_nodes):
        return unbounded(node)

    def on(bound: str) -> Any:
        def stand_in(argument: fx.Node) -> Any:
            value = run.values[argument]
            if isinstance(value, tuple):
                return tuple(getattr(one, bound) if isinstance(one, Bounds) else one for one in value)
            return getattr(value, bound) if isinstance(value, Bounds) else value

        args, kwargs = fx.map_arg((arguments(node), dict(node.kwargs)), stand_in)
        return called(node)(*retyped(args, torch.device("cpu"), torch.float64),
                            **retyped(kwargs, torch.device("cpu"), torch.float64))  # fmt: skip

    low, high = on("low"), on("high")
    if isinstance(low, Tensor):
        return Bounds(low.double(), high.double())
    return tuple(Bounds(a, b) if isinstance(a, Tensor) else None for a, b in zip(low, high, strict=True))


def _look_up(run: Intervals, node: fx.Node) -> Any:
    table = run.given(arguments(node)[0])
    if not isinstance(table, Tensor):
        return unbounded(node)
    size = shape(node)
    return Bounds(table.amin(0).expand(size).clone(), table.amax(0).expand(size).clone())


def _selection(run: Intervals, node: fx.Node) -> Any:
    if packet_name(node.target) == "masked_fill":
        otherwise, condition, chosen = (run.given(a) if i == 1 else run.both(a) for i, a in enumerate(arguments(node)))
    else:
        condition, chosen, otherwise = (run.given(a) if i == 0 else run.both(a) for i, a in enumerate(arguments(node)))
    if not isinstance(chosen, Bounds) or not isinstance(otherwise, Bounds):
        return unbounded(node)
    if isinstance(condition, Tensor):
        return Bounds(
            torch.where(condition, chosen.low, otherwise.low), torch.where(condition, chosen.high, otherwise.high)
        )
    low, high = torch.minimum(chosen.low, otherwise.low), torch.maximum(chosen.high, otherwise.high)
    return Bounds(low.expand(shape(node)), high.expand(shape(node)))


_RULES: dict[Meaning, Callable[[Intervals, fx.Node], Any]] = {
    Meaning.PRODUCT: _product,
    Meaning.SCALING: _scaling,
    Meaning.SUM: _sum,
    Meaning.REDUCTION: _reduction,
    Meaning.FUNCTION: _function,
    Meaning.OFFSET_FUNCTION: _function,
    Meaning.QUOTIENT: _quotient,
    Meaning.NORMALISATION: _normalisation,
    Meaning.SOFTMAX: _softmax,
    Meaning.WINDOW_MAXIMUM: _monotone,
    Meaning.LOOK_UP: _look_up,
    Meaning.SELECTION: _selection,
    Meaning.MOVE: _move,
    Meaning.IDENTITY: _move,
}
