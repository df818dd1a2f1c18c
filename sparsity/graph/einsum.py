"""Products as Einstein writes them, of more than two factors: written out two by two, as torch computes them."""

from collections import Counter
from typing import Any

from torch import fx

from sparsity.graph.emitting import Emitter, aten
from sparsity.graph.nodes import named_arguments

_DOTS = "..."


def in_pairs(node: fx.Node) -> fx.Node:
    """An einsum as products of two factors each, in the order that it was given, else from the left."""
    given = named_arguments(node)
    path: list[int] = list(given.get("path") or [])
    has_path = bool(path)
    words, result = _words(str(given["equation"]))
    left: list[tuple[list[str], Any]] = list(zip(words, given["tensors"], strict=True))
    emit = Emitter(node)
    while len(left) > 1:
        pair = sorted((path.pop(0), path.pop(0))) if has_path else [0, 1]
        second, first = left.pop(pair[1]), left.pop(pair[0])
        wanted = {letter for word, _ in left for letter in word}.union(result)
        kept = result if not left else [letter for letter in dict.fromkeys(first[0] + second[0]) if letter in wanted]
        equation = f"{''.join(first[0])},{''.join(second[0])}->{''.join(kept)}"
        product = (kept, emit(aten.einsum.default, equation, [first[1], second[1]]))
        left.insert(len(left) if has_path else 0, product)
    found: fx.Node = left[0][1]
    return found


def _words(equation: str) -> tuple[list[list[str]], list[str]]:
    """The letters of each factor's axes and of the result's; dots are one of them."""
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    words = [_letters(word) for word in inputs.split(",")]
    if arrow:
        return words, _letters(result)
    times = Counter(letter for word in words for letter in word)
    dots = [_DOTS] if _DOTS in times else []
    return words, dots + sorted(letter for letter, count in times.items() if count == 1 and letter != _DOTS)


def _letters(word: str) -> list[str]:
    before, dots, after = word.partition(_DOTS)
    return [*before, *([_DOTS] if dots else []), *after]
