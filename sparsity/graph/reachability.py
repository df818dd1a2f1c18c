"""A forward and backward pass of booleans through any network: what reaches what along kept weights.

Where reachability is computed with products of weights it underflows and overflows; here every layer's output is
cut back to 0 or 1 on the way forward, and every gradient on the way back.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from sparsity.errors import SparsityError
from sparsity.forward.passes import evaluating, substituted
from sparsity.forward.tensors import tensors_in
from sparsity.graph.layers import analysed, refusing
from sparsity.graph.operations import LAYERS, BareWeights, operation


class BooleanPass:
    """One forward pass in which every layer's output says which of its units are reached, where.

    Biases, normalisations and nonlinearities carry no connection and are left out; other parameters (a scale on a
    shortcut) connect; a maximum over a window is reached from all of it. The network is not changed: the pass runs
    on substitutes on the CPU, where sums of non-negative numbers are zero only if all of them are.

    Args:
        network: Any network.
        sample: `[batch, *input_shape]`, non-negative, of the precision in which the pass runs.
        weights: By layer name the tensor that stands for its weight, non-negative, the same one for layers that share
            a weight; other layers are dense.

    Raises:
        SparsityError: If the network cannot take the sample, or no weight shows in its output.
    """

    output: Tensor
    """The sum of the network's outputs."""
    reached: dict[Tensor, list[Tensor]]
    """By what stands for a layer's weight its outputs, 0 or 1, one for each time that it runs."""

    def __init__(self, network: nn.Module, sample: Tensor, weights: Mapping[str, Tensor]) -> None:
        stand_ins: dict[Tensor, Tensor] = {}
        for parameter in network.parameters():
            stand_ins[parameter] = torch.ones(parameter.shape, dtype=sample.dtype)
        places = analysed(network)
        stand_ins |= {places[name].weight: weight for name, weight in weights.items()}
        for buffer in network.buffers():
            stand_ins[buffer] = buffer.to("cpu", sample.dtype) if buffer.is_floating_point() else buffer.cpu()
        with evaluating(network), torch.enable_grad(), substituted(network, stand_ins), parametrize.cached():
            # What a parametrised layer computes is one tensor while it is cached.
            used = {id(places[name].weight): weight for name, weight in weights.items()}
            self._mode = _Booleans(used)
            with self._mode, refusing(network, f"samples of shape {tuple(sample.shape[1:])}"):
                output = network(sample)
        outputs = [tensor.sum() for tensor in tensors_in(output) if tensor.requires_grad]
        if not outputs:
            raise SparsityError(f"no weight of {type(network).__name__} shows in its output; it cannot be analysed")
        self.output = torch.stack(outputs).sum()
        self.reached = self._mode.reached

    def gradients(self, tensors: Sequence[Tensor], every_unit_read: bool = False) -> tuple[Tensor | None, ...]:
        """What of some tensors reaches the output: where the gradients are positive; None for what does not at all.

        Args:
            tensors: Weights, or layers' outputs.
            every_unit_read: Whether the backward pass starts anew at every layer, as if all its units were read: a
                gradient then says that some kept weight reads a unit directly, not that the network's output does.
        """
        self._mode.every_unit_read = every_unit_read
        return torch.autograd.grad(self.output, tensors, retain_graph=True, allow_unused=True) if tensors else ()


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
    def __init__(self, stand_ins: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.stand_ins = stand_ins
        self.every_unit_read = False
        self.reached: dict[Tensor, list[Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operation(func)
        if name not in LAYERS:
            return super().__torch_function__(_POOLS.get(name, func), types, args, kwargs)
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        stand_in = self.stand_ins.get(id(weight))
        if stand_in is not None and len(args) > 1:
            args = (args[0], stand_in, *args[2:])
        elif stand_in is not None:
            kwargs = {**kwargs, "weight": stand_in}
        result = super().__torch_function__(func, types, args, kwargs)
        boolean = cast(Tensor, _Boolean.apply(result, self))
        if stand_in is not None and boolean.requires_grad:
            self.reached.setdefault(stand_in, []).append(boolean)
        return boolean.clone()  # the network may write into it


class _Boolean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, mode: "_Booleans") -> Tensor:
        ctx.mode = mode
        return (values > 0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return torch.ones_like(gradient) if ctx.mode.every_unit_read else (gradient > 0).to(gradient.dtype), None


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
