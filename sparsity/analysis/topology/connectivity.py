"""Which kept weights lie on a path from input to output, and which units are dead."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.analysis.activations.responses import unit_axis
from sparsity.analysis.records import PER_UNIT
from sparsity.errors import SparsityError
from sparsity.forward.non_finite import layer_in_words
from sparsity.forward.passes import evaluating
from sparsity.graph.layers import analysed, placement, refusing
from sparsity.graph.reachability import BooleanPass, default_input_shape
from sparsity.graph.uses import WeightUses
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
        SparsityError: If there is no layer, no input shape, a sample of that shape does not fit, or reachability is
            not defined: in the dense network every unit and input of every layer that takes part must be connected.
    """
    return _Reachability(network, input_shape).effective


def connectivity(network: nn.Module, input_shape: tuple[int, ...] | None = None) -> Connectivity:
    """Count effective weights and find dead units, layer by layer.

    Args:
        network: Any network; left unchanged.
        input_shape: Shape of one sample; by default the network's own `input_shape`.

    Raises:
        SparsityError: As `effective_masks`.
    """
    found = _Reachability(network, input_shape)
    masks, unread = found.masks, found.unread_units()
    effective = {name: int(mask.sum()) for name, mask in found.effective.items()}
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


class _Reachability:
    """Boolean passes through a network as it is and, where that leaves a doubt, through the dense one."""

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...] | None) -> None:
        self.network = network
        self.masks = layer_masks(network)
        shape = default_input_shape(network, input_shape)
        self._weights = _stand_ins(network, self.masks, torch.float64)
        self._run = BooleanPass(network, torch.ones(1, *shape).double(), self._weights)
        self.effective, unconnected = _reached_both_ways(network, self.masks, self._weights, self._run)
        if unconnected:  # if it is so in the dense network too, not because of the masks
            _require_defined(network, self.masks, shape)

    def unread_units(self) -> dict[str, BoolArray]:
        """By layer name, True for the units that no kept weight and no output reads."""
        outputs = [output for runs in self._run.reached.values() for output in runs]
        gradients = dict(zip(outputs, self._run.gradients(outputs, every_unit_read=True), strict=True))
        unread = {}
        for name, place in analysed(self.network).items():
            unread[name] = np.ones(len(self.masks[name]), dtype=np.bool_)
            for output in self._run.reached.get(self._weights[name], ()):
                gradient = gradients[output]
                if gradient is not None:  # else nothing at all comes after this run of the layer
                    unread[name] &= (gradient.movedim(unit_axis(place), 0).flatten(1) <= 0).all(dim=1).numpy()
        return unread


def _require_defined(network: nn.Module, masks: dict[str, BoolArray], shape: tuple[int, ...]) -> None:
    """Refuse networks with operations that connect otherwise than is assumed here: it shows in the dense network."""
    dense = {name: np.ones_like(mask) for name, mask in masks.items()}
    weights = _stand_ins(network, dense, torch.float32)
    run = BooleanPass(network, torch.ones(1, *shape), weights)
    _, unconnected = _reached_both_ways(network, dense, weights, run)
    if not unconnected:
        return
    uses = WeightUses(network)
    places = analysed(network)
    device, dtype = placement(network)
    with evaluating(network), uses, refusing(network, f"samples of shape {shape}"):
        network(torch.ones(1, *shape, device=device, dtype=dtype))
    for name in unconnected:
        if any(id(parameter) in uses.used for parameter in places[name].module.parameters()):
            raise _undefined(network, name)


def _reached_both_ways(
    network: nn.Module, masks: dict[str, BoolArray], weights: dict[str, Tensor], run: BooleanPass
) -> tuple[dict[str, BoolArray], list[str]]:
    """The effective weights, and the layers not seen to run or with a unit or an input that has no effective weight.

    Raises:
        SparsityError: If a gradient is negative: where numbers do not only add up, paths may cancel.
    """
    effective, unconnected, places = {}, [], analysed(network)
    for (name, mask), gradient in zip(masks.items(), run.gradients(list(weights.values())), strict=True):
        if gradient is not None and (gradient < 0).any():
            raise _undefined(network, name)
        effective[name] = mask & False if gradient is None else mask & places[name].by_unit(gradient > 0).numpy()
        groups = getattr(places[name].module, "groups", 1)
        by_group = effective[name].reshape(groups, -1, *mask.shape[1:])  # [groups, units, inputs, ...]
        kernel = tuple(range(3, by_group.ndim))
        connected = by_group.any(axis=(2, *kernel)).all() and by_group.any(axis=(1, *kernel)).all()
        if weights[name] not in run.reached or not connected:
            unconnected.append(name)
    return effective, unconnected


def _undefined(network: nn.Module, layer: str) -> SparsityError:
    return SparsityError(
        f"what reaches what in {type(network).__name__} cannot be counted: reachability through this network's "
        f"operations is not defined yet, which shows at {layer_in_words(layer)}; densities and distances need none"
    )


def _stand_ins(network: nn.Module, masks: dict[str, BoolArray], dtype: torch.dtype) -> dict[str, Tensor]:
    """The masks as tensors by layer name; layers that share a weight share one."""
    by_weight: dict[Tensor, Tensor] = {}
    places = analysed(network)
    return {
        name: by_weight.setdefault(
            places[name].weight, places[name].from_units(torch.from_numpy(mask)).to(dtype).requires_grad_()
        )
        for name, mask in masks.items()
    }
