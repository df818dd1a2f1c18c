"""What comparing needs of one network, read once however many others it is compared with."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from torch import nn

from sparsity.analysis.comparison.alignment import Units
from sparsity.errors import SparsityError
from sparsity.graph.chain import outgoing_signatures, require_chain
from sparsity.graph.sample import Given
from sparsity.graph.units import Member
from sparsity.graph.weights import Array, BoolArray, FloatArray, Weights, as_weights, layer_masks

Align = Literal["independent", "propagate"]
"""How units of two networks are matched: each layer by itself, or along the network, inputs in their new order."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network that is about to be compared; everything is read when it is first asked for.

    Args:
        network: A network, or effective weights by layer name.
        align: As in `network_distance`.
        input_shape: As in `network_distance`.

    Raises:
        SparsityError: If there is no such alignment.
    """

    network: nn.Module | Weights
    align: Align = "independent"
    input_shape: Given = None

    def __post_init__(self) -> None:
        if self.align not in ("independent", "propagate"):
            raise SparsityError(f"there is no alignment called {self.align!r}; there are independent, propagate")

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Effective weights by name, units first.

        Raises:
            SparsityError: As `as_weights`.
        """
        return as_weights(self.network)

    @cached_property
    def units(self) -> Units | None:
        """The network's units; None of bare weights."""
        return Units(self.network, self.input_shape) if isinstance(self.network, nn.Module) else None

    @cached_property
    def is_chain(self) -> bool:
        """Whether each layer makes one group of units, which the next layer reads and no other.

        Raises:
            SparsityError: If bare weights cannot be a chain, or the network cannot be traced.
        """
        if self.units is None:
            require_chain(self.weights)
            return True
        places = self.units.places
        touched = [[m for m in group.members if m.name in places] for group in self.units.groups]
        found = [(m[0].name, m[1].name) for m in touched if len(m) == 2 and self._is_link(*m)]
        return len(found) == len([m for m in touched if m]) and found == list(pairwise(places))

    def _is_link(self, one: Member, other: Member) -> bool:
        units = self.units
        assert units is not None
        whole = units.places[one.name].units == one.index.shape[0] and one.rows is other.rows is None
        return whole and units.makes(one) and not units.makes(other)

    @cached_property
    def masks(self) -> dict[str, BoolArray]:
        """Which weights are kept, by layer name.

        Raises:
            SparsityError: As `layer_masks`.
        """
        return layer_masks(self.network)

    @cached_property
    def fed(self) -> list[FloatArray]:
        """What the units of every layer but the last feed, as `outgoing_signatures` describes it; of chains only."""
        return outgoing_signatures(list(self.weights.values()))

    def read(self) -> None:
        """Read all that comparing asks for: forks that are made from here have it then.

        Raises:
            SparsityError: As what is read.
        """
        _ = self.weights, self.masks
        if self.align == "propagate":
            _ = self.fed if self.is_chain else self.units
