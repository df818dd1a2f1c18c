import torch
from torch import nn

from sparsity.masks import add_masks, set_mask
from sparsity.pruning.rescale import rescale_to_kept_fan_in


def test_each_unit_is_scaled_by_the_root_of_its_fan_in_over_its_kept_weights() -> None:
    layer = nn.Linear(4, 3)
    layer.weight.data = torch.ones(3, 4)
    add_masks(layer)
    set_mask(layer, torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool))
    rescale_to_kept_fan_in(layer)
    assert layer.weight.tolist() == [[2, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]


def test_a_filter_is_a_unit() -> None:
    layer = nn.Conv2d(2, 1, 2)
    layer.weight.data = torch.ones(1, 2, 2, 2)
    add_masks(layer)
    mask = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    mask[0, 0] = torch.tensor([[True, True], [False, False]])
    set_mask(layer, mask)
    rescale_to_kept_fan_in(layer)
    assert torch.equal(layer.weight, 2 * mask)
