"""What of a network no mask covers: which weights, how many, and how that is said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from sparsity.graph.layers import analysed
from sparsity.masks import Place, tied_weights, unmasked_weights

NAMED = 4
"""So many weights are named in a sentence; of others it says how many there are."""


@dataclass(frozen=True)
class Unmasked:
    """The weights of a network that are not pruned, because no mask covers them.

    Args:
        weights: Their sizes by full parameter name; embeddings, layers kept dense.
        tied: Other names of weights, masked or not, that stand in several places.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    tied: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many weights there are."""
        return sum(self.weights.values())

    def density_of_all(self, kept: int, masked: int) -> float:
        """The kept fraction of all weights, in [0, 1], if so many of the masked ones are kept."""
        return (kept + self.size) / max(masked + self.size, 1)


ALL_MASKED = Unmasked()


def unmasked(network: nn.Module) -> Unmasked:
    """Find what no mask covers; of a network without masks, what is not analysed as if it had some.

    Args:
        network: Any network.

    Raises:
        SparsityError: If there is no layer to analyse.
    """
    places = analysed(network)
    # A parametrised weight is made of other parameters of its layer.
    covered = {id(parameter) for place in places.values() for parameter in _behind(place)}
    by_name = dict(network.named_parameters())
    return Unmasked(
        weights={name: n for name, n in unmasked_weights(network).items() if id(by_name[name]) not in covered},
        tied=tied_weights(network),
    )


def _behind(place: Place) -> Iterator[nn.Parameter]:
    if place.stored is not None:
        yield place.stored
    else:
        yield from place.module.parameters()


def in_words(kept: int, masked: int, found: Unmasked) -> str:
    """A clause that says what no mask covers, and which weights stand in several places; empty if there is nothing.

    Args:
        kept: Number of kept weights of the masked layers.
        masked: Number of weights of the masked layers.
        found: What no mask covers.
    """
    clauses = []
    if found.weights:
        largest = sorted(found.weights.items(), key=lambda item: -item[1])
        dense = _cut([f"{name} ({size:,})" for name, size in largest])
        clauses.append(
            f"masked {masked:,} of {masked + found.size:,} matrix weights, density of all "
            f"{found.density_of_all(kept, masked):.6g}; dense: {dense}"
        )
    if found.tied:
        clauses.append("tied: " + _cut([f"{name} (also {', '.join(others)})" for name, others in found.tied.items()]))
    return "; ".join(clauses)


def _cut(names: Sequence[str]) -> str:
    others = len(names) - NAMED
    if others <= 1:  # one name is no longer than what would be said of it
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {others} others"
