"""How long a forward pass really takes: dense, with masks and compact, side by side in one run."""

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from sparsity.compaction.compact import compact
from sparsity.compaction.engines import Engine, Run, prepared
from sparsity.compaction.outputs import map_tensors
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given, sample_of
from sparsity.graph.trace import Sample
from sparsity.masks import maskable

_SHORTEST = 0.005
"""Seconds of passes one after the other that are measured at once: a clock tells shorter times badly."""


@dataclass(frozen=True)
class Timing:
    """The time of one forward pass.

    Args:
        variant: `dense`, `masked` or `compact`.
        engine: What ran it.
        threads: Of the processor; 0 on a GPU.
        batch: Samples in one pass.
        seconds: Of one pass, the median.
        ratio: Of the dense network's time with torch itself, as many threads and samples; below 1 is faster.
    """

    variant: str
    engine: Engine
    threads: int
    batch: int
    seconds: float
    ratio: float


def variants(network: nn.Module, sample: Given = None) -> dict[str, nn.Module]:
    """A network with all its weights, as it is, and compact; in evaluation mode.

    Args:
        network: With masks, or zeros; left unchanged.
        sample: What it takes, see `sparsity.graph.sample`.

    Raises:
        SparsityError: As `compact`.
    """
    dense = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place in maskable(dense).values():
            noise = torch.randn(place.weight.shape, generator=generator).to(place.weight) * 1e-3
            place.weight.copy_(torch.where(place.weight == 0, noise, place.weight))
    return {"dense": dense, "masked": copy.deepcopy(network).eval(), "compact": compact(network, sample).network}


def timings(
    networks: Mapping[str, nn.Module],
    sample: Given = None,
    engines: Sequence[Engine] = ("torch",),
    batches: Sequence[int] = (1, 64),
    threads: Sequence[int] = (1,),
    repeats: int = 15,
    refused: Callable[[str], object] | None = None,
) -> list[Timing]:
    """Time the forward passes of several networks with several engines, in turns.

    The dense network is timed with torch in any case.

    Args:
        networks: As of `variants`, `dense` among them; left unchanged.
        sample: What they take, see `sparsity.graph.sample`.
        engines: To run them with; one that has nothing to offer for a network is left out there.
        batches: Numbers of samples in one pass, at least 1.
        threads: Numbers of threads of the processor; of no meaning on a GPU, where there is one row.
        repeats: Turns, of which the median is taken.
        refused: Is told in a sentence which networks an engine cannot run, and why, while the others go on.

    Raises:
        SparsityError: If an engine is not here or cannot run a network, and nobody is told, or no other is left.
    """
    first = sample_of(networks["dense"], sample)
    device = next(networks["dense"].parameters()).device
    runs, reasons = _runs(networks, sample, engines)
    for reason in reasons:
        if refused is None or runs.keys().isdisjoint((name, engine) for name in networks for engine in engines):
            raise SparsityError(reason)
        refused(reason)
    rows: list[tuple[str, Engine, int, int, float]] = []
    for count in threads if device.type == "cpu" else [0]:
        with _with_threads(count), torch.no_grad():
            for batch in batches:
                found = _in_turns(runs, _batch(first, batch), device, repeats)
                rows += [(name, engine, count, batch, seconds) for (name, engine), seconds in found.items()]
    of_dense = {(count, batch): seconds for name, engine, count, batch, seconds in rows
                if (name, engine) == ("dense", "torch")}  # fmt: skip
    return [Timing(*row, ratio=row[4] / of_dense[row[2], row[3]]) for row in rows]


def _runs(
    networks: Mapping[str, nn.Module], sample: Given, engines: Sequence[Engine]
) -> tuple[dict[tuple[str, Engine], Run], list[str]]:
    """What runs which network with which engine, and a sentence for each reason why something does not."""
    found: dict[tuple[str, Engine], Run] = {}
    reasons: dict[tuple[Engine, str], list[str]] = defaultdict(list)
    for name, network in networks.items():
        for engine in dict.fromkeys(["torch", *engines] if name == "dense" else engines):
            try:
                run = prepared(network, engine, sample)
            except SparsityError as error:  # noqa: PERF203 # of one of them
                reasons[engine, str(error)].append(name)
            else:
                found |= {} if run is None else {(name, engine): run}
    return found, [f"without {engine} ({', '.join(names)}): {why}" for (engine, why), names in reasons.items()]


def _in_turns(
    runs: Mapping[tuple[str, Engine], Run], given: Sample, device: torch.device, repeats: int
) -> dict[tuple[str, Engine], float]:
    """Medians of the seconds of a pass; whatever else the machine does meets all of them alike."""
    passes = {}
    for key, run in runs.items():
        for _ in range(3):  # what is done once, such as compiling, is over then
            _seconds(run, given, device, 1)
        passes[key] = max(1, round(_SHORTEST / max(_seconds(run, given, device, 1), 1e-6)))
    found: dict[tuple[str, Engine], list[float]] = {key: [] for key in runs}
    for _ in range(repeats):
        for key, run in runs.items():
            found[key].append(_seconds(run, given, device, passes[key]) / passes[key])
    return {key: median(seconds) for key, seconds in found.items()}


def _seconds(run: Run, given: Sample, device: torch.device, passes: int) -> float:
    start = time.perf_counter()
    for _ in range(passes):
        run(given)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@contextmanager
def _with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch(sample: Sample, size: int) -> Sample:
    """Random numbers of a sample's shape, or the same sample again and again where it is not numbers."""
    generator = torch.Generator().manual_seed(0)

    def repeat(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return torch.randn((size, *tensor.shape[1:]), generator=generator).to(tensor)
        return tensor.repeat_interleave(size, 0) if tensor.ndim else tensor

    return map_tensors(sample, repeat)
