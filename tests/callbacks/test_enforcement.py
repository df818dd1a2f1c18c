from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from sparsity.callbacks import KeepMasks
from sparsity.masks import add_masks, masked, set_mask


@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_network_that_is_already_sparse_stays_as_sparse(
    clip: float | None, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    add_masks(module)
    mask = torch.rand(3, 64) < 0.2
    set_mask(module, {"head": mask})
    before = module.head.weight.detach().clone()
    make_trainer(KeepMasks(), gradient_clip_val=clip).fit(module, loader)
    assert torch.equal(module.head.weight_mask, mask)
    assert (module.head.weight[~mask] == 0).all()
    assert (module.head.weight[mask] != before[mask]).all()


def test_a_dense_network_is_left_alone(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module, plain = make_module(), make_module()
    plain.load_state_dict(module.state_dict())
    add_masks(module)
    make_trainer(KeepMasks()).fit(module, loader)
    make_trainer().fit(plain, loader)
    for name, layer in masked(module).items():
        assert torch.equal(layer.weight, plain.get_submodule(name).weight)
