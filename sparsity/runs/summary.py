"""What a run came to: a record for its folder, and one line for people."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsity.analysis.topology.flops import flops, known_positions
from sparsity.analysis.topology.unmasked import Unmasked, in_words, unmasked
from sparsity.masks import kept, sizes


def run_summary(
    network: nn.Module, input_shape: Sequence[int] | None, method: str | None, density_asked: float | None
) -> dict[str, Any]:
    """What is left of a network, beside what was asked for.

    Args:
        network: With masks; left unchanged.
        input_shape: Of one sample; None if nobody knows.
        method: Who pruned it; None if nobody did in this run.
        density_asked: Kept fraction; None if nobody asked.

    Returns:
        Plain values: the method, densities in (0, 1], counts of masked weights, the weights that no mask covers by name
        and the density with them, the other names of tied weights, multiply-adds of one sample (None if they are not
        known), and the commit of this program's checkout (None if it is not run from one).
    """
    weights, everything = kept(network), sizes(network)
    kept_all, total = sum(weights.values()), sum(everything.values())
    others = unmasked(network)
    positions = known_positions(network, input_shape)
    return {
        "method": method or ("dense" if kept_all == total else "masks kept"),
        "density_asked": kept_all / total if density_asked is None else density_asked,
        "density": kept_all / total,
        "kept": kept_all,
        "weights": total,
        "weights_dense": dict(others.weights),
        "weights_tied": {name: list(also) for name, also in others.tied.items()},
        "density_all": others.density_of_all(kept_all, total),
        "flops_dense": None if positions is None else flops({**everything, **others.layers}, positions),
        "flops_effective": None if positions is None else flops({**weights, **others.layers}, positions),
        "git_commit": git_commit(),
    }


def one_line(summary: Mapping[str, Any], folder: str | None) -> str:
    """A run in one line: what was asked, what was reached, and where to look."""
    others = Unmasked(summary["weights_dense"], tied=summary["weights_tied"])
    clause = in_words(summary["kept"], summary["weights"], others)
    clause = f"; {clause}" if clause else ""
    tested = ", ".join(f"{value:.2%} ({name})" for name, value in summary["test_accuracy"].items())
    return (
        f"{summary['method']}: density {summary['density_asked']:.6g} asked, {summary['density']:.6g} reached "
        f"({summary['kept']:,} of {summary['weights']:,} weights){clause}; test accuracy {tested or 'not measured'}; "
        f"log in {folder}"
    )


def git_commit() -> str | None:
    """The commit of the checkout that this package is run from, if it is one."""
    root = Path(__file__).parent.parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
