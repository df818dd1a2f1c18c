"""What an export came to: sizes before and after, and how far the outputs are from what they were."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from sparsity.checkpoints.exported import Format
from sparsity.checkpoints.packing import packed, size_in_bytes
from sparsity.compaction.compact import LayerSize
from sparsity.compaction.sizes import multiply_adds_of_all
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a network is.

    Args:
        parameters: Numbers in its parameters, zeros included.
        nonzero: Those of them that are not zero.
        bytes: Of its parameters and buffers as they lie in memory.
        bytes_packed: Of the same without zeros, values and positions, as safetensors are written.
        multiply_adds: Of one sample; None if its operations cannot be read.
    """

    parameters: int
    nonzero: int
    bytes: int
    bytes_packed: int
    multiply_adds: int | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from, as far as that is known.

    Args:
        checkpoint: Its file.
        method: Who pruned it.
        density_asked: Kept fraction of the masked weights that was asked for, in (0, 1].
        density: The one that it has.
        accuracy_recorded: On test images, by the run that trained it, in [0, 1].
        data: The name of the data that accuracies were measured on here.
        mean: Per channel, what its inputs are normalised by: subtracted from pixels in [0, 1].
        std: By which they are divided then.
    """

    checkpoint: str
    method: str | None = None
    density_asked: float | None = None
    density: float | None = None
    accuracy_recorded: float | None = None
    data: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was exported, and how it compares with what it was made of.

    Args:
        network: Name of its class.
        origin: Where it comes from.
        format: Of the file.
        file: Its name in the folder.
        file_bytes: Its size.
        input_shape: Of one sample, without the batch; None if it is not one tensor of numbers.
        batch: Samples that the file takes at once; None if it takes any number.
        compact: Whether units were to be taken out.
        before: The dense size of the network.
        after: The size of what was exported.
        layers: Units and weights of each, before and after.
        kept: Why units stay that no output depends on, or that are constant.
        deviation: The largest difference of outputs from those before, by kind of inputs, relative to the largest
            output if that is above 1.
        accuracy: On the test images, `before` and `after`, in [0, 1]; empty without data.
    """

    network: str
    origin: Origin
    format: Format
    file: str
    file_bytes: int
    input_shape: tuple[int, ...] | None
    batch: int | None
    compact: bool
    before: Size
    after: Size
    layers: Mapping[str, LayerSize]
    kept: tuple[str, ...]
    deviation: Mapping[str, float]
    accuracy: Mapping[str, float] = field(default_factory=dict)

    @property
    def units_gone(self) -> int:
        """How many units of all layers were taken out."""
        return sum(layer.units_before - layer.units for layer in self.layers.values())


def size_of(network: nn.Module, given: Given) -> Size:
    """How large a network is.

    Args:
        network: On the CPU, without masks.
        given: What it takes, as in `sparsity.graph.sample`.
    """
    state = network.state_dict()
    parameters = list(network.parameters())
    return Size(
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(int(parameter.count_nonzero()) for parameter in parameters),
        bytes=size_in_bytes(state),
        bytes_packed=size_in_bytes(packed(state)[0]),
        multiply_adds=_multiply_adds(network, given),
    )


def _multiply_adds(network: nn.Module, given: Given) -> int | None:
    try:
        return multiply_adds_of_all(network, given)
    except SparsityError:
        return None
