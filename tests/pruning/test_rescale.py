import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsity.masks import add_masks, set_mask
from sparsity.pruning.rescale import rescale_to_kept_fan_in


def test_each_unit_keeps_its_norm() -> None:
    layer = nn.Linear(4, 3)
    add_masks(layer)
    layer.weight.data = torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [3, 4, 12, 0]])
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    rescale_to_kept_fan_in(layer, {"": mask})
    set_mask(layer, mask)
    # Norms 2, sqrt(30) and 13, of the kept ones 1, sqrt(30) and 5.
    expected = torch.tensor([[2.0, 0, 0, 0], [1, 2, 3, 4], [7.8, 10.4, 0, 0]])
    assert torch.allclose(layer.weight, expected)


def test_a_filter_is_a_unit() -> None:
    layer = nn.Conv2d(2, 1, 2)
    layer.weight.data = torch.ones(1, 2, 2, 2)
    add_masks(layer)
    mask = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    mask[0, 0] = torch.tensor([[True, True], [False, False]])
    rescale_to_kept_fan_in(layer, {"": mask})
    set_mask(layer, mask)
    assert torch.equal(layer.weight, 2 * mask)


def test_a_unit_that_keeps_nothing_stays_finite() -> None:
    layer = nn.Linear(4, 2)
    add_masks(layer)
    mask = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    rescale_to_kept_fan_in(layer, {"": mask})
    assert layer.weight.isfinite().all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_random_masks_are_scaled_by_about_the_root_of_the_fan_in_ratio(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(2000, 1)
    add_masks(layer)
    before, mask = layer.weight.detach().clone(), torch.rand(1, 2000) < 0.25
    rescale_to_kept_fan_in(layer, {"": mask})
    ratio = (layer.weight.detach() / before)[before != 0]  # a draw may be exactly zero
    assert float(ratio.mean()) == pytest.approx((2000 / int(mask.sum())) ** 0.5, rel=0.1)
