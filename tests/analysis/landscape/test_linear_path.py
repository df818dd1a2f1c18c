"""The straight line between two networks, against closed forms and networks made by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.analysis.landscape.linear_path import LinearPath, has_statistics, linear_path, reset_statistics
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet


def images_and_labels(count: int = 60, shape: tuple[int, ...] = (1, 4, 4)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *shape, generator=generator), torch.randint(3, (count,), generator=generator)


def mlp(seed: int) -> FC:
    torch.manual_seed(seed)
    return FC((1, 4, 4), num_classes=3, width=8, depth=2)


def test_every_point_is_the_network_with_the_mean_of_the_weights() -> None:
    a, b = mlp(0), mlp(1)
    images, labels = images_and_labels()
    found = linear_path(a, b, images, labels, points=5)
    assert found.positions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    for t, loss, accuracy in zip(found.positions, found.losses, found.accuracies, strict=True):
        state = {name: (1 - t) * x + t * b.state_dict()[name] for name, x in a.state_dict().items()}
        logits = torch.func.functional_call(a, state, images)
        assert loss == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-6)
        assert accuracy == int((logits.argmax(1) == labels).sum()) / len(labels)


def test_there_is_no_barrier_between_a_network_and_itself() -> None:
    found = linear_path(mlp(0), mlp(0), *images_and_labels())
    assert len(found.losses) == 30
    assert found.error_barrier == 0
    assert found.loss_barrier == pytest.approx(0, abs=1e-6)


def test_a_barrier_is_what_the_line_has_above_the_mean_of_its_ends() -> None:
    found = LinearPath(np.array([0, 0.5, 1.0]), np.array([0.1, 0.9, 0.3]), np.array([0.9, 0.4, 0.8]))
    assert found.loss_barrier == pytest.approx(0.7)
    assert found.error_barrier == pytest.approx(0.45)
    assert found.rows()[1] == {"position": 0.5, "loss": 0.9, "accuracy": 0.4}


def test_neither_network_changes_and_masks_do_not_hinder_the_line() -> None:
    a, b = mlp(0), mlp(1)
    for network, seed in ((a, 0), (b, 1)):
        add_masks(network)
        generator = torch.Generator().manual_seed(seed)
        shapes = {name: mask.shape for name, mask in masks(network).items()}
        set_mask(network, {name: torch.rand(shape, generator=generator) < 0.4 for name, shape in shapes.items()})
    before = [copy.deepcopy(network.state_dict()) for network in (a, b)]
    images, labels = images_and_labels()
    middle = linear_path(a, b, images, labels, points=3).losses[1]
    for network, state in zip((a, b), before, strict=True):
        assert all(torch.equal(x, state[name]) for name, x in network.state_dict().items())
    dense = mlp(2)
    with torch.no_grad():
        for p, x, y in zip(dense.parameters(), a.parameters(), b.parameters(), strict=True):
            p.copy_((x + y) / 2)
    assert middle == pytest.approx(float(F.cross_entropy(dense(images), labels).detach()), abs=1e-6)


class Normed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


def test_statistics_are_those_of_the_images_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    network = Normed()
    assert has_statistics(network)
    images, _ = images_and_labels(500)  # one batch
    before = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    reset_statistics(network, images)
    hidden = network[1](network[0](images)).detach()
    assert torch.allclose(network[2].running_mean, hidden.mean(0), atol=1e-6)
    assert torch.allclose(network[2].running_var, hidden.var(0), atol=1e-5)
    assert network[2].momentum == 0.1
    assert network.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) or "running" in name or "num_batches" in name


def test_between_normalised_networks_statistics_are_computed_at_every_point() -> None:
    torch.manual_seed(0)
    a, b = Normed(), Normed()
    images, labels = images_and_labels(300)
    found = linear_path(a, b, images, labels, points=3, statistics_from=images)
    middle = copy.deepcopy(a)
    with torch.no_grad():
        for p, x, y in zip(middle.parameters(), a.parameters(), b.parameters(), strict=True):
            p.copy_((x + y) / 2)
    reset_statistics(middle, images)
    assert found.losses[1] == pytest.approx(float(F.cross_entropy(middle.eval()(images), labels).detach()), abs=1e-6)
    assert found.losses[1] != pytest.approx(linear_path(a, b, images, labels, points=3).losses[1], abs=1e-3)
    assert not has_statistics(mlp(0))


def test_a_line_that_cannot_be_drawn_is_one_sentence() -> None:
    images, labels = images_and_labels()
    with pytest.raises(SparsityError, match="one architecture"):
        linear_path(mlp(0), FC((1, 4, 4), num_classes=3, width=9, depth=2), images, labels)
    with pytest.raises(SparsityError, match="points"):
        linear_path(mlp(0), mlp(1), images, labels, points=1)
    with pytest.raises(SparsityError, match="labels go from"):
        linear_path(mlp(0), mlp(1), images, labels + 3)
    with pytest.raises(SparsityError, match="cannot take"):
        linear_path(ResNet(8, width=2), ResNet(8, width=2), images, labels)
