"""A relabelled copy is put back in order, and any alignment leaves what a network computes."""

import copy
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from sparsity.analysis import align, apply
from sparsity.errors import SparsityError
from sparsity.graph.units import permuted
from sparsity.masks import masks
from sparsity.networks import FC, VGG11, ResNet
from tests.analysis.comparison.test_alignment import relabelled, sparse, tensors
from tests.graph.test_units import NETWORKS, randomised

IMAGES = (1, 8, 8)


def two(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Two networks whose weights have nothing to do with each other."""
    a, b = randomised(make()), randomised(make())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in b.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return a.requires_grad_(False), b.requires_grad_(False)


def mlp() -> FC:
    return FC(IMAGES, num_classes=5, widths=[16, 12])


@pytest.mark.parametrize(
    ("name", "density", "times"),
    [
        *((name, 1.0, 100) for name in ("fc", "transformer")),
        *((name, 0.4, 10) for name in ("fc", "gru", "lstm", "transformer", "attention", "bilinear", "grouped")),
    ],
)
def test_a_relabelled_copy_is_put_back_every_time(name: str, density: float, times: int) -> None:
    network, shape = NETWORKS[name]()
    sparse(randomised(network), density)
    for seed in range(times):
        other = relabelled(network, shape, seed)
        found = align(network, other, input_shape=shape, starts=1)
        assert found.similarity == pytest.approx(1, abs=1e-12)
        back = tensors(apply(other, found))
        assert all(torch.equal(tensor, back[name]) for name, tensor in tensors(network).items()), seed


@pytest.mark.parametrize("make", [lambda: VGG11(width=4), lambda: ResNet(20, width=4)], ids=["VGG", "ResNet-20"])
def test_so_is_one_of_a_published_architecture(make: Callable[[], nn.Module]) -> None:
    network = randomised(make()).float()
    other = relabelled(network, (3, 32, 32), 1)
    found = align(network, other, starts=1)
    images = torch.rand(4, 3, 32, 32)
    assert torch.allclose(network.eval()(images), apply(other.eval(), found)(images), atol=1e-5)
    assert found.similarity == pytest.approx(1, abs=1e-12)
    assert found.moved > 100


@pytest.mark.parametrize("matching", ["weights", "activations"])
def test_an_aligned_network_computes_what_it_did(matching: str) -> None:
    a, b = (sparse(network, 0.5) for network in two(lambda: ResNet(8, width=4)))
    images = torch.rand(12, 3, 32, 32, dtype=torch.float64)
    found = align(a, b, matching, images)  # type: ignore[arg-type]
    moved = apply(b, found)
    assert found.moved > 0
    assert torch.allclose(b.eval()(images), moved.eval()(images), atol=1e-10)
    assert all(int(m.sum()) == int(masks(moved)[name].sum()) for name, m in masks(b).items())
    assert any(not torch.equal(m, masks(moved)[name]) for name, m in masks(b).items())
    for name, tensor in tensors(moved).items():  # what is pruned stays zero
        if name.endswith("weight") and f"{name}_mask" in tensors(moved):
            assert not tensor[~tensors(moved)[f"{name}_mask"]].any()


def test_activations_put_a_relabelled_copy_back() -> None:
    network = randomised(mlp())
    images = torch.rand(200, *IMAGES, dtype=torch.float64)
    for seed in range(20):
        found = align(network, relabelled(network, IMAGES, seed), "activations", images)
        assert found.similarity == pytest.approx(1, abs=1e-12)


def test_more_starts_are_never_worse_and_one_seed_finds_one_order() -> None:
    a, b = two(mlp)
    found = [align(a, b, starts=n).similarity for n in (1, 2, 6)]
    assert found == sorted(found)
    assert found[-1] > align(a, b).similarity_before
    first, second = align(a, b, seed=3), align(a, b, seed=3)
    assert all(np.array_equal(x, y) for x, y in zip(first.orders, second.orders, strict=True))


def test_one_hidden_layer_is_aligned_as_by_trying_all_orders() -> None:
    a, b = two(lambda: FC(IMAGES, num_classes=3, widths=[5]))
    found = align(a, b, starts=1)
    (group,) = found.groups
    ours, theirs = (dict(n.named_parameters()) for n in (a, b))

    def product(order: tuple[int, ...]) -> float:
        moved = permuted(theirs, [group], [torch.tensor(order)])
        return sum(float((t * moved[name]).sum()) for name, t in ours.items())

    best = max(permutations(range(5)), key=product)
    assert found.orders[0].tolist() == list(best)


def test_the_cosine_is_that_of_all_parameters() -> None:
    a, b = two(mlp)
    x, y = (torch.cat([p.detach().flatten() for p in n.parameters()]) for n in (a, b))
    assert align(a, b).similarity_before == pytest.approx(float(x @ y / x.norm() / y.norm()), abs=1e-12)


def test_what_cannot_be_aligned_is_one_sentence() -> None:
    network = mlp()
    with pytest.raises(SparsityError, match="matching by activations needs images"):
        align(network, network, "activations")
    with pytest.raises(SparsityError, match="one architecture"):
        align(network, FC(IMAGES, num_classes=5, widths=[16, 13]))
    with pytest.raises(SparsityError, match="no matching by 'magic'"):
        align(network, network, "magic")  # type: ignore[arg-type]
    parametrised = copy.deepcopy(network)
    nn.utils.parametrizations.weight_norm(parametrised.fc1)
    with pytest.raises(SparsityError, match="remove_parametrizations"):
        apply(parametrised, align(network, parametrised))
