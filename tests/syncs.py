"""Counts where a program would wait for a GPU, on a machine without one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

WAITS: set[Any] = {
    Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__bool__, Tensor.__int__, Tensor.__float__,
    Tensor.__index__, Tensor.__contains__, Tensor.nonzero, Tensor.unique, Tensor.masked_select, Tensor.equal,
    Tensor.is_nonzero, Tensor.allclose, Tensor.argwhere, torch.nonzero, torch.masked_select, torch.equal, torch.unique,
    torch.is_nonzero, torch.allclose, torch.argwhere, torch.bincount, Tensor.bincount,
}  # fmt: skip
"""What has to know the values of a tensor."""


class CountSyncs(TorchFunctionMode):
    """Counts the calls that would wait, and lets tensors say that they are not on the CPU.

    So the program takes the way that it takes on a GPU, which is another one where a CPU allows a shortcut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function == Tensor.is_cpu.__get__:  # type: ignore[attr-defined]
            return False
        by_mask = function in (Tensor.__getitem__, Tensor.__setitem__) and _has_bools(args[1])
        moves = function is Tensor.to and any(isinstance(a, str) and a == "cpu" for a in args)
        self.count += function in WAITS or by_mask or moves
        return function(*args, **(kwargs or {}))


def _has_bools(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)
