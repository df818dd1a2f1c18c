"""The directions in which a sparse network's parameters can move: all of its parameters, but no pruned weight."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from sparsity.errors import SparsityError
from sparsity.forward.passes import in_mode, substituted
from sparsity.forward.second_derivatives import twice_differentiable
from sparsity.masks import masked


class Directions:
    """The parameters that stand in for a network's own, and vectors over those of their entries that are kept.

    Args:
        parameters: Leaves that require gradients.
        kept: For each, which of its entries move, bool, shaped like it; None for all.
    """

    def __init__(self, parameters: Sequence[Tensor], kept: Sequence[Tensor | None]) -> None:
        self.parameters = list(parameters)
        self._kept = list(kept)
        self._sizes = [p.numel() if k is None else int(k.sum()) for p, k in zip(parameters, kept, strict=True)]

    @property
    def size(self) -> int:
        """How many entries are kept: the length of a vector."""
        return sum(self._sizes)

    def flat(self, tensors: Iterable[Tensor]) -> Tensor:
        """The kept entries of tensors shaped like the parameters, `[size]`."""
        parts = [t.flatten() if k is None else t[k] for t, k in zip(tensors, self._kept, strict=True)]
        return torch.cat(parts)

    def spread(self, vector: Tensor) -> list[Tensor]:
        """A vector `[size]` as tensors shaped like the parameters, 0 where nothing is kept."""
        found = []
        for parameter, kept, part in zip(self.parameters, self._kept, torch.split(vector, self._sizes), strict=True):
            part = part.to(parameter.device, parameter.dtype)
            if kept is None:
                found.append(part.view_as(parameter))
            else:
                found.append(torch.zeros_like(parameter).masked_scatter(kept, part))
        return found

    @contextmanager
    def moved(self, vector: Tensor) -> Iterator[None]:
        """The network a vector `[size]` further on, for a while."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            for parameter, step in zip(self.parameters, self.spread(vector), strict=True):
                parameter.add_(step)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, values in zip(self.parameters, before, strict=True):
                    parameter.copy_(values)


@contextmanager
def kept_directions(network: nn.Module) -> Iterator[Directions]:
    """Differentiate a network, twice if need be, in evaluation mode and by copies of all of its parameters.

    Parameters that are frozen count: that is a matter of training, not of the network.

    Args:
        network: Any network; left unchanged.

    Raises:
        SparsityError: If there is no parameter, one has no values yet, or a masked weight is computed from others.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.is_floating_point()]
    if any(map(is_lazy, parameters)):
        raise SparsityError(
            f"a {type(network).__name__} without weights before its first pass has no derivatives; run it"
        )
    if not any(parameter.numel() for parameter in parameters):
        raise SparsityError(f"{type(network).__name__} has no parameters; give a network with weights")
    kept: dict[Tensor, Tensor] = {}
    for name, place in masked(network).items():
        if is_parametrized(place.module, place.parameter):
            raise SparsityError(
                f"the masked weight {name!r} is computed from others; make it a parameter first: "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
        kept[place.weight] = place.mask
    stand_ins: dict[Tensor, Tensor] = {p: p.detach().clone().requires_grad_() for p in parameters}
    with twice_differentiable(), in_mode(network, training=False), substituted(network, stand_ins), torch.enable_grad():
        yield Directions([stand_ins[p] for p in parameters], [kept.get(p) for p in parameters])
