"""A source's network, whosever class it is, and what it takes."""

from torch import nn

from sparsity.checkpoints.loading import load_like
from sparsity.checkpoints.networks import read_config
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given, own_shape
from sparsity.report.sources import Source
from sparsity.runs.folder import CONFIG
from sparsity.runs.rebuilding import network_of_config


def read_network(
    source: Source, network: nn.Module | None = None, input_shape: Given = None, trust_config: bool = False
) -> tuple[nn.Module, Given]:
    """Read a source's network.

    Args:
        source: Where it lies.
        network: Of the architecture of those whose class is not one of ours.
        input_shape: Of one sample, for networks that do not say it and whose run did not either.
        trust_config: Whether to make what a run's config names, which imports it.

    Returns:
        The network in evaluation mode, and the shape of a sample, None where the network tells it.

    Raises:
        SparsityError: If it cannot be read.
    """
    found = _read(source, network, trust_config).eval()
    if own_shape(found) is not None:
        return found, None
    told = source.summary.input_shape if source.summary is not None else None
    return found, told or input_shape


def _read(source: Source, network: nn.Module | None, trust_config: bool) -> nn.Module:
    model = source.config.get("model")
    is_ours = model is None or read_config(model) is not None
    if not is_ours and trust_config:
        return load_like(source.checkpoint, network_of_config(source.config, str(source.path / CONFIG)))
    if not is_ours and network is None:
        # Not even where its tensors are called like those of a network of ours: they may be used otherwise.
        raise SparsityError(
            f"{source.path}: its network is of a class that its {CONFIG} names, which is not imported unasked; "
            "--trust_config makes it"
        )
    return load_like(source.checkpoint, network)
