"""The network that a run's config names, made anew: of classes that no checkpoint may name."""

from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentError
from torch import nn

from sparsity.errors import SparsityError
from sparsity.runs.class_paths import require_classes
from sparsity.trainer.internals import ParserOfGivenArguments, instantiate


def network_of_config(config: Mapping[str, Any], where: str) -> nn.Module:
    """Make the network that a config names; its module is imported, so only of a config that is trusted.

    Args:
        config: As `RunFolder.read_config` has it.
        where: Its file, for messages.

    Raises:
        SparsityError: If it names none, or one that cannot be made.
    """
    model = config.get("model")
    named = model.get("network") if isinstance(model, Mapping) else None
    if not isinstance(named, Mapping):
        raise SparsityError(f"{where} names no network under model.network; give it with --network")
    parser = ParserOfGivenArguments(exit_on_error=False)
    parser.add_subclass_arguments(nn.Module, "network", required=True)
    try:
        parsed = parser.parse_object({"network": dict(named)})
        require_classes(parsed)
        network: nn.Module = instantiate(parser, parsed).network
    except SparsityError as error:
        raise SparsityError(f"{where}: {error}") from error
    except Exception as error:  # whatever the class of somebody else raises
        reason = _last_line(error) if isinstance(error, ArgumentError) else f"{type(error).__name__}: {error}"
        raise SparsityError(
            f"{where} names the network {named.get('class_path')}, and making it fails: {reason}"
        ) from error
    return network


def _last_line(error: Exception) -> str:
    """What went wrong, below the places where it did."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
