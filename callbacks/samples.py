"""What the samples of a fit look like, found out without asking its data for anything that the fit would miss."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from sparsity.callbacks.network import network_of
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given, own_sample, own_shape
from sparsity.seeding import unmoved_randomness


def known_sample(trainer: pl.Trainer, module: pl.LightningModule) -> Given:
    """One sample, or its shape, as the module's `example_input_array`, the data module or the network tells.

    Returns:
        As `sparsity.graph.sample` takes it; None if none of them tells.
    """
    example: Any = module.example_input_array
    if isinstance(example, Tensor | tuple | Mapping):
        return example
    shape = own_shape(trainer.datamodule)  # type: ignore[attr-defined]
    return own_sample(network_of(module)) if shape is None else shape


def batch_sample(batch: Any) -> Given:
    """One sample of a batch that is a tensor, or starts with one, or its shape; None of others.

    Whole numbers are token ids, but bytes, which are images that are not normalised yet.
    """
    inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(inputs, Tensor) or not inputs.ndim:
        return None
    return inputs[:1] if inputs.dtype in (torch.int64, torch.int32) else tuple(inputs.shape[1:])


def validation_images(trainer: pl.Trainer, count: int) -> Tensor | None:
    """The first validation images as the network sees them; None if there are none.

    Args:
        trainer: After a fit.
        count: How many.

    Raises:
        SparsityError: If batches do not start with images.
    """
    loaders = trainer.val_dataloaders
    loader = next(iter(loaders), None) if isinstance(loaders, list | tuple) else loaders
    if not count or loader is None:
        return None
    parts: list[Tensor] = []
    with peeking(loader):
        for batch in loader:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            batch = batch if datamodule is None else datamodule.on_after_batch_transfer(batch, 0)
            images = batch[0] if isinstance(batch, list | tuple) and batch else batch
            if not isinstance(images, Tensor):
                raise SparsityError(
                    f"a validation batch starts with a {type(images).__name__}; give tensors, or lists of them"
                )
            parts.append(images)
            if sum(map(len, parts)) >= count:
                break
    return torch.cat(parts)[:count] if parts else None


@contextmanager
def peeking(loader: Any) -> Iterator[None]:
    """Go through a loader, or several in lists and dicts, and leave all that it draws from as it was."""
    loaders = list(_single(loader))
    generators = list(dict.fromkeys(generator for one in loaders for generator in _generators(one)))
    states = [generator.get_state() for generator in generators]
    positions = [(one, one.state_dict()) for one in loaders if hasattr(one, "state_dict")]
    with unmoved_randomness():
        try:
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            for one, position in positions:
                one.load_state_dict(position)


def _single(loader: Any) -> Iterator[Any]:
    if isinstance(loader, CombinedLoader):
        yield from loader.flattened
    elif isinstance(loader, list | tuple | Mapping):
        for one in loader.values() if isinstance(loader, Mapping) else loader:
            yield from _single(one)
    else:
        yield loader


def _generators(loader: Any) -> Iterator[torch.Generator]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    for drawing in (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)):
        if isinstance(generator := getattr(drawing, "generator", None), torch.Generator):
            yield generator
