"""Tangent kernel and input-output Jacobian against closed forms and derivatives written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from sparsity.analysis import isometry, tangent_kernel
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import ResNet


def sparse() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    add_masks(network)
    set_mask(network, {"0": torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.5})
    return network


def test_the_tangent_kernel_of_a_linear_layer_is_known() -> None:
    """Each of three outputs has the derivatives x and 1: the kernel is (X X' + 1) for each output by itself."""
    images = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    found = tangent_kernel(nn.Linear(4, 3).double(), images)
    kernel = (images @ images.T + 1).numpy()
    assert found.trace == pytest.approx(3 * np.trace(kernel), rel=1e-9)
    values = np.linalg.eigvalsh(kernel)
    assert found.condition == pytest.approx(values[-1] / values[0], rel=1e-6)


def test_the_tangent_kernel_is_that_of_kept_weights_alone() -> None:
    network, images = sparse(), torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
    named = dict(network.named_parameters())

    def outputs(*tensors):
        return functional_call(network, dict(zip(named, tensors, strict=True)), (images,)).flatten()

    parts = dict(zip(named, jacobian(outputs, tuple(named.values())), strict=True))
    parts["0.weight"] = parts["0.weight"][:, network[0].weight_mask]
    rows = torch.cat([part.flatten(1) for part in parts.values()], dim=1).detach().numpy()
    values = np.linalg.eigvalsh(rows @ rows.T)
    found = tangent_kernel(network, images)
    assert found.trace == pytest.approx(values.sum(), rel=1e-9)
    assert found.condition == pytest.approx(values[-1] / values[0], rel=1e-6)


def test_more_outputs_than_parameters_have_an_infinite_condition() -> None:
    assert tangent_kernel(nn.Linear(2, 1), torch.rand(8, 2)).condition == np.inf


def test_an_orthogonal_map_is_an_isometry_and_a_diagonal_one_is_not() -> None:
    layer = nn.Linear(4, 4)
    nn.init.orthogonal_(layer.weight)
    found = isometry(layer, torch.rand(3, 4))
    assert [found.mean, found.std, found.condition] == pytest.approx([1, 0, 1], abs=1e-5)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    found = isometry(layer, torch.rand(3, 4))
    assert [found.mean, found.std, found.condition] == pytest.approx([2.5, np.sqrt(1.25), 4])
    with torch.no_grad():
        layer.weight[0] = 0
    assert isometry(layer, torch.rand(3, 4)).condition == np.inf


def test_singular_values_are_those_of_the_jacobian_written_out() -> None:
    network = ResNet(8, width=2, input_shape=(1, 8, 8)).double().eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    values = np.stack(
        [np.linalg.svd(jacobian(lambda x: network(x[None])[0], image).flatten(1).numpy())[1] for image in images]
    )
    found = isometry(network.train(), images)
    assert found.mean == pytest.approx(values.mean(), rel=1e-6)
    assert found.std == pytest.approx(values.std(), rel=1e-6)
    assert network.training


def test_mistakes_are_named() -> None:
    with pytest.raises(SparsityError, match=r"no derivatives by whole numbers \(torch.int64\)"):
        isometry(nn.Embedding(4, 3), torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(SparsityError, match="too many for 300 images; give fewer"):
        tangent_kernel(nn.Linear(1000, 100), torch.rand(300, 1000))
    with pytest.raises(SparsityError, match="no images"):
        tangent_kernel(nn.Linear(2, 2), torch.rand(0, 2))
