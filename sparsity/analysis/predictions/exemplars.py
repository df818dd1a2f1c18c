"""Pruning identified exemplars: the images on which pruned networks disagree with dense ones (Hooker et al. 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsity.errors import SparsityError

FEWEST = 3
"""Of fewer networks there is no prediction that most of them share; the paper took 30."""


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Images on which the modal predictions differ.

    Args:
        images: Their numbers, `[found]`, int64, rising.
        dense: What most dense networks say of them, `[found]`.
        pruned: What most pruned networks say, `[found]`.
    """

    images: Tensor
    dense: Tensor
    pruned: Tensor


def pruning_identified_exemplars(dense: Sequence[Tensor], pruned: Sequence[Tensor]) -> Exemplars:
    """Find the images whose modal prediction pruning changes.

    Of classes that equally many networks predict, the lowest is the mode.

    Args:
        dense: Of three networks or more that are not pruned, trained with other seeds, the predicted classes `[n]`.
        pruned: The same of pruned ones.

    Raises:
        SparsityError: Of fewer networks.
    """
    if len(dense) < FEWEST or len(pruned) < FEWEST:
        raise SparsityError(
            f"images that pruning makes wrong need {FEWEST} dense and {FEWEST} pruned networks of several seeds, not "
            f"{len(dense)} and {len(pruned)}"
        )
    before, after = (torch.stack(list(said)).mode(dim=0).values for said in (dense, pruned))
    found = (before != after).nonzero().flatten()
    return Exemplars(found, before[found], after[found])
