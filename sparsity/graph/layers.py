"""Which layers of a network are analysed, and how their forward passes are watched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sparsity.errors import SparsityError
from sparsity.forward.non_finite import layer_in_words
from sparsity.masks import Place, maskable, masked

Observer = Callable[[str, Tensor], None]
"""Called with a layer's name and its output, each time the layer runs."""

_COUNTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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


def counted_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers whose multiply-adds are counted, by name: masked or not, every Linear and convolution.

    Raises:
        SparsityError: As `analysed`.
    """
    analysed(network)
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _COUNTED) and not nn.parameter.is_lazy(module.weight)
    }


@contextmanager
def observing(layers: Mapping[str, nn.Module], observer: Observer) -> Iterator[None]:
    """Call `observer` whenever one of the layers runs; the hooks are gone at the end, whatever is raised."""

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            observer(name, output)

        return hook

    handles = [layer.register_forward_hook(hook_for(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
