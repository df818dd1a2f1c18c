"""Sums over the windows of a maximum."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def sum_over_windows(tensor: Tensor, size: torch.Size, axes: int, named: Mapping[str, Any]) -> Tensor:
    """The sum over each window of a maximum, whose gradient would go to one of equal numbers only.

    Args:
        tensor: `[..., *pixels]`.
        size: Of the maximum.
        axes: Number of axes of pixels.
        named: Arguments of the maximum by name.
    """

    def per_axis(value: Any) -> list[int]:
        several = list(value) if isinstance(value, list | tuple) else [value]
        return several * axes if len(several) == 1 else several

    kernel = per_axis(named["kernel_size"])
    stride = per_axis(named["stride"]) if named.get("stride") else kernel
    padding, dilation = per_axis(named.get("padding", 0)), per_axis(named.get("dilation", 1))
    flat = tensor.reshape(-1, 1, *tensor.shape[tensor.ndim - axes :])
    pads: list[int] = []
    for axis in reversed(range(axes)):
        length = flat.shape[2 + axis]
        reach = (size[len(size) - axes + axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        pads += [padding[axis], max(reach - length - padding[axis], 0)]  # as far as rounding up reaches
    ones = torch.ones(1, 1, *kernel, dtype=tensor.dtype, device=tensor.device)
    convolve = getattr(F, f"conv{axes}d")
    summed: Tensor = convolve(F.pad(flat, pads), ones, stride=stride, dilation=dilation)
    for axis, length in enumerate(size[len(size) - axes :]):
        summed = summed.narrow(2 + axis, 0, length)
    return summed.reshape(size)
