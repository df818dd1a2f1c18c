"""What a run came to: the schema of `summary.json`, and one line for people."""

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsity.analysis.topology.flops import known_multiply_adds
from sparsity.analysis.topology.unmasked import Unmasked, in_words, unmasked
from sparsity.atomic import write_atomically
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given
from sparsity.masks import kept, sizes
from sparsity.runs.folder import RunFolder

_LONGEST = 200
_MOST_AXES = 8
_LONGEST_AXIS = 2**31
_SHARES = ("density", "density_asked")
_COUNTS = ("kept", "weights", "flops_dense", "flops_effective", "epochs", "seconds")
_TEXTS = ("git_commit", "float32_products")


OFF = 0.01
"""A density further from what was asked than this share of it is worth a sentence, and is not there yet."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The results of a run; what an older version did not write is None or empty.

    Args:
        method: Who pruned the network; `dense` or `masks kept` if nobody did in this run.
        density_asked: Kept fraction of the masked weights, in (0, 1].
        density: The one that was reached.
        kept: Masked weights that are kept.
        weights: Weights that have a mask.
        weights_dense: Sizes of the weights that no mask covers, by name.
        weights_tied: The other names of tied weights.
        density_all: The density with the weights that no mask covers.
        flops_dense: Multiply-adds of one sample in the dense network; None if they are not known.
        flops_effective: Those of the weights that are left.
        input_shape: Of one sample, without the batch; None if it is not one tensor of numbers.
        git_commit: Of this program's checkout; None if it was not run from one.
        test_accuracy: On the test images, in [0, 1], by checkpoint.
        seed: Of everything.
        epochs: Trained.
        seconds: The fit took.
        float32_products: How coarse products of float32 numbers were allowed to be while training, see
            `sparsity.forward.float32`.
        measures_at_start: Numbers of the topology before the first step, by name, see
            `sparsity.analysis.topology.network.measures`; empty if nobody looked, or its density was not final then.
    """

    method: str
    density_asked: float
    density: float | None = None
    kept: int | None = None
    weights: int | None = None
    weights_dense: Mapping[str, int] = field(default_factory=dict)
    weights_tied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    density_all: float | None = None
    flops_dense: int | None = None
    flops_effective: int | None = None
    input_shape: Sequence[int] | None = None
    git_commit: str | None = None
    test_accuracy: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    float32_products: str | None = None
    measures_at_start: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        sample: Given,
        method: str | None,
        density_asked: float | None,
        **others: Any,
    ) -> "RunSummary":
        """What is left of a network, beside what was asked for.

        Args:
            network: With masks; left unchanged.
            sample: One that the network takes, or its shape, see `sparsity.graph.sample`; None to ask the network.
            method: Who pruned it; None if nobody did in this run.
            density_asked: Kept fraction; None if nobody asked.
            others: More fields: test accuracies, seed, epochs, seconds.
        """
        weights, everything = kept(network), sizes(network)
        kept_all, total = sum(weights.values()), sum(everything.values())
        dense = unmasked(network)
        costs = known_multiply_adds(network, sample)
        return cls(
            method=method or unpruned(kept_all, total),
            density_asked=kept_all / total if density_asked is None else density_asked,
            density=kept_all / total,
            kept=kept_all,
            weights=total,
            weights_dense=dict(dense.weights),
            weights_tied={name: list(also) for name, also in dense.tied.items()},
            density_all=dense.density_of_all(kept_all, total),
            flops_dense=None if costs is None else costs.total({**everything, **dense.weights}),
            flops_effective=None if costs is None else costs.total({**weights, **dense.weights}),
            input_shape=_shape(sample),
            git_commit=git_commit(),
            **others,
        )

    @classmethod
    def read(cls, folder: RunFolder) -> "RunSummary":
        """Read what a fit wrote when it ended.

        Raises:
            SparsityError: If it cannot be read, or is not what a fit writes; says what is wrong.
        """
        path = folder.summary_file
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SparsityError(f"{path} is not the summary of a run, or is damaged; move that folder away") from error
        if wrong := _wrong_in(found):
            raise SparsityError(f"{path} is not the summary of a run, or is damaged: {wrong}; move that folder away")
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in found.items() if key in known})

    def write(self, folder: RunFolder) -> None:
        """Write it into the run's folder, complete or not at all."""
        write_atomically(folder.summary_file, json.dumps(asdict(self), indent=2) + "\n")

    def one_line(self, folder: RunFolder | None) -> str:
        """The run in one line: what was asked, what was reached, and where to look."""
        clause = in_words(self.kept or 0, self.weights or 0, Unmasked(self.weights_dense, tied=self.weights_tied))
        clause = f"; {clause}" if clause else ""
        tested = ", ".join(f"{value:.2%} ({name})" for name, value in self.test_accuracy.items())
        return (
            f"{self.method}: density {self.density_asked:.6g} asked, {self.density or 0:.6g} reached "
            f"({self.kept:,} of {self.weights:,} weights){clause}; test accuracy {tested or 'not measured'}; "
            f"log in {None if folder is None else folder.path}"
        )


def is_reached(density: float, asked: float) -> bool:
    """Whether a density is what was asked for, to the share `OFF` of it."""
    return abs(density / asked - 1) <= OFF


def unpruned(kept: int, weights: int) -> str:
    """What runs are called in which nobody prunes.

    Args:
        kept: Masked weights that are kept.
        weights: All that have a mask.
    """
    return "dense" if kept == weights else "masks kept"


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


def _shape(sample: Given) -> list[int] | None:
    if isinstance(sample, Tensor):
        return list(sample.shape[1:]) if sample.is_floating_point() else None
    is_shape = isinstance(sample, Sequence) and all(isinstance(length, int) for length in sample)
    return [int(length) for length in sample] if is_shape and sample else None


def _wrong_in(summary: object) -> str | None:
    """What no fit would have written, if there is something."""
    if not isinstance(summary, Mapping):
        return "it is no mapping"
    method, accuracies, seed = (summary.get(key) for key in ("method", "test_accuracy", "seed"))
    if not _is_text(method):
        return f"method is {_short(method)}"
    if "density_asked" not in summary:
        return "density_asked is missing"
    for key in _SHARES:
        if (value := summary.get(key)) is not None and not _is_number(value, 1):
            return f"{key} is {_short(value)}"
    if summary["density_asked"] == 0:
        return "density_asked is 0"
    if not isinstance(accuracies, Mapping) or not all(_is_number(value, 1) for value in accuracies.values()):
        return f"test_accuracy is {_short(accuracies)}"
    for key in _COUNTS:
        if (value := summary.get(key)) is not None and not _is_number(value, 1e18):
            return f"{key} is {_short(value)}"
    for key in _TEXTS:
        if (value := summary.get(key)) is not None and not _is_text(value):
            return f"{key} is {_short(value)}"
    if (shape := summary.get("input_shape")) is not None and not _is_shape(shape):
        return f"input_shape is {_short(shape)}"
    measures = summary.get("measures_at_start", {})
    if not isinstance(measures, Mapping) or not all(_is_finite(value) for value in measures.values()):
        return f"measures_at_start is {_short(measures)}"
    if seed is not None and (type(seed) is not int or abs(seed) > 2**64):
        return f"seed is {_short(seed)}"
    return None


def _is_number(value: object, at_most: float) -> bool:
    """Whether it is a finite number in [0, at_most]."""
    return _is_finite(value) and 0 <= value <= at_most  # type: ignore[operator]


def _is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 if isinstance(value, int) else math.isfinite(value)


def _is_shape(value: object) -> bool:
    is_list = isinstance(value, list) and 0 < len(value) <= _MOST_AXES
    return is_list and all(type(length) is int and 0 < length < _LONGEST_AXIS for length in value)  # type: ignore[attr-defined]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "too large a number"
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
