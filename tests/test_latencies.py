"""The tables of `benchmarks/compaction.py`, on numbers by hand."""

import torch

from benchmarks.compaction import size_cells, tables, time_rows
from sparsity.compaction.timing import Timing, variants
from sparsity.networks import FC


def test_sizes_are_those_of_the_dense_network_and_of_the_compact_one() -> None:
    network = FC((4,), 3, depth=2, width=5, bias="none")
    assert size_cells(variants(network)) == ["35", "35", "140"]
    with torch.no_grad():
        network.fc1.weight[:2] = 0  # 3 of 5 units are left, of 4 inputs and 3 outputs each
    assert size_cells(variants(network)) == ["35 -> 21 (0.60)", "35 -> 21 (0.60)", "140 -> 84 (0.60)"]


def test_times_stand_beside_each_other_with_their_ratios() -> None:
    timed = [
        Timing("dense", "torch", 1, 64, 0.002, 1.0),
        Timing("masked", "csr", 1, 64, 0.003, 1.5),
        Timing("compact", "torch", 1, 64, 0.0005, 0.25),
        Timing("dense", "torch", 1, 1, 0.001, 1.0),
    ]
    rows = time_rows("FC", timed)
    assert rows == [
        ["FC", "1", "1", "torch", "1 ms (1.00)", "-", "-"],
        ["FC", "1", "64", "torch", "2 ms (1.00)", "-", "0.5 ms (0.25)"],
        ["FC", "1", "64", "csr", "-", "3 ms (1.50)", "-"],
    ]
    assert tables([["FC", "2 %", "1", "2", "3"]], rows).count("\n") == 3 + 1 + 5
