"""What a network costs with all its weights, and what its compact form costs."""

from dataclasses import dataclass

from torch import nn

from sparsity.compaction.compact import compact
from sparsity.compaction.timing import timings
from sparsity.graph.multiply_adds import activation_products, positions, weight_products
from sparsity.graph.sample import Given, trace_of

_BATCH = 64
_REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """What a forward pass takes, zeros included.

    Args:
        parameters: Numbers that are stored.
        multiply_adds: Of one sample.
        seconds: Of a batch of 64 on one thread of the processor, a median.
    """

    parameters: int
    multiply_adds: int
    seconds: float


@dataclass(frozen=True)
class RealSize:
    """What masks are good for once units are taken out.

    Args:
        dense: The network as it was.
        compact: The smaller network with equal outputs.
    """

    dense: Cost
    compact: Cost


def real_size(network: nn.Module, sample: Given = None) -> RealSize:
    """Make a network compact, and count and time both.

    Args:
        network: With masks, or zeros; left unchanged.
        sample: What it takes, see `sparsity.graph.sample`.

    Raises:
        SparsityError: As `sparsity.compaction.compact`.
    """
    smaller = compact(network, sample).network
    timed = timings({"dense": network.eval(), "compact": smaller}, sample, batches=[_BATCH], repeats=_REPEATS)
    dense, small = (Cost(_parameters(one), _multiply_adds_like(network, one, sample), timing.seconds)
                    for one, timing in zip((network, smaller), timed, strict=True))  # fmt: skip
    return RealSize(dense, small)


def multiply_adds_of_all(network: nn.Module, sample: Given = None) -> int:
    """Multiply-adds of one sample, of zeros too.

    Args:
        network: Any network; left unchanged.
        sample: What it takes, see `sparsity.graph.sample`.
    """
    trace = trace_of(network, sample)
    sizes = {name: size.numel() for name, size in trace.shapes.items()}
    return weight_products(sizes, positions(trace)) + activation_products(trace)


def _multiply_adds_like(dense: nn.Module, network: nn.Module, sample: Given) -> int:
    """Multiply-adds of a network of which units may have been taken out, without tracing it where that is not needed.

    Its weights are applied as often as the dense network's; products of activations, though, are smaller than there.
    """
    trace = trace_of(dense, sample)
    applied = positions(trace)
    if activation_products(trace) or any(isinstance(times, float) for times in applied.values()):
        return multiply_adds_of_all(network, sample)
    return weight_products({name: parameter.numel() for name, parameter in network.named_parameters()}, applied)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
