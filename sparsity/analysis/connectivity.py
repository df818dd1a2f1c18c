"""Which kept weights lie on a path from input to output, and which units are dead."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.analysis.forward import analysed_layers, weight_of
from sparsity.analysis.reachability import BooleanPass, default_input_shape
from sparsity.analysis.records import PER_UNIT
from sparsity.analysis.responses import unit_axis
from sparsity.analysis.weights import BoolArray, layer_masks


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


def effective_masks(network: nn.Module, input_shape: tuple[int, ...] | None = None) -> dict[str, BoolArray]:
    """The kept weights that lie on some path of kept weights from the input to the output.

    Vysogorets and Kempe 2021 ("Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity"), by booleans. A convolution's weight counts if it does at some position; paths run through shortcuts
    as well. Biases start no path.

    Args:
        network: Any network; left unchanged.
        input_shape: Shape of one sample; by default the network's own `input_shape`.

    Returns:
        By layer name, shaped like the weight; never True where the mask prunes.

    Raises:
        SparsityError: If there is no layer, no input shape, or a sample of that shape does not fit.
    """
    masks = layer_masks(network)
    weights = _stand_ins(network, masks)
    run = BooleanPass(network, torch.ones(1, *default_input_shape(network, input_shape)).double(), weights)
    gradients = torch.autograd.grad(run.output, list(weights.values()), allow_unused=True)
    return {
        name: mask & (gradient > 0).numpy() if gradient is not None else mask & False
        for (name, mask), gradient in zip(masks.items(), gradients, strict=True)
    }


def connectivity(network: nn.Module, input_shape: tuple[int, ...] | None = None) -> Connectivity:
    """Count effective weights and find dead units, layer by layer.

    Args:
        network: Any network; left unchanged.
        input_shape: Shape of one sample; by default the network's own `input_shape`.

    Raises:
        SparsityError: As `effective_masks`.
    """
    masks = layer_masks(network)
    effective = {name: int(mask.sum()) for name, mask in effective_masks(network, input_shape).items()}
    unread = _unread_units(network, masks, default_input_shape(network, input_shape))
    layers = {}
    for name, mask in masks.items():
        no_input = np.logical_not(mask.any(axis=tuple(range(1, mask.ndim))))
        layers[name] = LayerConnectivity(
            effective=effective[name],
            effective_density=effective[name] / max(mask.size, 1),
            dead=int((no_input | unread[name]).sum()),
            no_input=no_input,
            no_output=unread[name],
        )
    total = sum(effective.values())
    size = sum(mask.size for mask in masks.values())
    return Connectivity(layers, total, total / max(size, 1), tuple(name for name in effective if not effective[name]))


def _unread_units(
    network: nn.Module, masks: dict[str, BoolArray], input_shape: tuple[int, ...]
) -> dict[str, BoolArray]:
    weights = _stand_ins(network, masks)
    run = BooleanPass(network, torch.ones(1, *input_shape).double(), weights, every_unit_read=True)
    outputs = [output for runs in run.reached.values() for output in runs]
    gradients = torch.autograd.grad(run.output, outputs, allow_unused=True) if outputs else ()
    of_output = dict(zip(outputs, gradients, strict=True))
    unread: dict[str, BoolArray] = {}
    for name, layer in analysed_layers(network).items():
        unread[name] = np.ones(len(masks[name]), dtype=np.bool_)
        for output in run.reached.get(weights[name], ()):
            gradient = of_output[output]
            if gradient is not None:  # else nothing at all comes after this run of the layer
                unread[name] &= (gradient.movedim(unit_axis(layer), 0).flatten(1) <= 0).all(dim=1).numpy()
    return unread


def _stand_ins(network: nn.Module, masks: dict[str, BoolArray]) -> dict[str, Tensor]:
    """The masks as tensors by layer name; layers that share a weight share one."""
    by_weight: dict[Tensor, Tensor] = {}
    return {
        name: by_weight.setdefault(
            weight_of(network.get_submodule(name)), torch.from_numpy(mask).double().requires_grad_()
        )
        for name, mask in masks.items()
    }
