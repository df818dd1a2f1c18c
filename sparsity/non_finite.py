"""Where NaN or infinity comes from in a network that diverged."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.errors import NonFiniteError


def first_non_finite(network: nn.Module, step: Callable[[], Any], context: Callable[[], Any] = nullcontext) -> str:
    """Where in a forward pass NaN or infinity first appears, in words.

    Args:
        network: Whose layers are looked at.
        step: The forward pass, as it was when the loss was not finite.
        context: Makes the context manager under which it runs.
    """
    # What is measured in a forward pass, like BatchNorm's means, is spoilt by the pass itself.
    if layer := first_non_finite_layer(network.named_parameters()):
        return f"layer {layer!r} has weights that are NaN or infinite"
    found: list[str] = []

    def look_at(name: str) -> Callable[..., None]:
        def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                came_in = all(bool(t.isfinite().all()) for t in inputs if isinstance(t, Tensor))
                what = "gives the first output" if came_in else "is given an input"
                found.append(f"layer {name!r} {what} that is NaN or infinite")

        return look

    leaves = {name: child for name, child in network.named_modules() if next(child.children(), None) is None}
    with ExitStack() as stack:
        for name, leaf in leaves.items():
            stack.callback(leaf.register_forward_hook(look_at(name)).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(context())
        step()
    return found[0] if found else "all layers give finite outputs, so the loss itself makes it"


def first_non_finite_layer(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first layer that has NaN or infinity in one of its named tensors, if one has."""
    floats = [(name, tensor.detach()) for name, tensor in tensors if tensor.is_floating_point()]
    finite = torch.stack([tensor.isfinite().all() for _, tensor in floats]).tolist()
    return next((name.rpartition(".")[0] for (name, _), ok in zip(floats, finite, strict=True) if not ok), None)


def require_finite_weights(network: nn.Module) -> None:
    """Refuse to go on with, or to save, a network that diverged.

    Raises:
        NonFiniteError: Names the first layer with a weight or a running mean that is NaN or infinite.
    """
    if layer := first_non_finite_layer(network.state_dict().items()):
        raise NonFiniteError(
            f"training diverged: layer {layer!r} has weights that are NaN or infinite; lower the learning rate or set "
            "trainer.gradient_clip_val"
        )
