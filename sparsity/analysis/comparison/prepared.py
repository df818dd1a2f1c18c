"""What comparing needs of one network, read once however many others it is compared with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import nn

from sparsity.errors import SparsityError
from sparsity.graph.chain import chain_weights, outgoing_signatures
from sparsity.graph.weights import Array, BoolArray, FloatArray, Weights, as_weights, layer_masks

Align = Literal["independent", "propagate"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network that is about to be compared; everything is read when it is first asked for.

    Args:
        network: A network, or effective weights by layer name.
        align: As in `network_distance`.

    Raises:
        SparsityError: If there is no such alignment.
    """

    network: nn.Module | Weights
    align: Align = "independent"

    def __post_init__(self) -> None:
        if self.align not in ("independent", "propagate"):
            raise SparsityError(f"there is no alignment called {self.align!r}; there are independent, propagate")

    @cached_property
    def weights(self) -> dict[str, Array]:
        """Effective weights by layer name; to propagate, of a network that was traced and found to be a chain.

        Raises:
            SparsityError: As `as_weights`; says where the chain breaks.
        """
        return chain_weights(self.network) if self.align == "propagate" else as_weights(self.network)

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
