"""What a network costs with all its weights, and what its compact form costs."""

from dataclasses import dataclass

from torch import nn

from sparsity.compaction.compact import compact
from sparsity.compaction.timing import timings
from sparsity.graph.multiply_adds import activation_products, positions, weight_products
from sparsity.graph.sample import Given, trace_of

_BATCH = 64
_REPEATS = 3


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
    seconds = {timing.variant: timing.seconds for timing in timed}
    return RealSize(_cost(network, sample, seconds["dense"]), _cost(smaller, sample, seconds["compact"]))


def multiply_adds_of_all(network: nn.Module, sample: Given = None) -> int:
    """Multiply-adds of one sample, of zeros too.

    Args:
        network: Any network; left unchanged.
        sample: What it takes, see `sparsity.graph.sample`.
    """
    trace = trace_of(network, sample)
    sizes = {name: size.numel() for name, size in trace.shapes.items()}
    return weight_products(sizes, positions(trace)) + activation_products(trace)


def _cost(network: nn.Module, sample: Given, seconds: float) -> Cost:
    return Cost(sum(p.numel() for p in network.parameters()), multiply_adds_of_all(network, sample), seconds)
