"""The example in every public callback's docstring does what it says."""

import doctest

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import sparsity.callbacks
from sparsity.classifier import SparseClassifier
from sparsity.datamodules import Digits
from sparsity.masks import add_masks, kept, masked, set_mask, sizes
from sparsity.networks import FC
from sparsity.pruning.saliency import magnitude_saliency, snip_saliency

NAMES = {
    "pl": pl, "torch": torch, "nn": nn, "add_masks": add_masks, "set_mask": set_mask, "masked": masked,
    "sizes": sizes, "magnitude_saliency": magnitude_saliency, "snip_saliency": snip_saliency,
    **{name: getattr(sparsity.callbacks, name) for name in sparsity.callbacks.__all__},
}  # fmt: skip
OWN = {
    "PruningCallback", "PruneBeforeTraining", "PruneByGradient", "PruneDuringTraining",
    "SparseTraining",
}  # fmt: skip


@pytest.mark.parametrize("name", sparsity.callbacks.__all__)
def test_the_example_runs_and_a_pruner_of_ones_own_reaches_its_density(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(sparsity.callbacks, name), name, globs=dict(NAMES))
    assert example.examples
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    if name in OWN:
        (pruner,) = (c for c in example.globs["trainer"].callbacks if isinstance(c, sparsity.callbacks.PruningCallback))
        trainer = pl.Trainer(
            callbacks=[pruner], max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        network = FC(width=8, depth=3)
        data = Digits(limit=200)
        trainer.fit(SparseClassifier(network), datamodule=data)
        assert sum(kept(network).values()) == round(pruner.density * sum(sizes(network).values()))
