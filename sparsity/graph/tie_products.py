"""Products of weights and activations, and of activations with each other: what they tie together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sparsity.graph.labels import FIXED, Factor, Labelled, on_axis
from sparsity.graph.meanings import addend
from sparsity.graph.nodes import arguments, named_arguments, shape
from sparsity.graph.ties import Ties, without_shadows

_EQUATIONS = {
    "linear": "...i,oi->...o",
    "mm": "ai,ib->ab",
    "addmm": "ai,ib->ab",
    "bmm": "nai,nib->nab",
    "baddbmm": "nai,nib->nab",
    "matmul": "...ai,...ib->...ab",
    "mv": "ai,i->a",
    "dot": "i,i->",
}


def product(ties: Ties, node: fx.Node, name: str) -> Any:
    """The value of a product: what is summed over is tied on both sides, what is left are the units of the result."""
    given = arguments(node)
    if name.startswith("conv"):
        return _convolution(ties, node, name)
    if name == "einsum":
        return _einsum(ties, node, str(given[0]), given[1])
    equation = _EQUATIONS.get(name)
    if name == "bilinear":
        found = _contracted(ties, "...i,oij,...j->...o", [ties.values[a] for a in (given[0], given[2], given[1])])
        return _with_bias(ties, node, found)
    first, second = (given[1], given[2]) if name in ("addmm", "baddbmm") else (given[0], given[1])
    if equation is None or not all(isinstance(a, fx.Node) for a in (first, second)):
        return ties.unknown(node)
    operands = [ties.values[first], ties.values[second]]
    if name == "matmul" and min(len(operand.shape) for operand in operands) < 2:
        return ties.unknown(node)
    return _with_bias(ties, node, _contracted(ties, equation, operands))


def _einsum(ties: Ties, node: fx.Node, equation: str, operands: Sequence[fx.Node]) -> Any:
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    words = [*inputs.split(","), result]
    # Dots are in front alone, capitals are what they become, and a letter twice in one word is a diagonal.
    readable = all(word == word.lower() and "." not in word and len(set(word)) == len(word) for word in words)
    if not arrow or not readable:
        return ties.unknown(node)
    return _contracted(ties, f"{inputs}->{result}", [ties.values[operand] for operand in operands])


def _with_bias(ties: Ties, node: fx.Node, found: Labelled) -> Labelled:
    bias = addend(node)
    if not isinstance(bias, fx.Node):
        return found
    return ties.joined(node, [found, ties.values[bias]])


def _contracted(ties: Ties, equation: str, operands: Sequence[Labelled]) -> Labelled:
    """A product as Einstein writes it; dots stand for the axes that are left, aligned at the right."""
    inputs, result = equation.split("->")
    letters = _spelled(inputs.split(","), [len(operand.shape) for operand in operands])
    free = sorted({letter for word in letters for letter in word if letter.isupper()})
    result = "".join(free) + result.replace("...", "")
    sizes: dict[str, int] = {}
    for word, operand in zip(letters, operands, strict=True):
        for letter, length in zip(word, operand.shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), length)
    every = sorted(sizes)
    whole = [sizes[letter] for letter in every]
    spread = [_lettered(operand, word, every) for operand, word in zip(operands, letters, strict=True)]
    summed = {every.index(letter) for letter in every if letter not in result}
    kept: list[Factor] = []
    for factor in ties.met(spread, whole):
        if not set(factor.axes) & summed:
            kept.append(factor)
        elif rest := [axis for axis in factor.axes if axis not in summed]:
            ties.bind(factor, rest)
    order = [every.index(letter) for letter in result]
    size = tuple(whole[place] for place in order)
    return Labelled(size, tuple(_reordered(factor, order) for factor in without_shadows(kept)))


def _convolution(ties: Ties, node: fx.Node, name: str) -> Any:
    named = named_arguments(node)
    given, weight = ties.values[arguments(node)[0]], arguments(node)[1]
    transposed = name.startswith("conv_transpose") or bool(named.get("transposed", False))
    groups = int(named.get("groups", 1))
    size = tuple(shape(node))
    if not isinstance(weight, fx.Node) or len(given.shape) != len(size):
        return ties.unknown(node)
    kernel = ties.values[weight]
    for factor in kernel.factors:
        if factor.axes[0] > 1:
            ties.bind(factor, factor.axes)
    channels, units = (0, 1) if transposed else (1, 0)
    by_axis = {factor.axes[0]: factor for factor in kernel.factors if len(factor.axes) == 1}
    reads = Labelled(given.shape, tuple(f for f in given.factors if f.axes == (1,)))
    for factor in given.factors:
        if factor.axes != (1,):
            ties.bind(factor, factor.axes)
    if groups == 1:
        _columns(ties, by_axis.get(channels), reads)
        made = by_axis.get(units)
        out = Labelled(size, (Factor((1,), made.nodes),) if made is not None else ())
    else:
        out = _grouped(ties, weight, reads, by_axis, groups, size, transposed)
    bias = addend(node)
    if isinstance(bias, fx.Node):
        out = ties.joined(node, [out, on_axis(ties.values[bias], 1, len(size))])
    return out


def _columns(ties: Ties, column: Factor | None, reads: Labelled) -> None:
    if column is None:
        return
    if reads.factors:
        ties.edges.append(torch.stack([column.nodes, reads.factors[0].nodes]))
    else:
        ties.bind(column, column.axes)


def _grouped(
    ties: Ties, weight: fx.Node, reads: Labelled, by_axis: dict[int, Factor], groups: int, size: tuple[int, ...],
    transposed: bool,
) -> Labelled:  # fmt: skip
    """Each group of units reads a group of channels; one that reads a single channel moves with it."""
    name = ties.trace.parameters.get(weight)
    channels = reads.shape[1]
    each, made = channels // groups, size[1] // groups
    incoming = reads.factors[0].nodes if reads.factors else torch.full((channels,), FIXED)
    if name is None:
        for factor in (*by_axis.values(), *reads.factors):
            ties.bind(factor, factor.axes)
        return Labelled(size)
    for factor in by_axis.values():
        if factor.axes == (1,):  # places of columns mean something within a group of rows only
            ties.bind(factor, factor.axes)
    ties.rows[name] = (channels if transposed else size[1]) // groups
    group_of_channel = torch.arange(channels) // each
    group_of_unit = torch.arange(size[1]) // made
    if reads.factors and each > 1:
        ties.bounds.append((incoming, group_of_channel))
    if transposed:
        rows = ties.nodes_of(name, channels, 0)
        ties.edges.append(torch.stack([rows, incoming]))
        units = rows if each == 1 else torch.full((size[1],), FIXED)
        if made > 1:
            units = torch.cat([ties.nodes_of(name, made, 1, group) for group in range(groups)])
    else:
        units = ties.nodes_of(name, size[1], 0)
        if each > 1:
            columns = torch.cat([ties.nodes_of(name, each, 1, group) for group in range(groups)])
            ties.edges.append(torch.stack([columns, incoming]))
    if each == 1:  # a channel and what is made of it move together
        ties.edges.append(torch.stack([units, incoming.repeat_interleave(size[1] // channels)]))
    else:
        ties.bounds.append((units, group_of_unit))
    return Labelled(size, (Factor((1,), units),))


def _spelled(words: Sequence[str], ranks: Sequence[int]) -> list[str]:
    """Write capital letters for the dots, the last ones for the axes next to the others."""
    longest = max(rank - len(word.replace("...", "")) for word, rank in zip(words, ranks, strict=True))
    capitals = [chr(ord("A") + place) for place in range(max(longest, 0))]
    spelled = []
    for word, rank in zip(words, ranks, strict=True):
        dots = rank - len(word.replace("...", ""))
        spelled.append(word.replace("...", "".join(capitals[len(capitals) - dots :]) if dots else ""))
    return spelled


def _lettered(operand: Labelled, word: str, every: Sequence[str]) -> Labelled:
    """A value on the axes of a whole product."""
    size = tuple(operand.shape[word.index(letter)] if letter in word else 1 for letter in every)
    factors = []
    for factor in operand.factors:
        axes = [every.index(word[axis]) for axis in factor.axes]
        order = sorted(range(len(axes)), key=axes.__getitem__)
        factors.append(Factor(tuple(axes[i] for i in order), factor.nodes.permute(order)))
    return Labelled(size, tuple(factors), operand.is_uniform)


def _reordered(factor: Factor, order: Sequence[int]) -> Factor:
    axes = [order.index(axis) for axis in factor.axes]
    by_place = sorted(range(len(axes)), key=axes.__getitem__)
    return Factor(tuple(axes[i] for i in by_place), factor.nodes.permute(by_place))
