"""Which weights of a network can be masked, what they are called, and which of their axes are the units."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.swa_utils import AveragedModel

SUFFIX = "_mask"
"""What a mask's buffer is called: like its parameter, with this behind it."""

_UNITS_FIRST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Bilinear)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_GATES: dict[type[nn.Module], int] = {
    nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3, nn.RNN: 1, nn.RNNCell: 1,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Place:
    """Where a weight stands: a parameter of a module.

    Args:
        path: The module's name, as in `network.named_modules()`.
        module: Whose parameter it is.
        parameter: What the module calls it.
    """

    path: str
    module: nn.Module
    parameter: str

    @property
    def name(self) -> str:
        """The layer's name for its `weight`, `layer.parameter` for others."""
        return self.path if self.parameter == "weight" else self.full_name

    @property
    def full_name(self) -> str:
        """The parameter's name, as in `network.named_parameters()`."""
        return f"{self.path}.{self.parameter}".lstrip(".")

    @property
    def mask_key(self) -> str:
        """The mask's name, as in `network.state_dict()`."""
        return self.full_name + SUFFIX

    @property
    def weight(self) -> Tensor:
        """The parameter; of a parametrised one what is computed, a new tensor each time."""
        weight: Tensor = getattr(self.module, self.parameter)
        return weight

    @property
    def stored(self) -> nn.Parameter | None:
        """The parameter itself; None if the weight is computed anew in every pass."""
        return self.module._parameters.get(self.parameter)

    @property
    def mask(self) -> Tensor:
        """Its mask, the buffer itself: bool, shaped like the weight, True = kept."""
        mask = self.module._buffers[self.parameter + SUFFIX]
        assert mask is not None
        return mask

    @property
    def has_mask(self) -> bool:
        """Whether it is masked; a bool buffer under that name is a mask."""
        mask = self.module._buffers.get(self.parameter + SUFFIX)
        return mask is not None and mask.dtype == torch.bool

    @property
    def is_unknown(self) -> bool:
        """Whether it was neither masked nor excluded yet."""
        return self.parameter + SUFFIX not in self.module._buffers

    @property
    def is_excluded(self) -> bool:
        """Whether it was said to stay dense: in the place of its mask is None."""
        return not self.is_unknown and self.module._buffers[self.parameter + SUFFIX] is None

    @property
    def shape(self) -> torch.Size:
        """`[units, inputs, ...]`, the weight's shape with the units first."""
        return self.by_unit(self.weight.detach()).shape

    @property
    def unit_axis(self) -> int:
        """The axis of the weight along which its units lie; of a transposed convolution in groups, within each."""
        return int(isinstance(self.module, _TRANSPOSED) or self._is_transposed)

    @property
    def units(self) -> int:
        """How many units there are."""
        return self.shape[0]

    @cached_property
    def layers(self) -> int:
        """How many layers stand one below the other in it: the gates of a recurrent layer, or queries, keys, values."""
        if isinstance(self.module, nn.MultiheadAttention) and self.parameter == "in_proj_weight":
            return 3
        if self.parameter.startswith("weight_hr"):
            return 1
        return next((gates for kind, gates in _GATES.items() if isinstance(self.module, kind)), 1)

    def by_unit(self, values: Tensor) -> Tensor:
        """Values shaped like the weight with one unit in each row.

        Args:
            values: Shaped like the weight.

        Returns:
            `[units, inputs, ...]`: a unit is an output of the layer, a filter, a gate's row. A view where the weight
            is stored so, else a copy.
        """
        if isinstance(self.module, _TRANSPOSED):
            return _by_group(values, self.module.groups)
        return values.transpose(0, 1) if self._is_transposed else values

    def from_units(self, rows: Tensor) -> Tensor:
        """The way back from `by_unit`."""
        if isinstance(self.module, _TRANSPOSED):
            return _by_group(rows, self.module.groups)
        return rows.transpose(0, 1) if self._is_transposed else rows

    @property
    def _is_transposed(self) -> bool:
        return self.parameter == "weight" and (isinstance(self.module, _EMBEDDINGS) or _is_gpt_linear(self.module))


def own_weights(module: nn.Module) -> tuple[str, ...]:
    """What a module calls those of its own parameters that can be masked without being asked for.

    Linear, convolutions, transposed ones too, Bilinear, the projections of MultiheadAttention, recurrent layers and
    their cells, and Hugging Face's Conv1D, which is a Linear with its axes exchanged.
    """
    if isinstance(module, _UNITS_FIRST + _TRANSPOSED) or _is_gpt_linear(module):
        return ("weight",)
    if isinstance(module, nn.MultiheadAttention):
        names: tuple[str, ...] = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return tuple(name for name in names if getattr(module, name) is not None)
    if isinstance(module, nn.RNNBase):
        kinds = ("ih", "hh", "hr") if module.proj_size else ("ih", "hh")
        directions = ("", "_reverse") if module.bidirectional else ("",)
        levels = range(module.num_layers)
        return tuple(f"weight_{kind}_l{n}{direction}" for n in levels for direction in directions for kind in kinds)
    return ("weight_ih", "weight_hh") if isinstance(module, nn.RNNCellBase) else ()


def maskable(network: nn.Module) -> dict[str, Place]:
    """The weights that can be masked, by name, in the order in which the network registers its layers.

    A weight is called like its layer if it is the layer's `weight`, and `layer.parameter` otherwise. Embeddings and
    parameters of layers that torch does not know are among them once `add_masks(network, include=...)` has named them.
    The copies that an `AveragedModel` within the network averages into are not.

    Args:
        network: Any module tree, with masks or without.
    """
    places = {}
    for path, module in own_modules(network):
        asked = [name.removesuffix(SUFFIX) for name in module._buffers if name.endswith(SUFFIX)]
        names = own_weights(module)
        for name in (*names, *(one for one in asked if one not in names and _is_asked(module, one))):
            place = Place(path, module, name)
            places[place.name] = place
    return places


def masked(network: nn.Module) -> dict[str, Place]:
    """The weights that have a mask, by name, in the order in which the network registers their layers.

    Args:
        network: Any module tree.
    """
    found = {}
    for path, module in own_modules(network):
        for name, buffer in module._buffers.items():
            if buffer is not None and name.endswith(SUFFIX) and buffer.dtype == torch.bool:
                parameter = name.removesuffix(SUFFIX)
                if parameter in module._parameters or is_parametrized(module, parameter):
                    place = Place(path, module, parameter)
                    found[place.name] = place
    return found


def is_mask_key(key: str, keys: Container[str]) -> bool:
    """Whether an entry of a state dict is the mask of another.

    Args:
        key: Its name.
        keys: Those of the whole state dict.
    """
    return key.endswith(SUFFIX) and key.removesuffix(SUFFIX) in keys


def mask_keys(network: nn.Module) -> dict[str, str]:
    """What the masks are called in `network.state_dict()`, by the weight's name."""
    return {name: place.mask_key for name, place in masked(network).items()}


def masked_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that have a mask, by the weight's name; the parameters themselves, not copies.

    Args:
        network: Any module tree.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> add_masks(network)
        >>> {name: list(weight.shape) for name, weight in masked_weights(network).items()}
        {'0': [2, 2], '2': [1, 2]}
    """
    return {name: place.module.get_parameter(place.parameter) for name, place in masked(network).items()}


def masks(network: nn.Module) -> dict[str, Tensor]:
    """The masks of a network by the weight's name; the buffers themselves, not copies."""
    return {name: place.mask for name, place in masked(network).items()}


def own_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules by name but those within an `AveragedModel`."""
    skipped: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name.startswith(skipped):
            continue
        if name and isinstance(module, AveragedModel):
            skipped += (f"{name}.",)
        yield name, module


def averages(network: nn.Module) -> list[AveragedModel]:
    """The averages of weights that live within a network, such as an EMA of it."""
    return [module for module in network.modules() if isinstance(module, AveragedModel) and module is not network]


def _by_group(values: Tensor, groups: int) -> Tensor:
    """Exchange the first two axes within each group; the way there and back are the same."""
    grouped = values.reshape(groups, len(values) // groups, *values.shape[1:])
    return grouped.transpose(1, 2).flatten(0, 1)


def _is_asked(module: nn.Module, name: str) -> bool:
    parameter = module._parameters.get(name)
    mask = module._buffers[name + SUFFIX]
    return parameter is not None and (mask is None or mask.dtype == torch.bool)


def _is_gpt_linear(module: nn.Module) -> bool:
    """Whether it is Hugging Face's Conv1D, told without importing what is not installed everywhere."""
    is_called_so = any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)
    weight = module._parameters.get("weight")
    return is_called_so and weight is not None and weight.ndim == 2 and getattr(module, "nf", None) == weight.shape[1]
