"""The masks of a file over the weights of the same file, which should be zero where they prune."""

import warnings
from collections.abc import Mapping

from torch import Tensor, nn

from sparsity.masks import apply_masks, masks, nonzero_pruned


def cut(network: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Give a network the masks of the file that its weights are from, and warn if they cut something.

    Args:
        network: With masks; changed in place.
        found: Masks by the names of masked layers, bool.
    """
    own = masks(network)
    for name, mask in found.items():
        own[name].copy_(mask)
    if stray := nonzero_pruned(network):
        warnings.warn(
            f"{stray:,} pruned weights in the file are not zero, since nothing kept them there in training: they are "
            "cut, so the network computes something else than the one that was saved; train with a pruner or KeepMasks",
            stacklevel=2,
        )
    apply_masks(network)
