"""Which kept weights lie on a path from input to output, and which units are dead."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from sparsity.analysis.records import PER_UNIT
from sparsity.graph.layers import analysed, parameter_names, without_parametrisations
from sparsity.graph.reachability import effective, read
from sparsity.graph.sample import Given, trace_of
from sparsity.graph.weights import BoolArray, layer_masks


@dataclass(frozen=True, eq=False)
class LayerConnectivity:
    """What of a layer takes part in the network.

    Args:
        effective: Kept weights on some path from input to output.
        effective_density: `effective` over the layer's size, in [0, 1].
        dead: Units without a kept input or without a kept output.
        no_input: `[units]`, True for a unit that keeps no weight.
        no_output: `[units]`, True for a unit that no kept weight of another layer reads; the network's output
            reads as well.
    """

    effective: int
    effective_density: float
    dead: int
    no_input: BoolArray = field(metadata=PER_UNIT)
    no_output: BoolArray = field(metadata=PER_UNIT)


@dataclass(frozen=True, eq=False)
class Connectivity:
    """What of a network takes part.

    Args:
        layers: By layer name, in order.
        effective: Kept weights on some path from input to output.
        effective_density: `effective` over the masked layers' size, in [0, 1].
        disconnected: Names of the layers without an effective weight.
    """

    layers: dict[str, LayerConnectivity]
    effective: int
    effective_density: float
    disconnected: tuple[str, ...]


def effective_masks(network: nn.Module, input_shape: Given = None) -> dict[str, BoolArray]:
    """The kept weights that lie on some path of kept weights from the input to the output.

    Vysogorets and Kempe 2021 ("Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity"), by booleans, see `sparsity.graph.reachability.effective`. A convolution's weight counts if it does at
    some position; paths run through shortcuts as well. Biases start no path.

    Args:
        network: Any network; left unchanged.
        input_shape: The shape of one sample, or a sample, as in `sparsity.graph.sample`; by default the network's own.

    Returns:
        By the weight's name, `[units, inputs, ...]`; never True where the mask prunes.

    Raises:
        SparsityError: If there is no layer, nobody says what the network takes, it cannot be traced, or what reaches
            what through one of its operations is not known.
    """
    return _Reachability(network, input_shape).effective


def connectivity(network: nn.Module, input_shape: Given = None) -> Connectivity:
    """Count effective weights and find dead units, layer by layer.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `effective_masks`.

    Raises:
        SparsityError: As `effective_masks`.
    """
    return connectivity_and_masks(network, input_shape)[0]


def connectivity_and_masks(network: nn.Module, input_shape: Given = None) -> tuple[Connectivity, dict[str, BoolArray]]:
    """Both `connectivity` and `effective_masks`, for the price of one.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `effective_masks`.

    Raises:
        SparsityError: As `effective_masks`.
    """
    found = _Reachability(network, input_shape)
    layers = {}
    for name, mask in found.masks.items():
        kept_on_paths, no_input = (
            int(found.effective[name].sum()),
            np.logical_not(mask.reshape(len(mask), -1).any(axis=1)),
        )
        no_output = found.no_output[name]
        layers[name] = LayerConnectivity(
            effective=kept_on_paths,
            effective_density=kept_on_paths / max(mask.size, 1),
            dead=int((no_input | no_output).sum()),
            no_input=no_input,
            no_output=no_output,
        )
    total = sum(layer.effective for layer in layers.values())
    size = sum(mask.size for mask in found.masks.values())
    disconnected = tuple(name for name, layer in layers.items() if not layer.effective)
    return Connectivity(layers, total, total / max(size, 1), disconnected), found.effective


class _Reachability:
    """Boolean passes over a network's graph, and what they say of each weight."""

    def __init__(self, network: nn.Module, input_shape: Given) -> None:
        network = without_parametrisations(network)
        places = analysed(network)
        self.masks = layer_masks(network)
        names = parameter_names(network)
        kept = {names[p.weight]: p.from_units(torch.from_numpy(self.masks[name])) for name, p in places.items()}
        trace = trace_of(network, input_shape)
        buffers = {name: buffer.detach().cpu() for name, buffer in network.named_buffers()}
        self.effective: dict[str, BoolArray] = {}
        self.no_output: dict[str, BoolArray] = {}
        reached, found = effective(trace, kept, buffers), read(trace, kept, buffers)
        for name, place in places.items():
            of = names[place.weight]
            self.effective[name] = place.by_unit(reached[of]).numpy()
            self.no_output[name] = np.logical_not(place.by_unit(found[of]).flatten(1).any(dim=1).numpy())
