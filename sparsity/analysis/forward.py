"""Forward passes that leave a network exactly as it was: which layers are analysed, and how they are watched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.masks import masked_layers

Observer = Callable[[str, Tensor, Tensor], None]
"""Called with a layer's name, its input and its output, each time the layer runs."""


def analysed_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The masked layers by name in registration order; of a network without masks, every Linear and Conv2d.

    Raises:
        SparsityError: If the network has no such layer.
    """
    layers = masked_layers(network) or {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    }
    if not layers:
        raise SparsityError(f"{type(network).__name__} has no Linear or Conv2d layer to analyse; give one that has")
    return layers


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's training flag and every buffer is put back at the end."""
    flags = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        network.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def observing(layers: Mapping[str, nn.Module], observer: Observer) -> Iterator[None]:
    """Call `observer` whenever one of the layers runs; the hooks are gone at the end, whatever is raised."""

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            observer(name, inputs[0], output)

        return hook

    handles = [layer.register_forward_hook(hook_for(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating dtype of a network's first weight."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    raise SparsityError(f"{type(network).__name__} has no parameters; give a network with weights")
