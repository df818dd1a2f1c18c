"""Sizes and latencies of sparse networks, dense, masked and compact, as tables for docs/export.md.

    python -m sparsity study --config configs/studies/real_size_fc.yaml --output fc
    python -m sparsity study --config configs/studies/real_size_resnet.yaml --output resnet
    python benchmarks/compaction.py fc resnet --output latencies.md

The last one times alone, so that it can be repeated on a quiet machine: the published networks of the reference folder
(SPARSITY_REFERENCE, or ../shared/reference), and the best checkpoints of all runs in the given folders. All engines
take turns within one run per network; times are medians, and in brackets the ratio to the dense network with torch
itself on as many threads. The file is written anew after each network.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from torch import nn

from sparsity.atomic import write_atomically
from sparsity.checkpoints.loading import load_network
from sparsity.compaction.engines import Engine
from sparsity.compaction.report import Size, size_of
from sparsity.compaction.timing import Timing, timings, variants
from sparsity.errors import SparsityError
from sparsity.forks import cores
from sparsity.formatting import NOTHING, markdown_table, percent
from sparsity.masks import density, remove_masks
from sparsity.report.sources import find_sources

PUBLISHED = (
    "FC/synflow_10_21.pt", "FC/synflow_2_21.pt", "FC/gem_miner_10_21.pth", "FC/gem_miner_2_21.pth",
    "FC/random_10_21.pt", "FC/random_2_21.pt", "FC/clustered_random_21.pt",
    "ResNet20/synflow_10_21.pt", "ResNet20/gem_miner_10_21.pth", "ResNet20/random_10_21.pt",
)  # fmt: skip
VARIANTS = ("dense", "masked", "compact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", help="studies or runs")
    parser.add_argument("--output", type=Path, default=Path("latencies.md"))
    parser.add_argument("--published", type=int, default=len(PUBLISHED), help="how many of them")
    parser.add_argument("--engines", nargs="+", choices=get_args(Engine), default=["torch", "onnx", "csr"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--threads", nargs="+", type=int, default=list(dict.fromkeys([1, cores()])))
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()

    try:
        networks = [*published(options.published), *trained(options.folders)]
    except SparsityError as error:
        parser.error(str(error))
    sizes: list[list[str]] = []
    times: list[list[str]] = []
    for origin, path in networks:
        network = load_network(path)
        name = f"{type(network).__name__}, {origin}"
        given = variants(network)
        where = (options.engines, options.batches, options.threads)
        timed = timings(given, None, *where, options.repeats, refused=print)
        sizes.append([name, f"{density(network):.2%}", *size_cells(given)])
        times += time_rows(name, timed)
        write_atomically(options.output, tables(sizes, times))
        print(f"{name}: in {options.output}", flush=True)


def published(count: int) -> Iterator[tuple[str, str]]:
    """Names and files of the first published networks, none without the reference folder."""
    beside = Path(__file__).parents[2] / "shared" / "reference"
    folder = Path(os.environ.get("SPARSITY_REFERENCE", beside)) / "published"
    for name in PUBLISHED[:count]:
        if (folder / name).exists():
            yield f"published {Path(name).stem}", str(folder / name)


def trained(folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and best checkpoints of all finished runs."""
    for source in find_sources(folders, "best").finished if folders else ():
        yield f"{source.method} {percent(source.asked)}", str(source.checkpoint)


def size_cells(networks: Mapping[str, nn.Module]) -> list[str]:
    """Parameters, multiply-adds and bytes of the dense network, and of the compact one where it is smaller."""
    for network in networks.values():
        remove_masks(network)
    dense, compact = (size_of(networks[variant], None) for variant in ("dense", "compact"))
    return [_change(dense, compact, what) for what in ("parameters", "multiply_adds", "bytes")]


def _change(dense: Size, compact: Size, what: str) -> str:
    before, after = getattr(dense, what), getattr(compact, what)
    return f"{before:,}" if before == after else f"{before:,} -> {after:,} ({after / before:.2f})"


def time_rows(name: str, timed: Sequence[Timing]) -> list[list[str]]:
    """A row for each number of threads and of samples and each engine: dense, masked and compact beside each other."""
    rows: dict[tuple[int, int, str], dict[str, str]] = {}
    for one in timed:
        row = rows.setdefault((one.threads, one.batch, one.engine), {})
        row[one.variant] = f"{1000 * one.seconds:.3g} ms ({one.ratio:.2f})"
    return [
        [name, str(threads), str(batch), engine, *(row.get(variant, NOTHING) for variant in VARIANTS)]
        for (threads, batch, engine), row in sorted(rows.items(), key=lambda item: item[0][:2])
    ]


def tables(sizes: Sequence[Sequence[str]], times: Sequence[Sequence[str]]) -> str:
    """Both in Markdown."""
    of_sizes = markdown_table(["network", "density", "parameters", "multiply-adds", "bytes"], sizes)
    of_times = markdown_table(["network", "threads", "batch", "engine", *VARIANTS], times)
    return f"{of_sizes}\n{of_times}"


if __name__ == "__main__":
    main()
