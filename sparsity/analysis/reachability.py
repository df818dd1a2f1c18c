"""A forward and backward pass of booleans through any network: what reaches what along kept weights.

Where reachability is computed with products of weights it underflows and overflows; here every layer's output is
cut back to 0 or 1 on the way forward, and every gradient on the way back.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sparsity.analysis.forward import evaluating
from sparsity.analysis.operations import LAYERS, BareWeights, operation
from sparsity.errors import SparsityError


class BooleanPass:
    """One forward pass in which every layer's output says which of its units are reached, where.

    Biases, normalisations and nonlinearities carry no connection and are left out; other parameters (a scale on a
    shortcut) connect; a maximum over a window is reached from all of it. The network is not changed: the pass runs
    on substitutes in float64 on the CPU, where sums of non-negative numbers are zero only if all of them are.

    Args:
        network: Any network.
        sample: `[batch, *input_shape]`, non-negative.
        weights: By layer name the tensors that stand for its weights, non-negative; other layers are dense.
        every_unit_read: Whether the backward pass starts anew at every layer, as if all its units were read: a
            gradient then says that some kept weight reads a unit directly, not that the network's output does.

    Raises:
        SparsityError: If the network cannot take the sample.
    """

    output: Tensor
    """The network's output."""
    reached: dict[str, Tensor]
    """By layer name its output, 0 or 1, which keeps its gradient."""

    def __init__(
        self, network: nn.Module, sample: Tensor, weights: Mapping[str, Tensor], every_unit_read: bool = False
    ) -> None:
        substitutes: dict[str, Tensor] = {}
        for name, parameter in network.named_parameters():
            substitutes[name] = torch.ones(parameter.shape, dtype=torch.float64)
        for name, buffer in network.named_buffers():
            substitutes[name] = buffer.to("cpu", torch.float64) if buffer.is_floating_point() else buffer.cpu()
        owners = {}
        for name, weight in weights.items():
            substitutes[f"{name}.weight" if name else "weight"] = weight
            owners[id(weight)] = name
        mode = _Booleans(owners, every_unit_read)
        with evaluating(network), torch.enable_grad(), mode:
            try:
                self.output = functional_call(network, substitutes, (sample,))
            except RuntimeError as error:
                raise SparsityError(
                    f"{type(network).__name__} cannot take samples of shape {tuple(sample.shape[1:])}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
        self.reached = mode.reached


def default_input_shape(network: nn.Module, input_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The given shape of one sample, or the one that the network says it takes.

    Raises:
        SparsityError: If neither is there.
    """
    shape = input_shape or getattr(network, "input_shape", None)
    if shape is None:
        raise SparsityError(f"{type(network).__name__} does not say what it takes; give input_shape")
    return tuple(shape)


class _Booleans(BareWeights):
    def __init__(self, owners: Mapping[int, str], every_unit_read: bool) -> None:
        super().__init__()
        self.owners = owners
        self.every_unit_read = every_unit_read
        self.reached: dict[str, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = operation(func)
        result = super().__torch_function__(_POOLS.get(name, func), types, args, kwargs)
        if name not in LAYERS:
            return result
        boolean = cast(Tensor, _Boolean.apply(result, self.every_unit_read))
        weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
        if id(weight) in self.owners and boolean.requires_grad:
            boolean.retain_grad()
            self.reached[self.owners[id(weight)]] = boolean
        return boolean.clone()  # the network may write into it


class _Boolean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, every_unit_read: bool) -> Tensor:
        ctx.every_unit_read = every_unit_read
        return (values > 0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return torch.ones_like(gradient) if ctx.every_unit_read else (gradient > 0).to(gradient.dtype), None


def _window(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Max pooling as reachability sees it: its gradient must go to the whole window, not to one of equal maxima."""
    if return_indices or dilation not in (1, (1, 1)):
        raise SparsityError("reachability through max pooling is not defined for dilation or returned indices")
    return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode)


def _adaptive_window(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    if return_indices:
        raise SparsityError("reachability through max pooling is not defined for returned indices")
    return F.adaptive_avg_pool2d(input, output_size)


_POOLS: dict[str, Callable[..., Any]] = {"max_pool2d": _window, "adaptive_max_pool2d": _adaptive_window}
