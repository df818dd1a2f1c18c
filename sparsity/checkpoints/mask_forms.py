"""Masks that other programs keep apart from our way: PyTorch's own pruning within a file, OpenLTH in one beside it.

Both end in a layer's `weight`, zero where it is pruned, with `weight_mask` beside it.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from sparsity.checkpoints.reading import read_torch_file
from sparsity.errors import SparsityError
from sparsity.masks import SUFFIX

_OPEN_LTH_MODEL = re.compile(r"model_ep\d+_it\d+\.pth")
_OPEN_LTH_MASK = "mask.pth"


def as_bool(name: str, values: Tensor) -> Tensor:
    """A mask of any dtype as bool.

    Args:
        name: The mask's, for the message.
        values: Zeros and ones.

    Raises:
        SparsityError: If there are others.
    """
    if not ((values == 0) | (values == 1)).all():
        raise SparsityError(f"{name} is no mask: it has values other than 0 and 1")
    return values == 1


def applied_to(name: str, tensor: Tensor, mask_name: str, mask: Tensor) -> Tensor:
    """A tensor with zeros where its mask prunes.

    Raises:
        SparsityError: If the mask has another shape or values other than 0 and 1.
    """
    if mask.shape != tensor.shape:
        raise SparsityError(f"the mask {mask_name} is shaped {list(mask.shape)}, and {name} {list(tensor.shape)}")
    return tensor.masked_fill(~as_bool(mask_name, mask), 0)


def without_reparametrisation(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `torch.nn.utils.prune`: of `X_orig` and `X_mask` it computes `X` in every forward pass.

    Masks of weights stay; those of vectors, such as biases, which our networks do not have, are multiplied in.

    Args:
        state: Tensors by name; left unchanged. What is not pruned in this way comes back as it is.

    Raises:
        SparsityError: If a mask has another shape than its tensor or values other than 0 and 1.
    """
    found = dict(state)
    for key in [key for key in state if key.endswith("_orig")]:
        name, mask_name = key.removesuffix("_orig"), key.removesuffix("_orig") + SUFFIX
        if mask_name not in state:  # spectral_norm's originals
            continue
        found[name] = applied_to(key, found.pop(key), mask_name, state[mask_name])
        if found[name].dim() < 2:
            del found[mask_name]
    return found


def require_computed(path: Path, state: Mapping[str, Tensor], names: Collection[str] = ()) -> None:
    """Refuse what a parametrisation has yet to make weights of: of `torch.ao.pruning`, a file lacks the masks.

    Args:
        path: The file, for the message.
        state: What it holds.
        names: Of the tensors of the network that they are for, which may be parametrised itself.

    Raises:
        SparsityError: Names the first.
    """
    if before := next((key for key in state if "parametrizations." in key and key not in names), None):
        raise SparsityError(
            f"{path} was saved with a parametrisation on it ({before}), so its weights are not in it, and no masks of "
            "torch.ao.pruning; save it after the sparsifier's squash_mask(), or after "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )


def masks_beside(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The masks that OpenLTH keeps in `mask.pth` in the folder of its models, `model_ep*_it*.pth`.

    Args:
        path: The model's.
        state: What it holds.

    Returns:
        What `state` becomes: pruned weights zero, with `weight_mask` beside them; None if there are no such masks.

    Raises:
        SparsityError: If `mask.pth` is damaged, or of another network.
    """
    beside = path.parent / _OPEN_LTH_MASK
    if not _OPEN_LTH_MODEL.fullmatch(path.name) or not beside.is_file():
        return None
    masks = read_torch_file(beside, "masks by the names of weights, as OpenLTH saves them")
    if not isinstance(masks, Mapping) or not all(isinstance(mask, Tensor) for mask in masks.values()):
        raise SparsityError(
            f"{beside} holds no masks by the names of weights; take it away if OpenLTH did not write it"
        )
    found = dict(state)
    for name, mask in masks.items():
        if name not in state:
            raise SparsityError(f"{beside} has a mask for {name!r}, which {path} does not have; give files of one run")
        try:
            found[name] = applied_to(name, state[name], name, mask)
        except SparsityError as error:
            raise SparsityError(f"{beside} does not fit {path}: {error}") from error
        found[name + SUFFIX] = mask
    return found
