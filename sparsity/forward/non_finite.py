"""Where NaN or infinity comes from in a network that diverged."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.errors import NonFiniteError
from sparsity.forward.tensors import tensors_in


def first_non_finite(
    network: nn.Module, step: Callable[[], Any] | None = None, context: Callable[[], Any] = nullcontext
) -> str:
    """Where in a forward pass NaN or infinity first appears, in words.

    Args:
        network: Whose layers are looked at.
        step: The forward pass, as it was when the loss was not finite; without it only weights are looked at.
        context: Makes the context manager under which it runs.
    """
    # What is measured in a forward pass, like BatchNorm's means, is spoilt by the pass itself.
    layer = first_non_finite_layer(network.named_parameters())
    if layer is not None:
        return f"{layer_in_words(layer)} has weights that are NaN or infinite"
    if step is None:
        return "all weights are finite"
    found: list[str] = []

    def look_at(name: str) -> Callable[..., None]:
        def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not found and not _all_finite(output):
                what = "gives the first output" if _all_finite((args, kwargs)) else "is given an input"
                found.append(f"{layer_in_words(name)} {what} that is NaN or infinite")

        return look

    with ExitStack() as stack:
        for name, module in network.named_modules():  # of modules within modules the innermost is done first
            stack.callback(module.register_forward_hook(look_at(name), with_kwargs=True).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(context())
        step()
    return found[0] if found else "all layers give finite outputs, so the loss itself makes it"


def first_non_finite_layer(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first layer that has NaN or infinity in one of its named tensors; None if all are finite.

    The name of the network itself is empty, and so is the answer if one of its own tensors is not finite.
    """
    there = [(name, tensor) for name, tensor in tensors if not nn.parameter.is_lazy(tensor)]
    floats = [(name, tensor.detach()) for name, tensor in there if tensor.is_floating_point()]
    if not floats:
        return None
    finite = torch.stack([tensor.isfinite().all() for _, tensor in floats]).tolist()
    return next((name.rpartition(".")[0] for (name, _), ok in zip(floats, finite, strict=True) if not ok), None)


def require_finite_weights(network: nn.Module) -> None:
    """Refuse to go on with, or to save, a network that diverged.

    Of buffers only running statistics are looked at, those whose names start with `running_` as in all normalisation
    layers: others, such as attention masks and the ranges of quantisers, may be infinite by design.

    Raises:
        NonFiniteError: Names the first layer with a weight or a running statistic that is NaN or infinite.
    """
    layer = first_non_finite_layer(_trained(network))
    if layer is not None:
        raise NonFiniteError(
            f"training diverged: {layer_in_words(layer)} has weights that are NaN or infinite; lower the learning "
            "rate or set trainer.gradient_clip_val"
        )


def layer_in_words(layer: str) -> str:
    """A layer's name in a sentence; that of the network itself is empty."""
    return f"layer {layer!r}" if layer else "the network itself"


def _trained(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and running statistics in the order of the layers."""
    for name, module in network.named_modules():
        yield from module.named_parameters(name, recurse=False)
        for member, tensor in module.named_buffers(name, recurse=False):
            if member.rpartition(".")[2].startswith("running_"):
                yield member, tensor


def _all_finite(value: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors_in(value))
