"""What `torch.hub.load(REPOSITORY, NAME, ...)` offers: networks of this package, dense and new, and those in files."""

from pathlib import Path as _Path
from typing import Any

from torch import nn

from sparsity import networks as _networks
from sparsity.interop import load_network as _load_network
from sparsity.runs.folder import RunFolder as _RunFolder
from sparsity.runs.folder import checkpoint_of as _checkpoint_of

dependencies = ["torch", "numpy", "scipy"]


def network(name: str, **arguments: Any) -> nn.Module:
    """A network of `sparsity.networks` by its class's name, for example `ResNet20`.

    Args:
        name: Of the class.
        arguments: Of the class.
    """
    if name not in _networks.__all__:
        raise ValueError(f"there is no network {name!r}, but {', '.join(_networks.__all__)}")
    made: nn.Module = getattr(_networks, name)(**arguments)
    return made


def load(path: str) -> nn.Module:
    """A trained network with its masks, from a checkpoint or the folder of a run or an export, on the CPU.

    Args:
        path: The file or folder; of a run it is the best network, else the last.
    """
    is_run = _RunFolder(_Path(path)).is_run
    return _load_network(_checkpoint_of(_Path(path)) if is_run else path)
