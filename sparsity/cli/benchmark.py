"""The command `benchmark`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from sparsity.atomic import write_new
from sparsity.checkpoints.layouts import MaskChoice
from sparsity.checkpoints.loading import load_like
from sparsity.cli.checkpoints import checkpoint_in
from sparsity.cli.parser import OneSentenceParser, parser_of
from sparsity.compaction.engines import Engine, require
from sparsity.compaction.timing import Timing, timings, variants
from sparsity.errors import SparsityError, require_whole_number
from sparsity.formatting import csv_table
from sparsity.masks import density
from sparsity.tracking import tracked

_COLUMNS = ("checkpoint", "network", "engine", "threads", "batch", "milliseconds", "per_second", "ratio")


def parser() -> OneSentenceParser:
    """Of the arguments of `benchmark`."""
    files = "Checkpoints of this program, SynFlow's, Gem-Miner's, OpenLTH or others, or runs' folders, in any mix."
    return parser_of("benchmark", benchmark, "checkpoints", files, several=True)


def benchmark(
    checkpoints: list[str],
    network: nn.Module | None = None,
    input_shape: list[int] | None = None,
    engines: list[Engine] | None = None,
    batches: list[int] = [1, 64],  # noqa: B006 # never changed
    threads: list[int] | None = None,
    device: str = "cpu",
    repeats: int = 15,
    output: str | None = None,
    mask: MaskChoice = "effective",
) -> None:
    """Time the forward pass of trained networks: dense, with masks and compact, in turns within one run.

    A mask alone makes nothing faster; what is printed says by how much, also where something is slower. The ratio is
    that to the dense network's time with torch itself, as many threads and as large a batch.

    Args:
        checkpoints: Files of this program, SynFlow's, Gem-Miner's, OpenLTH or others, mixed; or a run's folder.
        network: Of the checkpoints' architecture, if its class is not one of ours: my_module.MyNetwork, a function that
            returns one, or a YAML file of class_path and init_args.
        input_shape: Of one sample, if the network does not say it.
        engines: What runs them: torch; compile, torch.compile, whose code is made first; csr, Linear layers without
            their zeros; onnx, ONNX Runtime, on the processor only. What is not here or cannot run a network is left
            out with a sentence, unless nothing else was asked for. Default: all.
        batches: Samples in one pass.
        threads: Of the processor. Default: one, and all there are.
        device: Where to run: cpu, cuda.
        repeats: Turns, of which the median is taken, at least 1.
        output: A CSV file for the same numbers, which must not exist.
        mask: For Gem-Miner's files: the mask its forward pass uses, or the flags alone.

    Raises:
        SparsityError: If a file cannot be read, no engine is here, a number is out of its range, or the output exists.
    """
    require_whole_number("repeats", repeats, at_least=1)
    cores = os.cpu_count() or 1
    counts = list(dict.fromkeys(threads or [1, cores]))
    for name, values in (("batches", batches), ("threads", counts)):
        for value in values:
            require_whole_number(name, value, at_least=1)
    if output is not None and Path(output).exists():
        raise SparsityError(f"{output} exists and is not overwritten; give another name")
    if output is not None and not Path(output).parent.is_dir():
        raise SparsityError(f"cannot write {output}: there is no folder {Path(output).parent}")
    if not (device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available())):
        raise SparsityError(f"there is no device {device!r} here; give cpu" + ", or cuda" * torch.cuda.is_available())
    chosen = _here(get_args(Engine) if engines is None else engines)
    paths = [checkpoint_in(path) for path in checkpoints]
    rows = []
    for path in tracked(paths, "networks"):
        found = load_like(path, network, mask).to(device)
        timed = timings(variants(found, input_shape), input_shape, chosen, batches, counts, repeats, refused=print)
        rows += [{"checkpoint": path, **_row(timing)} for timing in timed]
        _print(f"{path}, density {density(found):.4g}, {device}", timed)
    if output is not None:
        try:
            write_new(Path(output), csv_table(_COLUMNS, rows).encode())
        except OSError as error:
            raise SparsityError(f"cannot write {output}: {error.strerror}") from error
        print(f"written to {output}")


def _here(engines: Sequence[Engine]) -> list[Engine]:
    missing = {engine: why for engine in engines if (why := _why_not(engine)) is not None}
    for engine, why in missing.items():
        if len(missing) == len(set(engines)):
            raise SparsityError(why)
        print(f"without {engine}: {why}")
    return [engine for engine in engines if engine not in missing]


def _why_not(engine: Engine) -> str | None:
    try:
        require(engine)
    except SparsityError as error:
        return str(error)
    return None


def _row(timing: Timing) -> dict[str, object]:
    return {
        "network": timing.variant,
        "engine": timing.engine,
        "threads": timing.threads,
        "batch": timing.batch,
        "milliseconds": float(f"{1000 * timing.seconds:.4g}"),
        "per_second": float(f"{timing.batch / timing.seconds:.4g}"),
        "ratio": float(f"{timing.ratio:.3g}"),
    }


def _print(title: str, timed: list[Timing]) -> None:
    table = Table(title=title, title_justify="left")
    for column in _COLUMNS[1:]:
        table.add_column(column.replace("_", " "), justify="left" if column in ("network", "engine") else "right")
    for timing in timed:
        row = _row(timing)
        cells = [str(row[name]) for name in ("network", "engine", "threads", "batch")]
        table.add_row(*cells, f"{row['milliseconds']:g}", f"{row['per_second']:,.0f}", f"{timing.ratio:.2f}")
    Console().print(table)


run = benchmark
