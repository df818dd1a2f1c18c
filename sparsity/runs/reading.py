"""What a run's folder says of itself: its config and its summary, checked, since folders are copied and edited."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sparsity.errors import SparsityError
from sparsity.runs.folder import CONFIG, SUMMARY
from sparsity.runs.yaml_files import load_yaml_without_aliases

_LONGEST = 200
_SHARES = ("density", "density_asked")
_COUNTS = ("kept", "weights", "flops_dense", "flops_effective", "epochs", "seconds")
_TEXTS = ("git_commit",)


def read_summary(folder: Path) -> dict[str, Any]:
    """Read what a fit wrote when it ended.

    Args:
        folder: Of the run.

    Raises:
        SparsityError: If it cannot be read, or is not what a fit writes; says what is wrong.
    """
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SparsityError(f"{path} is not the summary of a run, or is damaged; move that folder away") from error
    if wrong := _wrong_in_summary(summary):
        raise SparsityError(f"{path} is not the summary of a run, or is damaged: {wrong}; move that folder away")
    found: dict[str, Any] = summary
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config that a fit saved.

    Args:
        folder: Of the run.

    Raises:
        SparsityError: If it cannot be read, or is not a config; says what is wrong.
    """
    path = folder / CONFIG
    try:
        config = load_yaml_without_aliases(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:_LONGEST]
        raise SparsityError(f"{path} is damaged ({reason}); move that folder away") from error
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise SparsityError(f"{path} is not the config of a run; move that folder away")
    checkpoint = config.get("ckpt_path")
    if checkpoint is not None and not (isinstance(checkpoint, str) and checkpoint.isprintable()):
        raise SparsityError(f"{path} is damaged: its ckpt_path is {_short(checkpoint)}; move that folder away")
    return config


def _wrong_in_summary(summary: object) -> str | None:
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
    if seed is not None and (type(seed) is not int or abs(seed) > 2**64):
        return f"seed is {_short(seed)}"
    return None


def _is_number(value: object, at_most: float) -> bool:
    """Whether it is a finite number in [0, at_most]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (isinstance(value, int) or math.isfinite(value)) and 0 <= value <= at_most


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "too large a number"
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
