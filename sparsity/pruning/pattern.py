"""Patterns in which kept weights lie, by their names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from sparsity.errors import SparsityError
from sparsity.graph.needed import removable
from sparsity.graph.sample import Given, trace_of
from sparsity.masks import Mask, masked
from sparsity.pruning.blocks import KERNEL, BlockSelector, BlockShape
from sparsity.pruning.groups import FanInSelector, NMSelector
from sparsity.pruning.saliency import Saliency
from sparsity.pruning.selection import Selection, select
from sparsity.pruning.whole_units import UnitSelector

Kind = Literal["weight", "n:m", "block", "kernel", "unit", "fan_in"]

Selector = Callable[[Saliency, int | Mapping[str, int], Mask, int], Selection]
"""Keeps about so many weights, of the network or of each layer; its arguments are those of `select`."""


@dataclass(frozen=True)
class Pattern:
    """How kept weights lie.

    Args:
        kind: `weight`: anywhere. `n:m`: n of each m consecutive inputs of a unit. `block`: r units by c inputs, whole.
            `kernel`: the slices of convolutions, whole. `unit`: whole units. `fan_in`: equally many inputs of each unit
            of a layer.
        sizes: n and m, or r and c; of others they say nothing.
    """

    kind: Kind
    sizes: tuple[int, int] = (1, 1)

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read `weight`, `2:4`, `4x1`, `kernel`, `unit` or `fan_in`.

        Raises:
            SparsityError: If there is no such pattern.
        """
        match text:
            case "weight" | "kernel" | "unit" | "fan_in":
                return cls(text)
        if found := re.fullmatch(r"([0-9]{1,9})([:x])([0-9]{1,9})", str(text)):
            a, b = int(found[1]), int(found[3])
            if found[2] == "x" and a and b:
                return cls("block", (a, b))
            if found[2] == ":" and 1 <= a < b:
                return cls("n:m", (a, b))
        raise SparsityError(
            f"no pattern is called {text!r}; choose weight, n of m inputs such as 2:4, blocks of units by inputs such "
            "as 4x1, kernel, unit or fan_in"
        )

    def __str__(self) -> str:
        a, b = self.sizes
        return {"n:m": f"{a}:{b}", "block": f"{a}x{b}"}.get(self.kind, self.kind)

    def require_density(self, density: float) -> None:
        """Check that a density is what the pattern keeps, if it says that itself.

        Raises:
            SparsityError: If it is not.
        """
        n, m = self.sizes
        if self.kind == "n:m" and abs(density - n / m) > 1e-3:
            raise SparsityError(
                f"the pattern {self} keeps {n} of {m} weights; set density to {n / m:.4g}, not {density:g}"
            )


WEIGHT = Pattern("weight")


def selector(pattern: Pattern, network: nn.Module, sample: Given = None, is_ranked_by_kind: bool = False) -> Selector:
    """What chooses weights by their saliency, in a pattern.

    Args:
        pattern: Of the masks.
        network: With masks, left unchanged.
        sample: What it takes, see `sparsity.graph.sample`; only units need it.
        is_ranked_by_kind: Of units: keep the same share of all kinds.

    Raises:
        SparsityError: If units are asked for, and the network cannot be traced, or has none that can be taken out.
    """
    places = masked(network)
    match pattern.kind:
        case "weight":
            return select
        case "n:m":
            return NMSelector(places, *pattern.sizes)
        case "block":
            return BlockSelector(places, BlockShape(*pattern.sizes))
        case "kernel":
            return BlockSelector(places, KERNEL)
        case "unit":
            return UnitSelector(places, removable(trace_of(network, sample)), is_ranked_by_kind)
        case "fan_in":
            return FanInSelector(places)


def exceptions(pattern: Pattern, network: nn.Module) -> list[str]:
    """Which layers a pattern does not fit, and what it keeps there, in words.

    Args:
        pattern: Of the masks.
        network: With masks.
    """
    return NMSelector(masked(network), *pattern.sizes).exceptions() if pattern.kind == "n:m" else []
