import random
from collections import Counter, OrderedDict, UserDict, deque
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torchmetrics import MeanMetric

from sparsity.forward.restoring import restored


class Mean:
    """A record: plain values alone."""

    def __init__(self) -> None:
        self.sum, self.count, self.last = 0.0, 0, [torch.zeros(2)]

    def update(self, value: float) -> None:
        self.sum, self.count = self.sum + value, self.count + 1
        self.last[0] += value


class Handle:
    """No record: it has something to hold on to."""

    def __init__(self) -> None:
        self.file, self.written = open, 0


def test_every_kind_of_thing_is_put_back_as_the_same_object() -> None:
    things: dict[str, Any] = {
        "list": [1, 2],
        "dict": {"a": 1, "b": {"c": [3]}},
        "ordered": OrderedDict(a=1, b=2),
        "counter": Counter("aab"),
        "set": {1, 2},
        "deque": deque([1, 2], maxlen=2),
        "tensor": torch.arange(3.0),
        "array": np.arange(3),
        "mean": Mean(),
        "named": UserDict(x=torch.ones(2)),
    }
    before = dict(things)
    with restored(things):
        things["list"].append(3)
        things["dict"]["b"]["c"].pop()
        things["dict"]["d"] = 4
        things["ordered"].move_to_end("a")
        things["counter"]["a"] = 7
        things["set"].add(3)
        things["deque"].append(3)
        things["tensor"].mul_(2)
        things["array"][0] = 9
        things["mean"].update(2.0)
        things["named"].pop("x")
        things["new"] = 1
        things["list"] = None
    assert list(things) == list(before)
    assert all(things[name] is before[name] for name in before)
    assert things["list"] == [1, 2]
    assert things["dict"] == {"a": 1, "b": {"c": [3]}}
    assert list(things["ordered"]) == ["a", "b"]
    assert things["counter"] == {"a": 2, "b": 1}
    assert things["set"] == {1, 2}
    assert list(things["deque"]) == [1, 2]
    assert things["tensor"].tolist() == [0, 1, 2]
    assert things["array"].tolist() == [0, 1, 2]
    assert (things["mean"].sum, things["mean"].count, things["mean"].last[0].tolist()) == (0.0, 0, [0, 0])
    assert things["named"]["x"].tolist() == [1, 1]


def test_a_module_gets_back_attributes_buffers_hooks_gradients_and_metrics() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module.metric = MeanMetric()
    module.metric.update(torch.tensor(3.0))
    module.seen, module.steps = [], 0
    weight, gradient = module[0].weight, torch.full((2, 2), 5.0)
    weight.grad = gradient
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with restored(module):
        module(torch.randn(4, 2)).sum().backward()
        module.register_forward_hook(lambda *_: None)
        module[0].weight = nn.Parameter(torch.zeros(2, 2))
        module[0].bias.data = torch.ones(2)
        module.seen.append(1)
        module.steps += 1
        module.metric.update(torch.tensor(9.0))
        module.later = "new"
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert module[0].weight is weight
    assert not module._forward_hooks
    assert (module.seen, module.steps, hasattr(module, "later")) == ([], 0, False)
    assert module.metric.compute() == 3
    # The gradient itself was added to in place: what a backward pass does is not undone, only what it set.
    assert weight.grad is gradient


def test_random_generators_give_again_what_they_would_have_given() -> None:
    generators = [torch.Generator().manual_seed(1), np.random.default_rng(1), random.Random(1)]

    def draw() -> list[float]:
        return [torch.rand(1, generator=generators[0]).item(), generators[1].random(), generators[2].random()]

    with restored(generators):
        first = draw()
    assert draw() == first


def test_what_holds_other_objects_is_left_alone() -> None:
    handle = Handle()
    with restored([handle]):
        handle.written += 1
    assert handle.written == 1


def test_it_is_put_back_after_an_exception_and_in_circles() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    with suppress(KeyError), restored(circle):
        circle.clear()
        raise KeyError
    assert circle[0] == 1
    assert circle[1] is circle


def test_not_a_number_is_put_back_too() -> None:
    tensor = torch.tensor([torch.nan, 1.0])
    with restored(tensor):
        tensor.fill_(0)
    assert tensor[0].isnan()
    assert tensor[1] == 1
