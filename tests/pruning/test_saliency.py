import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsity.errors import NonFiniteError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC, ResNet, ResNet56
from sparsity.pruning.saliency import magnitude_saliency, random_saliency, synflow_saliency


def two_three_one() -> nn.Sequential:
    """A 2-3-1 network small enough for paper."""
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    network[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, -1.0]])
    network[2].weight.data = torch.tensor([[2.0, -1.0, 4.0]])
    add_masks(network)
    return network


def test_magnitude_is_the_absolute_weight() -> None:
    saliency = magnitude_saliency(two_three_one())
    assert saliency["0"].tolist() == [[1, 2], [3, 0.5], [1, 1]]
    assert saliency["2"].tolist() == [[2, 1, 4]]


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


@pytest.mark.parametrize("score", [lambda n, s: synflow_saliency(n, s), lambda n, s: magnitude_saliency(n),
                                   lambda n, s: random_saliency(n)])  # fmt: skip
def test_scoring_leaves_the_network_bit_identical(score) -> None:  # type: ignore[no-untyped-def]
    network = ResNet(depth=8, width=2)
    add_masks(network)
    network.train()
    network.bn.eval()
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    before = copy.deepcopy(network)
    gradients = [p.grad.clone() for p in network.parameters()]
    score(network, (3, 32, 32))
    for (name, a), b in zip(network.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradient)
    assert [m.training for m in network.modules()] == [m.training for m in before.modules()]


def test_scoring_that_fails_leaves_the_network_in_its_mode() -> None:
    network = FC((4,))
    add_masks(network)
    with pytest.raises(RuntimeError):
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


def test_random_saliency_depends_on_seed_and_layer_only() -> None:
    network = two_three_one()
    first = random_saliency(network, seed=1)
    torch.rand(10)
    again, other = random_saliency(network, seed=1), random_saliency(network, seed=2)
    assert torch.equal(first["0"], again["0"])
    assert not torch.equal(first["0"], other["0"])
    assert ((first["0"] >= 0) & (first["0"] < 1)).all()
