"""Compiled networks: pruners change masks and phases under them, and nothing is compiled twice or out of date."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch.optim import SGD
from torch.utils.data import DataLoader

from sparsity.classifier import SparseClassifier
from sparsity.masks import masks
from tests.callbacks.test_every_pruner import PRUNERS, equal, state


class CountGraphs(pl.Callback):
    """How many graphs were compiled up to each step."""

    def __init__(self) -> None:
        self.compiled = 0
        self.up_to_step: list[int] = []

    def backend(self, graph: Any, inputs: Any) -> Any:
        """Runs a graph operation by operation, so exactly, as torch traced and differentiated it."""
        self.compiled += 1
        return aot_eager(graph, inputs)

    def on_train_batch_end(self, *_: Any) -> None:
        self.up_to_step.append(self.compiled)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
            nn.Linear(8, 3),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def classifier() -> SparseClassifier:
    torch.manual_seed(3)
    return SparseClassifier(Network(), lambda parameters: SGD(parameters, lr=0.05, momentum=0.9))


@pytest.mark.parametrize("name", PRUNERS)
def test_a_compiled_network_is_compiled_once_and_trains_like_one_that_is_not(
    name: str, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    torch._dynamo.reset()
    eager, compiled, count = classifier(), classifier(), CountGraphs()
    compiled.network.compile(backend=count.backend)
    make_trainer(PRUNERS[name](), max_epochs=6).fit(eager, loader, loader)
    make_trainer(PRUNERS[name](), count, max_epochs=6).fit(compiled, loader, loader)
    assert all(torch.equal(mask, masks(compiled.network)[n]) for n, mask in masks(eager.network).items())
    assert equal(state(eager.network), state(compiled.network))
    # One graph for evaluation and one for training, from the first step to the last.
    assert count.up_to_step == [2] * 36
