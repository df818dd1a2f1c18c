"""Which weights of a network are analysed, and what its parameters are called."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sparsity.errors import SparsityError
from sparsity.forward.non_finite import layer_in_words
from sparsity.masks import Place, maskable, masked


def analysed(network: nn.Module) -> dict[str, Place]:
    """The masked weights by name in registration order; of a network without masks, all that could be masked.

    Raises:
        SparsityError: If the network has no such weight, or one is not there to look at.
    """
    places = masked(network) or maskable(network)
    if not places:
        raise SparsityError(
            f"{type(network).__name__} has no Linear, convolution, attention or recurrent layer to analyse; give one "
            "that has"
        )
    for place in places.values():
        if is_parametrized(place.module, place.parameter):
            continue
        if place.stored is None:
            raise SparsityError(
                f"{layer_in_words(place.path)} computes its {place.parameter} anew in every pass; make it a parameter, "
                "as torch.nn.utils.prune.remove and torch.nn.utils.remove_weight_norm do"
            )
        if nn.parameter.is_lazy(place.stored):
            raise SparsityError(
                f"{layer_in_words(place.path)} has no weights before its first pass; run the network once"
            )
    return places


def parameter_names(network: nn.Module) -> dict[Tensor, str]:
    """The full name of every parameter, the first one of those that have several."""
    return {parameter: name for name, parameter in network.named_parameters()}


def without_parametrisations(network: nn.Module) -> nn.Module:
    """The network, or a copy whose weights are what its parametrisations compute, if it has any.

    Args:
        network: Left unchanged.
    """
    if not any(is_parametrized(module) for module in network.modules()):
        return network
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        if is_parametrized(module):
            computed = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
            # torch's own way takes the properties off a class that the network shares.
            module.__class__ = type(module).__mro__[1]
            del module.parametrizations
            for name, values in computed.items():
                module.register_parameter(name, nn.Parameter(values))
    return plain


def require_plain(network: nn.Module) -> None:
    """Refuse a network whose weights are computed from others.

    Raises:
        SparsityError: Names a layer of it.
    """
    for name, module in network.named_modules():
        if is_parametrized(module):
            raise SparsityError(
                f"{layer_in_words(name)} computes its weights from others (torch.nn.utils.parametrize); make them "
                "parameters first: torch.nn.utils.parametrize.remove_parametrizations"
            )


@contextmanager
def refusing(network: nn.Module, what: str) -> Iterator[None]:
    """Say in a sentence that a network's forward pass, which is anybody's code, raised something.

    Args:
        network: Any network.
        what: It was given.

    Raises:
        SparsityError: Whatever is raised within.
    """
    try:
        yield
    except SparsityError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SparsityError(f"{type(network).__name__} cannot take {what}: {reason}") from error


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating dtype of a network's first weight."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    raise SparsityError(f"{type(network).__name__} has no parameters; give a network with weights")
