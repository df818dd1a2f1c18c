"""Masks on ordinary layers: which weights of a network are kept, and the pruned ones stored as zero.

A masked weight is a parameter of any module with one more buffer beside it, called like it with `_mask` behind (bool,
shaped like the weight, True = kept): `weight_mask`, `in_proj_weight_mask`, `weight_ih_l0_mask`. The invariant of the
whole package: a pruned weight is stored as exactly zero, so that the forward pass is the ordinary dense one. Here are
the functions on one network; keeping the invariant while an optimizer writes is the pruning callback's work.
"""

from sparsity.masks.buffers import (
    Mask,
    add_masks,
    add_masks_of,
    apply_masks,
    remove_masks,
    set_mask,
    zero_pruned,
)
from sparsity.masks.counts import density, kept, matrix_weights, nonzero_pruned, sizes, tied_weights, unmasked_weights
from sparsity.masks.places import (
    SUFFIX,
    Place,
    averages,
    is_mask_key,
    mask_keys,
    maskable,
    masked,
    masked_weights,
    masks,
)

__all__ = [
    "SUFFIX",
    "Mask",
    "Place",
    "add_masks",
    "add_masks_of",
    "apply_masks",
    "averages",
    "density",
    "is_mask_key",
    "kept",
    "mask_keys",
    "maskable",
    "masked",
    "masked_weights",
    "masks",
    "matrix_weights",
    "nonzero_pruned",
    "remove_masks",
    "set_mask",
    "sizes",
    "tied_weights",
    "unmasked_weights",
    "zero_pruned",
]
