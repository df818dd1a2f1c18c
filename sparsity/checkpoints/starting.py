"""Starting a new run from the weights and masks of another one, of whatever data, optimizer or program."""

import os
import warnings

from torch import nn

from sparsity.checkpoints.cutting import cut
from sparsity.checkpoints.layouts import translated_for
from sparsity.checkpoints.network_files import FilePath, read_network_file
from sparsity.checkpoints.reading import require_numbers_of, shape_in_words
from sparsity.errors import SparsityError
from sparsity.masks import SUFFIX, add_masks, is_mask_key, mask_keys, masked, remove_masks


def load_weights(network: nn.Module, path: FilePath) -> None:
    """Give a network the tensors of a file; masks in it are set, and layers without one there keep theirs.

    Args:
        network: With masks; changed in place.
        path: A checkpoint of this program or of another one that `load_network` reads, or a state dict; code in it is
            not run.

    Raises:
        SparsityError: If there is no such file, or it is of another network; nothing is changed then.
    """
    expected = network.state_dict()
    file = read_network_file(path, names=expected)
    file.say()
    found = translated_for(file.state, expected)
    masks = {key: name for name, key in mask_keys(network).items()}
    for key in [*expected, *found]:
        there, here = found.get(key), expected.get(key)
        if there is None and key in masks:
            continue
        if here is None and is_mask_key(key, expected):
            raise SparsityError(
                f"{os.fspath(path)} has a mask for {key.removesuffix(SUFFIX)!r}, which is not masked here; take it out "
                "of model.exclude, or name it in model.include"
            )
        if there is None or here is None or there.shape != here.shape:
            raise SparsityError(
                f"{os.fspath(path)} has the weights of another network than {type(network).__name__} as it is "
                f"configured: {key} is {shape_in_words(there)} there and {shape_in_words(here)} here; give a "
                "checkpoint of the same one"
            )
        require_numbers_of(here, f"{key} in {os.fspath(path)}", there)
    for key in masks.keys() & found.keys():
        if not ((found[key] == 0) | (found[key] == 1)).all():
            raise SparsityError(f"{os.fspath(path)} is damaged: {key} is no mask, it has values other than 0 and 1")
    network.load_state_dict(expected | {key: tensor for key, tensor in found.items() if key not in masks})
    if not masks.keys() & found.keys():  # saved without masks: what is zero is pruned
        names = [place.full_name for place in masked(network).values()]
        remove_masks(network)
        add_masks(network, include=names)
    elif dense := [masks[key] for key in masks if key not in found]:
        warnings.warn(
            f"{', '.join(dense)} had no mask in {os.fspath(path)}, and can be pruned here; "
            f"model.exclude [{', '.join(dense)}] leaves as it was",
            stacklevel=2,
        )
    cut(network, {masks[key]: found[key].bool() for key in masks.keys() & found.keys()})
