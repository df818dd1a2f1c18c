"""Checkpoints of our fits: read without running what is in them, and told apart before anything starts."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.errors import SparsityError

_LONGEST_REASON = 150


def read_torch_file(path: str | os.PathLike[str], expected: str) -> Any:
    """Read what `torch.save` wrote onto the CPU, without running any code in it.

    Args:
        path: The file.
        expected: What the file should be, for the message.

    Raises:
        SparsityError: If there is no such file, or it is damaged or holds more than tensors and plain values.
    """
    with _refusing(path, expected):
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)


def read_safetensors_file(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file in the safetensors format, tensors by name and texts by name, onto the CPU.

    Args:
        path: The file.
        expected: What the file should be, for the message.

    Raises:
        SparsityError: If the package `safetensors` is not installed, there is no such file, or it is damaged.
    """
    try:
        import safetensors.torch
    except ImportError:
        raise SparsityError(
            f"{os.fspath(path)} is read by the package safetensors, which is not installed; run pip install safetensors"
        ) from None
    with _refusing(path, expected), safetensors.safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


@contextmanager
def _refusing(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    if not Path(path).is_file():
        raise SparsityError(f"there is no file {os.fspath(path)}; give {expected}")
    try:
        yield
    except OSError as error:
        raise SparsityError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    # What a damaged or hostile file makes of the unpickler is not limited to UnpicklingError.
    except Exception as error:
        raise SparsityError(
            f"{os.fspath(path)} is damaged, holds more than tensors and plain values, or is something else; "
            f"expected {expected} ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """What torch says in the middle of its advice."""
    said = " ".join(str(error).split()) or type(error).__name__
    said = said.rpartition("WeightsUnpickler error: ")[2].partition(". ")[0]
    return said if len(said) <= _LONGEST_REASON else f"{said[: _LONGEST_REASON - 1]}…"


def _check_sums(path: str | os.PathLike[str]) -> None:
    """Torch writes a checksum of every tensor, and reads them without a look at it: damaged weights would be taken."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(damaged)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint that a fit saved.

    Raises:
        SparsityError: If there is no such file, or it is something else.
    """
    expected = "a checkpoint that a fit of this program saved"
    checkpoint = read_torch_file(path, expected)
    if (
        not isinstance(checkpoint, dict)
        or not isinstance(checkpoint.get("state_dict"), dict)
        or not isinstance(checkpoint.get("callbacks", {}), dict)
    ):
        raise SparsityError(f"{os.fspath(path)} is not a Lightning checkpoint; expected {expected}")
    return checkpoint


def require_fitting(checkpoint: dict[str, Any], module: nn.Module, path: Path) -> None:
    """Refuse a checkpoint of another architecture.

    Raises:
        SparsityError: Names the first tensor that is missing on one side or shaped differently.
    """
    found = checkpoint["state_dict"]
    saved = {name: shape_in_words(tensor) for name, tensor in found.items() if isinstance(tensor, Tensor)}
    expected = {name: shape_in_words(tensor) for name, tensor in module.state_dict().items()}
    for name in [*expected, *saved]:
        there, here = saved.get(name, shape_in_words(None)), expected.get(name, shape_in_words(None))
        if there != here:
            raise SparsityError(
                f"{path} is of another network than the configured one: {name} is {there} there and {here} here; "
                "use the config.yaml beside the checkpoint's folder"
            )


def shape_in_words(tensor: Tensor | None) -> str:
    """A tensor's shape in a sentence, also of one that is not there."""
    return "missing" if tensor is None else str(list(tensor.shape))


def require_numbers_of(expected: Tensor, name: str, found: Tensor) -> None:
    """Refuse whole numbers or bools in the place of a matrix of weights: they are masks, or quantised.

    Raises:
        SparsityError: Names the tensor.
    """
    if expected.ndim > 1 and expected.is_floating_point() and not found.is_floating_point():
        raise SparsityError(
            f"{name} is {found.dtype}, which weights are not; of masks in a file of their own, give the file of the "
            "weights"
        )
