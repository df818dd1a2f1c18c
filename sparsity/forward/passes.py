"""Forward passes that leave a network exactly as it was, whatever is raised on the way.

Tensors are told apart by identity, never by name: a layer that is reachable by two names, or a weight that two layers
share, is one thing here.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from sparsity.errors import SparsityError
from sparsity.seeding import unmoved_randomness


@contextmanager
def substituted(network: nn.Module, stand_ins: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Let other tensors stand for parameters and buffers for a while.

    What the network's own code rebinds meanwhile, such as a counter or a cached tensor, is put back as well.

    Args:
        network: Any module tree.
        stand_ins: What stands for which tensor; where a tensor has several places, in all of them.
    """
    with _same_members(network):
        for module in network.modules():
            places: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for members in places:
                for name, tensor in members.items():
                    if tensor in stand_ins:
                        members[name] = stand_ins[tensor]
            if isinstance(module, nn.RNNBase):  # computes with a list of its own
                own: list[Any] = module._flat_weights
                module.__dict__["_flat_weights"] = [stand_ins.get(weight, weight) for weight in own]
        yield


@contextmanager
def on_copies(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Let tensors hold copies of their values for a while; what happens to them meanwhile is gone in the end.

    Args:
        tensors: Parameters and buffers; they stay the very same objects.
    """
    before = [(tensor, tensor.data) for tensor in tensors]
    for tensor, values in before:
        tensor.data = values.clone()
    try:
        yield
    finally:
        for tensor, values in before:
            tensor.data = values


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Put everything back at the end: modes, buffers, which tensors a network holds, and all random states."""
    values = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    with _same_members(network), unmoved_randomness():
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in values:
                    buffer.copy_(before)


@contextmanager
def in_mode(network: nn.Module, training: bool) -> Iterator[None]:
    """A mode for a while, with everything `unchanged` in the end.

    Compiled code is left aside: it cannot differentiate twice and is not worth it for a few passes.

    Args:
        network: Any module tree.
        training: Training mode, else evaluation mode.
    """
    with unchanged(network), torch.compiler.set_stance("force_eager"):
        network.train(training)
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients for a while, with everything `unchanged` in the end."""
    with in_mode(network, training=False), torch.no_grad():
        yield


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while and nothing else put back: for passes that come by the hundred."""
    others = [module for module in network.modules() if module.training]
    if others:  # telling a network its mode takes a while
        network.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module in others:
            module.training = True


@contextmanager
def refusing(network: nn.Module, sample: Tensor) -> Iterator[None]:
    """Say in one sentence what a network raises when it is given something that it was not made for.

    Args:
        network: Whose forward pass runs within.
        sample: What it is given.

    Raises:
        SparsityError: With the sample's shape and the network's own reason.
    """
    try:
        yield
    except Exception as error:  # a forward pass is the user's code
        refuse(network, sample, error)


def refuse(network: nn.Module, sample: object, error: Exception) -> NoReturn:
    """Raise what `refusing` does, for steps in which a context manager would take time."""
    if isinstance(error, SparsityError | torch.OutOfMemoryError):
        raise error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    given = (
        f"an input of {sample.dtype} shaped {list(sample.shape)}"
        if isinstance(sample, Tensor)
        else (f"a {type(sample).__name__} as input")
    )
    raise SparsityError(f"{type(network).__name__} cannot take {given}: {reason}") from error


@contextmanager
def _same_members(network: nn.Module) -> Iterator[None]:
    """Give every module back the attributes, parameters and buffers that it had, each the very same object."""
    found = [
        (members, dict(members))
        for module in network.modules()
        for members in (module.__dict__, module._parameters, module._buffers)
    ]
    try:
        yield
    finally:
        for members, before in found:
            if any(members.get(name) is not value for name, value in before.items()) or len(members) > len(before):
                members.clear()
                members.update(before)
