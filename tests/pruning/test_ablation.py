import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsity.masks import add_masks
from sparsity.networks import FC
from sparsity.pruning.ablation import Ablation, ablate


def network_and_mask(density: float = 0.3, seed: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(seed)
    network = FC((20,), num_classes=5, depth=3, width=30)
    add_masks(network)
    return network, {n: torch.rand(m.weight.shape) < density for n, m in network.named_children() if n[:2] == "fc"}


@settings(deadline=None, max_examples=20)
@given(density=st.floats(0, 1), seed=st.integers(0, 100), ablation=st.sampled_from(get_args(Ablation)))
def test_every_ablation_but_invert_keeps_as_many_weights_of_each_layer(
    density: float, seed: int, ablation: Ablation
) -> None:
    network, mask = network_and_mask(density, seed)
    broken = ablate(network, mask, ablation, seed)
    for name, m in mask.items():
        kept = m.sum() if ablation != "invert" else (~m).sum()
        assert broken[name].sum() == kept
        assert broken[name].shape == m.shape


@pytest.mark.parametrize("ablation", ["shuffle", "random_same_ratios"])
def test_what_moves_the_mask_moves_it_and_leaves_the_weights(ablation: Ablation) -> None:
    network, mask = network_and_mask()
    before = [p.detach().clone() for p in network.parameters()]
    broken = ablate(network, mask, ablation, seed=1)
    for name, m in mask.items():
        # 0.3 of the kept ones are hit again by chance.
        assert (broken[name] & m).sum() / m.sum() == pytest.approx(0.3, abs=0.15)
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def test_invert_keeps_exactly_what_was_pruned() -> None:
    network, mask = network_and_mask()
    broken = ablate(network, mask, "invert")
    assert all(torch.equal(broken[n], ~m) for n, m in mask.items())


def test_reinitialise_draws_he_normal_weights_and_keeps_the_mask() -> None:
    network, mask = network_and_mask()
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    broken = ablate(network, mask, "reinitialise", seed=1)
    assert all(torch.equal(broken[n], m) for n, m in mask.items())
    assert not torch.equal(network.fc2.weight, before["fc2.weight"])
    assert float(network.fc2.weight.detach().std()) == pytest.approx(math.sqrt(2 / 30), rel=0.1)
    assert torch.equal(network.fc2.bias, before["fc2.bias"])


@pytest.mark.parametrize("ablation", get_args(Ablation))
def test_the_same_seed_breaks_a_mask_the_same_way(ablation: Ablation) -> None:
    (first, mask), (second, _) = network_and_mask(), network_and_mask()
    once = ablate(first, mask, ablation, seed=3)
    torch.rand(7)
    again = ablate(second, mask, ablation, seed=3)
    assert all(torch.equal(once[n], again[n]) for n in mask)
    assert torch.equal(first.fc1.weight, second.fc1.weight)


def test_shuffle_and_random_same_ratios_are_different_draws() -> None:
    network, mask = network_and_mask()
    shuffled, drawn = (ablate(network, mask, a, seed=1) for a in ("shuffle", "random_same_ratios"))
    assert not torch.equal(shuffled["fc1"], drawn["fc1"])
