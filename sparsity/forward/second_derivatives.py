"""Second derivatives of operations for which torch has but the first ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch._C._nn import hardsigmoid, hardsigmoid_
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from typing_extensions import override


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Let forward passes within be such that they can be differentiated twice: the same numbers, up to rounding."""
    # Attention's fast kernels have a first derivative only.
    with sdpa_kernel(SDPBackend.MATH), _WrittenOut():
        yield


class _WrittenOut(TorchFunctionMode):
    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (F.hardsigmoid, hardsigmoid):
            return _hardsigmoid(*args, **(kwargs or {}))
        if func is hardsigmoid_:
            return _hardsigmoid(args[0], inplace=True)
        return func(*args, **(kwargs or {}))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    found = F.relu6(input + 3) / 6
    return input.copy_(found) if inplace else found
