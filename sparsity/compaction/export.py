"""A network as a file in several formats, and such a file as a network again."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from sparsity.checkpoints.exported import FILES, Format
from sparsity.checkpoints.loading import load_network
from sparsity.checkpoints.writing import config_of, exported_checkpoint, exported_safetensors
from sparsity.compaction.programs import Program, onnx_call, onnx_program, torch_program
from sparsity.errors import SparsityError
from sparsity.graph.trace import Sample

_NEEDED: dict[Format, tuple[str, ...]] = {
    "pytorch": (),
    "torch-export": (),
    "safetensors": ("safetensors",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}


def require_packages(format: Format) -> None:
    """Check that what a format is written and read with is there.

    Raises:
        SparsityError: Names what is not, and how to install it.
    """
    if missing := [name for name in _NEEDED[format] if find_spec(name) is None]:
        raise SparsityError(
            f"the format {format} needs {' and '.join(missing)}, not installed here; run pip install -e '.[export]'"
        )


def write_network(network: nn.Module, like: nn.Module, sample: Sample, format: Format, folder: Path) -> int | None:
    """Write a network as the file of a format.

    Args:
        network: In evaluation mode, on the CPU, without masks; left unchanged.
        like: The network that it was before layers were made smaller.
        sample: A batch of one.
        format: Of the file.
        folder: Where it is made, as `FILES` names it.

    Returns:
        The number of samples that the file takes at once; None if it takes any.

    Raises:
        SparsityError: If the network cannot be written so; names the operation where that is known.
        OSError: If the file cannot be written.
    """
    path = folder / FILES[format]
    if format == "pytorch":
        path.write_bytes(exported_checkpoint(network, config_of(like)))
    elif format == "safetensors":
        path.write_bytes(exported_safetensors(network, config_of(like)))
    else:
        content, batch = (onnx_program if format == "onnx" else torch_program)(network, sample)
        path.write_bytes(content)
        return batch
    return None


def read_back(folder: Path, format: Format, like: nn.Module, batch: int | None = None) -> nn.Module:
    """The network in a file that `write_network` made, to be called as the network itself.

    Args:
        folder: With the file.
        format: Of the file.
        like: A network of the class, for classes that no file can name.
        batch: The number of samples that the file takes at once; None if it takes any.
    """
    path = folder / FILES[format]
    if format in ("pytorch", "safetensors"):
        return load_network(path, network=None if config_is_known(like) else like).eval()
    if format == "onnx":
        return Program(onnx_call(path), batch)
    return Program(torch.export.load(path).module(), batch)


def config_is_known(network: nn.Module) -> bool:
    """Whether a file can name what makes a network."""
    return config_of(network) is not None
