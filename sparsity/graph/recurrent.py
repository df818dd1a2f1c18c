"""Recurrent layers written out step by step, as linear maps, sums, products and nonlinearities."""

from collections.abc import Callable
from typing import Any

from torch import fx

from sparsity.errors import SparsityError
from sparsity.graph.emitting import Emitter, aten
from sparsity.graph.nodes import arguments, shape

Cell = Callable[[Emitter, fx.Node, list[fx.Node], list[Any]], list[fx.Node]]
"""From the input's share `[batch, gates]`, the state and (w_hh, b_hh, w_hr) to the next state, what is read first."""


def written_out(node: fx.Node, name: str) -> tuple[fx.Node, ...]:
    """Write a recurrent layer or cell out before its node.

    Args:
        node: A call of `lstm`, `gru`, `rnn_tanh`, `rnn_relu` or of such a cell.
        name: Which of them.

    Returns:
        What the operation returns, in its order.

    Raises:
        SparsityError: For packed sequences, whose lengths depend on the data.
    """
    emit = Emitter(node)
    if name.endswith("_cell"):
        return _single_step(emit, node, name.removesuffix("_cell"))
    if getattr(node.target, "_overloadname", "") != "input":
        raise SparsityError(f"its {name} reads packed sequences, whose lengths no graph shows; give padded ones")
    return _layers(emit, node, name)


def _single_step(emit: Emitter, node: fx.Node, name: str) -> tuple[fx.Node, ...]:
    given, state, w_ih, w_hh, b_ih, b_hh = (*arguments(node), None, None)[:6]
    states = list(state) if isinstance(state, list | tuple) else [state]
    own = emit(aten.linear.default, given, w_ih, b_ih)
    return tuple(_CELLS[name](emit, own, states, [w_hh, b_hh, None]))


def _layers(emit: Emitter, node: fx.Node, name: str) -> tuple[fx.Node, ...]:
    values, state, weights, biases, layers, _, _, bidirectional, batch_first = arguments(node)
    states = list(state) if isinstance(state, list | tuple) else [state]
    ways = 2 if bidirectional else 1
    each = len(weights) // (layers * ways)
    current: Any = emit(aten.transpose.int, values, 0, 1) if batch_first else values  # [time, batch, features]
    last: list[list[fx.Node]] = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            number = layer * ways + way
            own = list(weights[number * each : (number + 1) * each])
            projection = own.pop() if each in (3, 5) else None
            w_ih, w_hh, b_ih, b_hh = own if biases else (*own, None, None)
            initial = [emit(aten.select.int, part, 0, number) for part in states]
            steps, final = _run(emit, name, current, initial, (w_ih, b_ih), [w_hh, b_hh, projection], way == 1)
            outputs.append(emit(aten.stack.default, steps, 0))
            last.append(final)
        current = emit(aten.cat.default, outputs, 2) if ways == 2 else outputs[0]
    result = emit(aten.transpose.int, current, 0, 1) if batch_first else current
    return (result, *(emit(aten.stack.default, [final[i] for final in last], 0) for i in range(len(states))))


def _run(
    emit: Emitter,
    name: str,
    values: fx.Node,
    state: list[fx.Node],
    from_input: tuple[Any, Any],
    from_state: list[Any],
    backwards: bool,
) -> tuple[list[fx.Node], list[fx.Node]]:
    shares = emit(aten.linear.default, values, *from_input)  # of all steps at once
    length = shape(values)[0]
    steps: list[fx.Node] = [shares] * length
    for time in reversed(range(length)) if backwards else range(length):
        share = emit(aten.select.int, shares, 0, time)
        state = _CELLS[name](emit, share, state, from_state)
        steps[time] = state[0]
    return steps, state


def _lstm(emit: Emitter, share: fx.Node, state: list[fx.Node], weights: list[Any]) -> list[fx.Node]:
    hidden, cell = state
    w_hh, b_hh, projection = weights
    gates = emit(aten.add.Tensor, share, emit(aten.linear.default, hidden, w_hh, b_hh))
    size = shape(gates)[-1] // 4
    cuts = [emit(aten.slice.Tensor, gates, -1, i * size, (i + 1) * size) for i in range(4)]
    enter, forget, out = (emit(aten.sigmoid.default, cuts[i]) for i in (0, 1, 3))
    candidate = emit(aten.tanh.default, cuts[2])
    kept = emit(aten.mul.Tensor, forget, cell)
    cell = emit(aten.add.Tensor, kept, emit(aten.mul.Tensor, enter, candidate))
    hidden = emit(aten.mul.Tensor, out, emit(aten.tanh.default, cell))
    if projection is not None:
        hidden = emit(aten.linear.default, hidden, projection)
    return [hidden, cell]


def _gru(emit: Emitter, share: fx.Node, state: list[fx.Node], weights: list[Any]) -> list[fx.Node]:
    (hidden,) = state
    other = emit(aten.linear.default, hidden, *weights[:2])
    size = shape(share)[-1] // 3
    own, theirs = (
        [emit(aten.slice.Tensor, part, -1, i * size, (i + 1) * size) for i in range(3)] for part in (share, other)
    )
    reset = emit(aten.sigmoid.default, emit(aten.add.Tensor, own[0], theirs[0]))
    update = emit(aten.sigmoid.default, emit(aten.add.Tensor, own[1], theirs[1]))
    candidate = emit(aten.tanh.default, emit(aten.add.Tensor, own[2], emit(aten.mul.Tensor, reset, theirs[2])))
    # As torch has it, (h - n) z + n.
    change = emit(aten.mul.Tensor, emit(aten.sub.Tensor, hidden, candidate), update)
    return [emit(aten.add.Tensor, change, candidate)]


def _plain(nonlinearity: Any) -> Cell:
    def step(emit: Emitter, share: fx.Node, state: list[fx.Node], weights: list[Any]) -> list[fx.Node]:
        other = emit(aten.linear.default, state[0], *weights[:2])
        return [emit(nonlinearity, emit(aten.add.Tensor, share, other))]

    return step


_CELLS: dict[str, Cell] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _plain(aten.tanh.default),
    "rnn_relu": _plain(aten.relu.default),
}
RECURRENT = frozenset(_CELLS) | {f"{name}_cell" for name in _CELLS}
"""Names of the operations that are written out here."""
