"""Multiply-adds of one sample, dense or of the kept weights only."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from sparsity.analysis.topology.left_out import known
from sparsity.errors import SparsityError
from sparsity.graph.layers import parameter_names, without_parametrisations
from sparsity.graph.multiply_adds import activation_products, positions, weight_products
from sparsity.graph.sample import Given, trace_of
from sparsity.masks import maskable, masked, unmasked_weights


@dataclass(frozen=True)
class MultiplyAdds:
    """What one sample costs.

    Args:
        positions: By the name of every weight, masked or not, how often it is applied to one sample: 1 in a Linear
            that reads a vector, the number of output pixels in a convolution, 0 in a look-up. Several runs add up. A
            weight that no mask covers has its full parameter name.
        of_activations: Multiply-adds in products of activations with each other, as in attention, which no mask saves.
    """

    positions: Mapping[str, float]
    of_activations: int

    def total(self, weights: Mapping[str, int]) -> int:
        """Multiply-adds of so many weights of each name, and of activations with each other.

        Right for grouped convolutions too, whose weights each see one input channel. Biases and normalisation are left
        out, as is usual.

        Args:
            weights: By name how many count: the kept ones, or all for the dense network.

        Raises:
            SparsityError: If a weight has no number of positions.
        """
        if unknown := [name for name in weights if name not in self.positions]:
            raise SparsityError(
                f"no output positions are given for layer {unknown[0]!r}; there are {list(self.positions)}"
            )
        return weight_products(weights, self.positions) + self.of_activations


def multiply_adds(network: nn.Module, input_shape: Given = None) -> MultiplyAdds:
    """Count what one sample costs, on the graph of the network's forward pass.

    Args:
        network: Any network; left unchanged.
        input_shape: The shape of one sample, or a sample, as in `sparsity.graph.sample`; by default the network's own.

    Raises:
        SparsityError: If nobody says what the network takes, or it cannot be traced.
    """
    plain = without_parametrisations(network)
    trace = trace_of(plain, input_shape)
    names = parameter_names(plain)
    counted = positions(trace)
    places = masked(plain) or maskable(plain)
    found = {name: counted.get(names[place.weight], 0) for name, place in places.items()}
    covered = {names[place.weight] for place in places.values()}
    found |= {name: counted.get(name, 0) for name in unmasked_weights(plain) if name not in covered}
    return MultiplyAdds(found, activation_products(trace))


def known_multiply_adds(network: nn.Module, input_shape: Given = None) -> MultiplyAdds | None:
    """As `multiply_adds`, or None and a warning that says why they are not known.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `multiply_adds`.
    """
    return known("multiply-adds", partial(multiply_adds, network, input_shape))
