"""The masks of a file over the weights of the same file, which should be zero where they prune."""

import warnings
from collections.abc import Mapping

from torch import Tensor, nn

from sparsity.masks import masked, set_mask


def cut(network: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Give a network the masks of the file that its weights are from, and warn if they cut something.

    Args:
        network: With masks; changed in place.
        found: Masks by the names of masked layers, bool.

    Raises:
        SparsityError: As `set_mask`, if a mask has another shape than its weight; nothing is changed then.
    """
    before = _nonzero(network)
    set_mask(network, found)
    if stray := before - _nonzero(network):
        warnings.warn(
            f"{stray:,} pruned weights in the file are not zero, since nothing kept them there in training: they are "
            "cut, so the network computes something else than the one that was saved; train with a pruner or KeepMasks",
            stacklevel=2,
        )


def _nonzero(network: nn.Module) -> int:
    return sum(int(place.weight.count_nonzero()) for place in masked(network).values())
