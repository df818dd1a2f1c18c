"""A network's tensors in a file, whoever wrote it; read without running what is inside."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparsity.checkpoints.reading import read_torch_file
from sparsity.errors import SparsityError

FilePath = str | os.PathLike[str]

_EXPECTED = "a checkpoint of this package, or the state dict of a SynFlow or Gem-Miner network, saved with torch.save"


@dataclass(frozen=True)
class NetworkFile:
    """What a file holds.

    Attributes:
        state: Tensors by name, without the prefix of the module that wrapped the network.
        from_classifier: Whether that module was a LightningModule which calls its network `network`, as ours does.
        hyper_parameters: What the file has there, or None; not checked.
    """

    state: dict[str, Tensor]
    from_classifier: bool
    hyper_parameters: object


def read_network_file(path: FilePath) -> NetworkFile:
    """Read a state dict, or a dict that has one under `state_dict`, onto the CPU.

    Args:
        path: Any file; code inside it is not run.

    Raises:
        SparsityError: If there is no such file, it cannot be read, or it holds no tensors by name.
    """
    content = read_torch_file(path, _EXPECTED)
    content = content if isinstance(content, Mapping) else {}
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        state = {}
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise SparsityError(f"{os.fspath(path)} holds no tensors by name; expected {_EXPECTED}")
    networks = _below("network.", tensors)
    return NetworkFile(
        state=networks or _below("module.", tensors) or tensors,  # `module.`: DataParallel's, as Gem-Miner may use it
        from_classifier=bool(networks),
        hyper_parameters=content.get("hyper_parameters"),
    )


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
