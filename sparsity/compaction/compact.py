"""A smaller network with equal outputs: units that are constant, or that nothing reads, are taken out."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import getitem

import torch
from torch import Tensor, nn

from sparsity.checkpoints.sizes import replace_tensors
from sparsity.compaction.folding import Fold, folds
from sparsity.compaction.outputs import difference, map_tensors, outputs_of
from sparsity.compaction.surgery import cut_out, cuts
from sparsity.errors import SparsityError
from sparsity.graph.bounds import bounds
from sparsity.graph.meanings import MEANINGS
from sparsity.graph.needed import Unit, unneeded
from sparsity.graph.nodes import packet_name
from sparsity.graph.sample import Given, sample_of, trace_of
from sparsity.graph.trace import Sample, Trace
from sparsity.masks import maskable

_EQUAL = 1e-9
"""Of outputs in float64, relative to the largest; sums in another order differ by less."""
_SAMPLES = 4


@dataclass(frozen=True)
class LayerSize:
    """A layer before and after.

    Args:
        units_before: Rows, filters.
        units: That are left.
        weights_before: Numbers in its weight, zeros included.
        weights: That are left.
    """

    units_before: int
    units: int
    weights_before: int
    weights: int


@dataclass(frozen=True, eq=False)
class Compact:
    """A smaller network, and what was done.

    Args:
        network: Of the same class, in evaluation mode; for inference, or for training what is left.
        layers: By weight, those that can be masked.
        kept: Why units stay that no output depends on, or that are constant; one sentence each.
        deviation: The largest difference of outputs from those of the network before, in float64.
    """

    network: nn.Module
    layers: Mapping[str, LayerSize]
    kept: tuple[str, ...]
    deviation: float


@dataclass(frozen=True, eq=False)
class _Check:
    """What outputs have to be for some sample."""

    sample: Sample
    outputs: tuple[Tensor, ...]


def compact(network: nn.Module, sample: Given = None) -> Compact:
    """Take out of a network what its outputs do not depend on, for any input, in evaluation mode.

    A unit whose value is the same for every input becomes part of the biases of the layers that read it; one that
    nothing reads goes. Units that a residual sum ties together go together, or stay. Nothing is approximated: what
    cannot be shown to be equal stays, and is named. Any input is one of the sample's shape; maps of another size meet
    other zeros around them.

    Args:
        network: Any network that can be traced; left unchanged. With or without masks, its zeros count.
        sample: What it takes, see `sparsity.graph.sample`; None to ask the network.

    Raises:
        SparsityError: If the network cannot be traced, or its outputs are not finite.
    """
    trace = trace_of(network, sample)
    exact = copy.deepcopy(network).cpu().double().eval()
    checks = _checks(exact, sample)
    found = list(folds(trace, bounds(trace, _state(exact))))
    kept = _apply(exact, found)
    if any(fold.bias is None and fold.change is not None for fold in found):  # there are biases that were not there
        trace = trace_of(exact, checks[0].sample)
    gone = unneeded(trace, _state(exact))
    kept += _bound(gone.bound, exact) + _not_known(trace)
    smaller, refused = _cut(exact, _leaving_one(gone.free, exact), checks)
    deviation = _deviation(smaller, checks)
    if not deviation <= _EQUAL:
        raise SparsityError(
            f"{type(network).__name__} without its {len(gone.free)} unneeded units differs by {deviation:.2g}, which "
            "must not be; nothing was changed"
        )
    smaller = _as_before(smaller, network)
    return Compact(smaller, _layer_sizes(network, smaller), tuple(kept + refused), deviation)


def _state(network: nn.Module) -> dict[str, Tensor]:
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor.detach() for name, tensor in named.items()}


@torch.no_grad()
def _apply(network: nn.Module, found: Iterable[Fold]) -> list[str]:
    kept = []
    for fold in found:
        path, _, own = fold.weight.rpartition(".")
        layer = network.get_submodule(path)
        read = fold.read
        if fold.change is not None and fold.bias is None and not _can_have_bias(layer, own):
            kept.append(f"{path or own}: reads {int(read.sum())} constant units, and has no bias to take them up")
            continue
        if int(fold.left.sum()):
            kept.append(
                f"{path}: {int(fold.left.sum())} constant units that it reads stay, since the zeros around its maps "
                "are not what they are"
            )
        weight: Tensor = getattr(layer, own)
        weight.index_fill_(fold.axis, read.nonzero().flatten().to(weight.device), 0.0)
        if fold.change is None:
            continue
        change = fold.change.to(weight.device)
        if fold.bias is None:
            layer.bias = nn.Parameter(change.to(weight.dtype))
        else:
            bias: Tensor = network.get_parameter(fold.bias)
            bias.copy_(bias.double() + change)
    return kept


def _can_have_bias(layer: nn.Module, weight: str) -> bool:
    return weight == "weight" and isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)


def _leaving_one(units: Sequence[Unit], network: nn.Module) -> list[Unit]:
    """All but the first unit of a layer that would be empty: layers of no units are none."""
    sizes = _state(network)
    left: dict[tuple[str, int], int] = {}
    for unit in units:
        for name, axis, _ in unit:
            left.setdefault((name, axis), sizes[name].shape[axis])
            left[name, axis] -= 1
    chosen = []
    for unit in units:
        places = {(name, axis) for name, axis, _ in unit}
        if all(left[place] > 0 for place in places):
            chosen.append(unit)
        else:
            for name, axis, _ in unit:
                left[name, axis] += 1
    return chosen


def _bound(units: Sequence[Unit], network: nn.Module) -> list[str]:
    counts: dict[str, int] = {}
    rows = {(place.full_name, place.unit_axis): name for name, place in maskable(network).items()}
    for unit in units:
        for name in {rows[name, axis] for name, axis, _ in unit if (name, axis) in rows}:
            counts[name] = counts.get(name, 0) + 1
    return [
        f"{name}: {count} units that no output depends on stay, since an operation treats them by their place, as it "
        "does heads of attention and groups of convolutions"
        for name, count in counts.items()
    ]


def _not_known(trace: Trace) -> list[str]:
    names = [packet_name(n.target) for n in trace.graph.nodes if n.op == "call_function" and n.target is not getitem]
    unknown = [name for name in dict.fromkeys(names) if name and name not in MEANINGS]
    return [
        f"the operation {name!r} is not one whose connections are known, so that all units that it reads stay"
        for name in unknown
    ]


def _cut(network: nn.Module, units: Sequence[Unit], checks: Sequence[_Check]) -> tuple[nn.Module, list[str]]:
    """Take units out as far as the forward pass allows it; says which layers it does not allow."""
    cut = _without(network, units)
    if not units or _deviation(cut, checks) <= _EQUAL:
        return cut, []
    # Somewhere the network's own code counts on a size: layers are tried one after the other.
    together: dict[frozenset[tuple[str, int]], list[Unit]] = {}
    for unit in units:
        together.setdefault(frozenset((name, axis) for name, axis, _ in unit), []).append(unit)
    chosen: list[Unit] = []
    refused = []
    for places, some in together.items():
        if _deviation(_without(network, [*chosen, *some]), checks) <= _EQUAL:
            chosen += some
        else:
            names = ", ".join(sorted({name.rpartition(".")[0] for name, _ in places}))
            refused.append(
                f"{names}: {len(some)} units that no output depends on stay, since the forward pass counts on their "
                "number"
            )
    return _without(network, chosen), refused


def _without(network: nn.Module, units: Sequence[Unit]) -> nn.Module:
    smaller = copy.deepcopy(network)
    cut_out(smaller, cuts(smaller, units))
    return smaller


def _checks(network: nn.Module, given: Given) -> list[_Check]:
    """Outputs for random samples, or for the one there is where it is not numbers."""
    generator = torch.Generator().manual_seed(0)
    first = sample_of(network, given)

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.cpu()
        return 3 * torch.randn((2, *tensor.shape[1:]), generator=generator, dtype=torch.float64)

    samples = [map_tensors(first, drawn) for _ in range(_SAMPLES)]
    return [_Check(sample, outputs_of(network, sample)) for sample in samples]


def _deviation(network: nn.Module, checks: Sequence[_Check]) -> float:
    """The largest difference from what outputs have to be, relative to the largest of them if that is above 1.

    It is inf if the network cannot run: sizes that do not fit each other are found by whatever reads them.
    """
    largest = 0.0
    for check in checks:
        try:
            outputs = outputs_of(network, check.sample)
        except Exception:  # of anybody's code
            return math.inf
        largest = max(largest, difference(check.outputs, outputs))
    return largest


def _as_before(network: nn.Module, before: nn.Module) -> nn.Module:
    """A network with the precision and on the device of another."""
    like, main = _state(before), next(before.parameters())
    converted = {}
    for name, tensor in _state(network).items():
        own = like.get(name, main)
        converted[name] = tensor.to(own.device, own.dtype)
    replace_tensors(network, converted)
    return network


def uncompacted(network: nn.Module) -> Compact:
    """A copy of a network in evaluation mode, in the form of one that was made smaller."""
    same = copy.deepcopy(network).eval()
    return Compact(same, _layer_sizes(network, same), (), 0.0)


@torch.no_grad()
def without_negative_zeros(network: nn.Module) -> None:
    """Make every zero the positive one: masks that are multiplied into weights leave both, and one is no value.

    Args:
        network: Changed in place.
    """
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.add_(0.0)


def _layer_sizes(before: nn.Module, after: nn.Module) -> dict[str, LayerSize]:
    smaller = maskable(after)
    return {
        name: LayerSize(place.units, smaller[name].units, place.weight.numel(), smaller[name].weight.numel())
        for name, place in maskable(before).items()
    }
