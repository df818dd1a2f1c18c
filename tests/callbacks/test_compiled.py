"""Compiled networks: pruners change masks and phases under them, and nothing is compiled twice or out of date."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.optim import SGD
from torch.utils.data import DataLoader

from sparsity.classifier import SparseClassifier
from sparsity.masks import masks
from tests.callbacks.test_every_pruner import PRUNERS, equal, state


class CountGraphs(pl.Callback):
    """How many graphs were compiled up to each step."""

    def __init__(self) -> None:
        self.graphs: list[int] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.graphs.append(counters["stats"]["unique_graphs"])


def classifier() -> SparseClassifier:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip
    return SparseClassifier(network, lambda parameters: SGD(parameters, lr=0.05, momentum=0.9))


@pytest.mark.parametrize("name", PRUNERS)
def test_a_compiled_network_is_compiled_once_and_trains_like_one_that_is_not(
    name: str, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    torch._dynamo.reset()
    counters.clear()
    eager, compiled, count = classifier(), classifier(), CountGraphs()
    # Its graphs are those that torch compiles; what it makes of them it runs operation by operation, so exactly.
    compiled.network.compile(backend="aot_eager")
    make_trainer(PRUNERS[name](), max_epochs=6).fit(eager, loader, loader)
    make_trainer(PRUNERS[name](), count, max_epochs=6).fit(compiled, loader, loader)
    assert all(torch.equal(mask, masks(compiled.network)[n]) for n, mask in masks(eager.network).items())
    assert equal(state(eager.network), state(compiled.network))
    # One graph for evaluation and one for training, from the first step to the last.
    assert count.graphs == [2] * 36
