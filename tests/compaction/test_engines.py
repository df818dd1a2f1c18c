"""Every engine computes what the network does."""

import pytest
import torch
from torch import nn

from sparsity.compaction.engines import prepared, require
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC


def half(network: nn.Module) -> nn.Module:
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    return network.eval()


@pytest.mark.parametrize("engine", ["torch", "csr"])
def test_outputs_are_the_networks_own(engine: str) -> None:
    network = half(FC((6,), 3, depth=3, width=5))
    run = prepared(network, engine)  # type: ignore[arg-type]
    assert run is not None
    samples = torch.randn(4, 6)
    torch.testing.assert_close(run(samples), network(samples))
    assert masks(network)  # which a copy lost


def test_layers_of_tokens_are_sparse_products_too() -> None:
    network = half(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)))
    run = prepared(network, "csr")
    assert run is not None
    samples = torch.randn(2, 3, 4)
    torch.testing.assert_close(run(samples), network(samples))


def test_a_network_without_sparse_linear_layers_has_no_use_for_sparse_products() -> None:
    assert prepared(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)), "csr") is None


def test_engines_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SparsityError, match="engine must be one of torch, compile, csr"):
        prepared(FC(), "openvino")  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SparsityError, match=r"needs a C\+\+ compiler"):
        require("compile")
