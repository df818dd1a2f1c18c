"""How many weights each layer keeps."""

from dataclasses import dataclass

from torch import nn

from sparsity.graph.weights import Weights, layer_masks


@dataclass(frozen=True)
class LayerDensity:
    """Kept weights of one layer.

    Args:
        kept: Number of kept weights.
        size: Number of weights, kept or not.
        density: `kept / size`, in [0, 1].
        share: The layer's share of all kept weights of the network, in [0, 1]; 0 if the network keeps none.
    """

    kept: int
    size: int
    density: float
    share: float


@dataclass(frozen=True)
class Densities:
    """Kept weights of a network.

    Args:
        layers: By layer name, in order.
        kept: Number of kept weights.
        size: Number of weights, kept or not.
        density: `kept / size`, in [0, 1].
        collapsed: Names of the layers that keep nothing.
    """

    layers: dict[str, LayerDensity]
    kept: int
    size: int
    density: float
    collapsed: tuple[str, ...]


def densities(network: nn.Module | Weights) -> Densities:
    """Count the kept weights of every masked layer.

    Args:
        network: A network, whose masks are counted, or effective weights by layer name, whose non-zeros are.

    Raises:
        SparsityError: If there is no layer to count.
    """
    masks = layer_masks(network)
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    total = sum(kept.values())
    size = sum(mask.size for mask in masks.values())
    layers = {
        name: LayerDensity(
            kept=kept[name],
            size=mask.size,
            density=kept[name] / max(mask.size, 1),
            share=kept[name] / max(total, 1),
        )
        for name, mask in masks.items()
    }
    return Densities(layers, total, size, total / max(size, 1), tuple(name for name in kept if not kept[name]))
