"""Which weights a forward pass uses, and which of them in products of other than the known layers."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import Self, override

from sparsity.forward.tensors import tensors_in
from sparsity.masks import matrix_weights

_SAME_VALUES = frozenset(
    {"t", "transpose", "permute", "view", "_unsafe_view", "reshape", "expand", "repeat", "slice", "select", "alias"}
    | {"unsqueeze", "squeeze", "split", "split_with_sizes", "unbind", "as_strided", "clone", "detach", "_to_copy"}
    | {"index", "index_select", "gather"}
)
"""Operations that give a weight's own values in another shape, order, place or precision."""

_NO_PRODUCTS = frozenset(
    {"embedding", "_embedding_bag", "_embedding_bag_forward_only", "add", "add_", "sub", "cat", "stack", "where"}
    | {"native_layer_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"}
)
"""Operations that look a weight up or add it, and normalisations, whose multiply-adds do not count."""


class WeightUses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches a forward pass below all modules and functions, where only PyTorch's elementary operations are left.

    Args:
        network: Whose pass is watched; left unchanged.
        layers: Layers within which products with weights are known.
    """

    used: set[int]
    """Identities of the parameters that an operation took."""
    in_products: list[str]
    """Names of the matrices that take part outside of the layers in more than a look-up or a sum."""

    def __init__(self, network: nn.Module, layers: Iterable[nn.Module] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.used = set()
        self.in_products = []
        self._matrices = {id(weight): name for name, weight in matrix_weights(network).items()}
        self._layers = list(layers)
        self._within = 0
        self._alive: list[Tensor] = []  # so that no identity is used twice
        self._hooks = ExitStack()

    @override
    def __enter__(self) -> Self:
        def enter(*_: Any) -> None:
            self._within += 1

        def leave(*_: Any) -> None:
            self._within -= 1

        for layer in self._layers:
            self._hooks.callback(layer.register_forward_pre_hook(enter, prepend=True).remove)
            self._hooks.callback(layer.register_forward_hook(leave).remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @override
    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._hooks.close()

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        taken = list(tensors_in((args, kwargs)))
        self.used.update(map(id, taken))
        operation = func.overloadpacket.__name__
        if self._within or operation in _NO_PRODUCTS or operation.endswith("_like") or operation.startswith("new_"):
            return result
        for name in (self._matrices[id(tensor)] for tensor in taken if id(tensor) in self._matrices):
            if operation not in _SAME_VALUES:
                self.in_products.append(name)
                continue
            for tensor in tensors_in(result):
                self._alive.append(tensor)
                self._matrices[id(tensor)] = name
        return result
