import copy
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import prune, vector_to_parameters

from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import add_masks, kept, masked, masks, set_mask, sizes
from sparsity.networks import FC, ResNet, ResNet56
from sparsity.pruning.clustered import clustered_saliency
from sparsity.pruning.saliency import (
    Saliency,
    cross_entropy,
    grasp_saliency,
    lamp_saliency,
    magnitude_saliency,
    random_saliency,
    snip_saliency,
    synflow_saliency,
)
from sparsity.pruning.selection import keep_highest


def two_three_one() -> nn.Sequential:
    """A 2-3-1 network small enough for paper."""
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    network[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, -1.0]])
    network[2].weight.data = torch.tensor([[2.0, -1.0, 4.0]])
    add_masks(network)
    return network


class OutputAgainstZero(nn.Module):
    """A network of one output z as one of two classes: logits (z, 0)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.network(x), (0, 1))


UNDECIDED = torch.tensor([[4.5, -1.0]])
"""Units h = relu(6.5, 13, -3.5) = (6.5, 13, 0), so z = 2 * 6.5 - 13 = 0 and the loss log(1 + exp(-z)) of class 0 has
the derivatives -1/2 and 1/4 by z. The gradient of z by the first layer is w2[j] x, (9, -2) and (-4.5, 1), 0 where the
unit is off; by the second it is h."""

CLASS_0 = torch.tensor([0])


def batch(*shape: int, classes: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, *shape, generator=generator), torch.arange(6) % classes


def snip(network: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> dict[str, Tensor]:
    return snip_saliency(network, partial(cross_entropy, network, images, labels), **options)


def grasp(
    network: nn.Module, images: Tensor, labels: Tensor, temperature: float = 200.0, **options: Any
) -> dict[str, Tensor]:
    return grasp_saliency(network, partial(cross_entropy, network, images, labels, temperature), **options)


def scores_on(*shape: int) -> dict[str, Callable[[nn.Module], Saliency]]:
    """Every saliency of networks with this input."""
    images, labels = batch(*shape)
    return {
        "random": random_saliency,
        "clustered": clustered_saliency,
        "magnitude": magnitude_saliency,
        "LAMP": lamp_saliency,
        "SNIP": lambda network: snip(network, images, labels),
        "GraSP": lambda network: grasp(network, images, labels),
        "SynFlow": lambda network: synflow_saliency(network, shape),
    }


def test_magnitude_is_the_absolute_weight() -> None:
    saliency = magnitude_saliency(two_three_one())
    assert saliency["0"].tolist() == [[1, 2], [3, 0.5], [1, 1]]
    assert saliency["2"].tolist() == [[2, 1, 4]]


def test_magnitude_keeps_what_torch_keeps_over_the_network_and_per_layer() -> None:
    network, everywhere, layer_by_layer = (FC((12,), depth=3, width=20) for _ in range(3))
    everywhere.load_state_dict(network.state_dict())
    layer_by_layer.load_state_dict(network.state_dict())
    add_masks(network)
    saliency, counts = magnitude_saliency(network), {name: size // 3 for name, size in sizes(network).items()}
    total = sum(sizes(network).values())
    ours = keep_highest(saliency, 100, masks(network))
    prune.global_unstructured(
        [(m, "weight") for m in everywhere if isinstance(m, nn.Linear)], prune.L1Unstructured, amount=total - 100
    )
    for name, mask in ours.items():
        assert torch.equal(mask, everywhere.get_submodule(name).weight_mask.bool())
    for name, mask in keep_highest(saliency, counts, masks(network)).items():
        layer = layer_by_layer.get_submodule(name)
        prune.l1_unstructured(layer, "weight", amount=mask.numel() - counts[name])
        assert torch.equal(mask, layer.weight_mask.bool())


def test_lamp_is_each_square_over_the_sum_of_those_not_smaller() -> None:
    saliency = lamp_saliency(two_three_one())
    # squares 1, 4, 9, 1/4, 1, 1: sums 9, 13, 14, 15, 16, 16 1/4 from the largest down, the later of equal ones first
    expected = [1 / 16, 4 / 13, 1, 0.25 / 16.25, 1 / 15, 1 / 14]
    assert saliency["0"].flatten().tolist() == pytest.approx(expected, rel=1e-15)
    # squares 4, 1, 16
    assert saliency["2"].flatten().tolist() == pytest.approx([4 / 20, 1 / 21, 1], rel=1e-15)


def test_lamp_of_zeros_is_zero_also_where_a_layer_has_nothing_else() -> None:
    network = two_three_one()
    set_mask(network, {"0": torch.eye(3, 2, dtype=torch.bool), "2": torch.zeros(1, 3, dtype=torch.bool)})
    saliency = lamp_saliency(network)
    assert saliency["0"].tolist() == [[1, 0], [0, 0.25 / 1.25], [0, 0]]
    assert saliency["2"].tolist() == [[0, 0, 0]]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), count=st.integers(3, 150))
def test_lamp_ranks_by_magnitude_in_a_layer_and_empties_none(seed: int, count: int) -> None:
    torch.manual_seed(seed)
    network = FC((6,), num_classes=3, depth=3, width=9)
    add_masks(network)
    network.fc2.weight.data.mul_(1e-12)
    magnitude = magnitude_saliency(network)
    set_mask(network, keep_highest(lamp_saliency(network), count, masks(network)))
    assert min(kept(network).values()) >= 1
    assert all(
        torch.equal(
            mask,
            keep_highest(magnitude, kept(network), {n: torch.ones_like(m) for n, m in masks(network).items()})[name],
        )
        for name, mask in masks(network).items()
    )


def test_snip_is_the_gradient_times_the_weight() -> None:
    saliency = snip(OutputAgainstZero(two_three_one()), UNDECIDED, CLASS_0)
    # 1/2 |dz/dw w|, dz/dw = (9, -2), (-4.5, 1), (0, 0) and (6.5, 13, 0)
    assert saliency["network.0"].tolist() == [[4.5, 2], [6.75, 0.25], [0, 0]]
    assert saliency["network.2"].tolist() == [[6.5, 6.5, 0]]


def test_snip_is_the_mean_over_the_batch_before_the_absolute_value() -> None:
    images, labels = UNDECIDED.repeat(2, 1), torch.tensor([0, 1])  # z = 0: opposite gradients
    saliency = snip(OutputAgainstZero(two_three_one()), images, labels)
    assert all((s == 0).all() for s in saliency.values())


def test_grasp_is_the_weight_times_the_hessian_of_the_gradient() -> None:
    saliency = grasp(OutputAgainstZero(two_three_one()), UNDECIDED, CLASS_0, temperature=1.0)
    # With u the gradient of z, g = -u / 2 and H = u u' / 4 - Z / 2, Z the second derivatives of z, which are x[i]
    # between w1[j, i] and w2[j] of units that are on. So H g = -|u|^2 u / 8 + Z u / 4 with
    # |u|^2 = 81 + 4 + 20.25 + 1 + 42.25 + 169 = 317.5, and Z u = h[j] x in the first layer, |x|^2 w2[j] in the second:
    # first unit 39.6875 * (-9, 2) + 6.5 * (4.5, -1) / 4, second 39.6875 * (4.5, -1) + 13 * (4.5, -1) / 4,
    # second layer -39.6875 * (6.5, 13) + 21.25 * (2, -1) / 4; each times its weight:
    assert saliency["network.0"].tolist() == [[-349.875, -155.5], [579.65625, -21.46875], [0, 0]]
    assert saliency["network.2"].tolist() == [[-494.6875, 521.25, 0]]


def hessian_and_gradient(
    network: nn.Module, images: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """H `[n, n]`, g and w `[n]` over all weights of the masked layers, pruned ones too."""
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in masked(network).items()}
    flat = torch.cat([w.flatten() for w in weights.values()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([w.numel() for w in weights.values()])
        named = {name: part.view_as(w) for (name, w), part in zip(weights.items(), parts, strict=True)}
        return F.cross_entropy(functional_call(network, named, (images,)) / temperature, labels)

    return torch.autograd.functional.hessian(loss, flat), torch.autograd.functional.jacobian(loss, flat), flat


@pytest.mark.parametrize("temperature", [1.0, 200.0])
@pytest.mark.parametrize("density", [1.0, 0.5])
def test_grasp_agrees_with_an_explicit_hessian_over_the_kept_weights(temperature: float, density: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    add_masks(network)
    set_mask(network, {name: torch.rand(m.shape) < density for name, m in masks(network).items()})
    images, labels = batch(3, classes=3)
    hessian, gradient, weights = hessian_and_gradient(network, images.double(), labels, temperature)
    mask = torch.cat([m.flatten() for m in masks(network).values()])
    expected = weights * (hessian @ (gradient * mask))
    saliency = grasp(network, images.double(), labels, temperature)
    found = torch.cat([s.flatten() for s in saliency.values()])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    assert (found[~mask] == 0).all()
    assert (density == 1) == torch.allclose(found, weights * (hessian @ gradient), rtol=1e-3, atol=0)


def test_the_weight_that_grasp_ranks_highest_carries_gradient_flow_and_the_lowest_hinders_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()
    add_masks(network)
    images, labels = batch(3, classes=3)
    images = images.double()
    saliency = torch.cat([s.flatten() for s in grasp(network, images, labels, temperature=1.0).values()])
    _, gradient, weights = hessian_and_gradient(network, images, labels, temperature=1.0)
    changes = {}
    for position in (int(saliency.argmax()), int(saliency.argmin())):
        shrunk = weights.clone()
        shrunk[position] *= 1 - 1e-4
        vector_to_parameters(shrunk, network.parameters())
        _, changed, _ = hessian_and_gradient(network, images, labels, temperature=1.0)
        changes[position] = (changed.square().sum() - gradient.square().sum()).item()
        # d |g|^2 = 2 (H g) dw
        assert changes[position] == pytest.approx(-2e-4 * saliency[position].item(), rel=1e-2)
    loss_by_highest, gain_by_lowest = changes.values()
    assert loss_by_highest < 0 < gain_by_lowest


def test_snip_averages_gradients_and_not_saliencies() -> None:
    network = FC((5,), num_classes=3, depth=3, width=7)
    add_masks(network)
    images, labels = batch(5, classes=3)
    halves = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    gradients: list[list[Tensor]] = [[], []]
    for half, seen in zip(halves, gradients, strict=True):
        snip(network, *half, average=lambda g, seen=seen: seen.append(g.clone()) or g)
    means = iter([(a + b) / 2 for a, b in zip(*gradients, strict=True)])
    whole, averaged = snip(network, images, labels), snip(network, *halves[0], average=lambda _: next(means))
    for name in whole:
        torch.testing.assert_close(averaged[name], whole[name])


def test_grasp_averages_the_gradient_and_then_its_product_with_the_hessian() -> None:
    network = FC((5,), num_classes=3, depth=3, width=7)
    add_masks(network)
    images, labels = batch(5, classes=3)
    alone = grasp(network, images, labels)
    seen = []
    doubled = grasp(network, images, labels, average=lambda g: seen.append(g.shape) or 2 * g)
    assert seen == 2 * [layer.weight.shape for layer in masked(network).values()]
    for name in alone:
        torch.testing.assert_close(doubled[name], 4 * alone[name])


@pytest.mark.parametrize("score", [snip, grasp])
def test_a_mean_of_gradients_may_be_taken_in_place(score: Callable[..., Saliency]) -> None:
    network = ResNet(depth=8, width=2, input_shape=(3, 8, 8))
    add_masks(network)
    images, labels = batch(3, 8, 8)
    anew = score(network, images, labels, average=lambda g: 3 * g)
    in_place = score(network, images, labels, average=lambda g: g.mul_(3))
    assert all(torch.equal(anew[name], in_place[name]) for name in anew)


def snip_in_training(network: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> dict[str, Tensor]:
    return snip(network, images, labels, mode="train", **options)


@pytest.mark.parametrize("score", [snip_in_training, grasp])
def test_gradients_are_those_of_training_mode(score: Callable[..., Saliency]) -> None:
    network = ResNet(depth=8, width=2, input_shape=(3, 8, 8))
    add_masks(network)
    images, labels = batch(3, 8, 8)
    training = score(network, images, labels)
    network.bn.running_var.fill_(100.0)
    network.eval()
    with torch.no_grad():
        evaluating = score(network, images, labels)
    assert all(torch.equal(training[name], evaluating[name]) for name in training)


@pytest.mark.parametrize("training", [True, False])
def test_snip_by_default_scores_in_evaluation_mode_as_its_authors_do(training: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    network[1].running_mean.uniform_(-1, 1)
    network[1].running_var.uniform_(0.5, 2)
    add_masks(network)
    images, labels = batch(3, 8, 8)
    other = copy.deepcopy(network).eval()
    F.cross_entropy(other(images), labels).backward()
    before = copy.deepcopy(network.state_dict())
    network.train(training)
    saliency = snip(network, images, labels)
    for name, layer in masked(other).items():
        torch.testing.assert_close(saliency[name], (layer.weight.grad * layer.weight).abs().detach())
    assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.allclose(saliency["0"], snip_in_training(network, images, labels)["0"])


@pytest.mark.parametrize("score", [snip_in_training, grasp])
def test_dropout_takes_part_in_training_mode(score: Callable[..., Saliency]) -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 10))
    add_masks(network)
    saliency = score(network, torch.ones(1, 8), torch.tensor([0]))["1"]
    dropped = (saliency == 0).all(0)
    assert dropped.any()
    assert not dropped.all()


@pytest.mark.parametrize("score", [snip, grasp])
def test_pruned_weights_and_layers_that_are_not_used_score_zero(score: Callable[..., Saliency]) -> None:
    network = OutputAgainstZero(two_three_one())
    network.unused = nn.Linear(2, 2)
    add_masks(network)
    mask = torch.tensor([[True, False, True]])
    set_mask(network, {"network.2": mask})
    saliency = score(network, torch.tensor([[0.2, -0.3]]), CLASS_0)  # all three units are on
    assert (saliency["unused"] == 0).all()
    assert ((saliency["network.2"] == 0) == ~mask).all()


def test_synflow_is_each_weight_times_the_flow_through_it() -> None:
    # |w1[j, i]| |w2[j]|, and |w2[j]| times the sum of |w1[j]|
    saliency = synflow_saliency(two_three_one(), (2,))
    assert saliency["0"].tolist() == [[2, 4], [3, 0.5], [4, 4]]
    assert saliency["2"].tolist() == [[6, 3.5, 8]]


def test_synflow_sees_the_masks() -> None:
    network = two_three_one()
    set_mask(network, {"2": torch.tensor([[True, False, True]])})
    saliency = synflow_saliency(network, (2,))
    assert saliency["0"].tolist() == [[2, 4], [0, 0], [4, 4]]
    assert saliency["2"].tolist() == [[6, 0, 8]]


def test_synflow_takes_biases_absolutely_too() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1, bias=False))
    network[0].weight.data.fill_(2.0)
    network[0].bias.data.fill_(-3.0)
    network[2].weight.data.fill_(-5.0)
    add_masks(network)
    saliency = synflow_saliency(network, (1,))
    assert saliency["0"].item() == 10
    assert saliency["2"].item() == 25  # 5 * (2 + 3)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_synaptic_saliency_is_conserved_through_every_layer_of_a_chain(seed: int) -> None:
    torch.manual_seed(seed)
    network = FC((5,), num_classes=3, depth=4, width=7, bias="none")
    add_masks(network)
    flows = [s.sum().item() for s in synflow_saliency(network, (5,)).values()]
    assert flows == pytest.approx([flows[0]] * 4)


@pytest.mark.parametrize("method", scores_on(3, 32, 32))
def test_scoring_leaves_the_network_bit_identical(method: str) -> None:
    network = ResNet(depth=8, width=2)
    add_masks(network)
    set_mask(network, {"conv": torch.rand(2, 3, 3, 3) < 0.5})
    network.train()
    network.bn.eval()
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    before = copy.deepcopy(network)
    gradients = [p.grad.clone() for p in network.parameters()]
    scores_on(3, 32, 32)[method](network)
    for (name, a), b in zip(network.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradient)
    assert [m.training for m in network.modules()] == [m.training for m in before.modules()]


@pytest.mark.parametrize("method", scores_on(5))
def test_scoring_leaves_the_random_state_alone(method: str) -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 10))
    add_masks(network)
    seed, state, python = torch.initial_seed(), torch.get_rng_state(), random.getstate()
    first = scores_on(5)[method](network)
    assert torch.initial_seed() == seed
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    torch.rand(3)
    again = scores_on(5)[method](network)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("method", scores_on(3, 8, 8))
def test_every_masked_layer_and_nothing_else_gets_a_saliency_of_its_shape(method: str) -> None:
    network = ResNet(depth=8, width=2, input_shape=(3, 8, 8))
    add_masks(network, exclude=["blocks.1.shortcut.0"])
    saliency = scores_on(3, 8, 8)[method](network)
    assert {n: s.shape for n, s in saliency.items()} == {n: layer.weight.shape for n, layer in masked(network).items()}
    assert "blocks.1.shortcut.0" not in saliency
    assert not any(s.requires_grad for s in saliency.values())


@pytest.mark.parametrize("method", scores_on(5))
def test_a_single_layer_can_be_scored(method: str) -> None:
    network = nn.Linear(5, 10)
    add_masks(network)
    assert scores_on(5)[method](network)[""].shape == (10, 5)


def test_scoring_that_fails_leaves_the_network_in_its_mode() -> None:
    network = FC((4,))
    add_masks(network)
    with pytest.raises(SparsityError, match="FC cannot be traced: "):
        synflow_saliency(network, (5,))
    assert all(m.training for m in network.modules())
    assert network.fc1.weight.dtype == torch.float32


def test_synflow_is_finite_where_float32_overflows() -> None:
    torch.manual_seed(0)
    network = ResNet56()
    add_masks(network)
    saliency = synflow_saliency(network, (3, 32, 32))
    flow = saliency["fc"].sum().item()
    assert flow > torch.finfo(torch.float32).max
    assert math.isfinite(flow)


def test_a_non_finite_weight_is_named_with_its_layer() -> None:
    network = two_three_one()
    network[2].weight.data[0, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="magnitude saliency of layer '2'"):
        magnitude_saliency(network)
    with pytest.raises(NonFiniteError, match="SynFlow saliency of layer '0'"):
        synflow_saliency(network, (2,))
    with pytest.raises(NonFiniteError, match="LAMP saliency of layer '2'"):
        lamp_saliency(network)
    with pytest.raises(NonFiniteError, match=r"SNIP saliency of layer 'network\.0'"):
        snip(OutputAgainstZero(network), UNDECIDED, CLASS_0)
    with pytest.raises(NonFiniteError, match=r"GraSP saliency of layer 'network\.0'"):
        grasp(OutputAgainstZero(network), UNDECIDED, CLASS_0)


def test_an_infinite_weight_is_no_largest_weight_for_lamp() -> None:
    network = two_three_one()
    network[2].weight.data[0, 1] = torch.inf
    with pytest.raises(NonFiniteError, match="LAMP saliency of layer '2'"):
        lamp_saliency(network)


def test_random_saliency_depends_on_seed_and_layer_only() -> None:
    network = two_three_one()
    first = random_saliency(network, seed=1)
    torch.rand(10)
    again, other = random_saliency(network, seed=1), random_saliency(network, seed=2)
    assert torch.equal(first["0"], again["0"])
    assert not torch.equal(first["0"], other["0"])
    assert ((first["0"] >= 0) & (first["0"] < 1)).all()


def test_a_compiled_network_is_scored_without_its_compiled_code() -> None:
    network = FC((2,), num_classes=2, depth=2, width=3)
    add_masks(network)
    expected = grasp(network, torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    network.compile(backend=refuse)
    scored = grasp(network, torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    assert all(torch.equal(scored[name], s) for name, s in expected.items())
    synflow_saliency(network, (2,))


def refuse(*_: object) -> Callable[..., object]:
    raise AssertionError("compiled")
