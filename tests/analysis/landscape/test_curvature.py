"""Gradient, Hessian and sharpness of sparse networks against derivatives written out by torch.autograd.functional."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional as F

from sparsity.analysis import curvature, gradient_norm, hessian_eigenvalues, hessian_trace, sharpness
from sparsity.analysis.landscape.curvature import _surface
from sparsity.analysis.landscape.directions import kept_directions
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC


def sparse(width: int = 5) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)).double()
    add_masks(network)
    set_mask(network, {"0": torch.rand(width, 4, generator=generator) < 0.5})
    return network


def data(samples: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(samples, 4, generator=generator).double(), torch.randint(3, (samples,), generator=generator)


def loss_of(network: nn.Module, images: Tensor, labels: Tensor):
    """The loss as a function of one vector of the kept parameters, and where the network is."""
    named = dict(network.named_parameters())
    kept = {name: torch.ones_like(p, dtype=torch.bool) for name, p in named.items()}
    for name, buffer in network.named_buffers():
        kept[name.removesuffix("_mask")] = buffer
    sizes = [int(k.sum()) for k in kept.values()]

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split(sizes)
        tensors = {
            name: torch.zeros_like(named[name]).masked_scatter(k, part)
            for (name, k), part in zip(kept.items(), parts, strict=True)
        }
        return F.cross_entropy(functional_call(network, tensors, (images,)), labels)

    return loss, torch.cat([named[name].detach()[k] for name, k in kept.items()])


def explicit_hessian(network: nn.Module, images: Tensor, labels: Tensor) -> np.ndarray:
    return hessian(*loss_of(network, images, labels)).numpy()


def test_the_gradient_norm_is_that_by_kept_weights_alone() -> None:
    network, (images, labels) = sparse(), data()
    loss, place = loss_of(network, images, labels)
    expected = torch.autograd.functional.jacobian(loss, place).norm()
    assert gradient_norm(network, images, labels) == pytest.approx(float(expected), rel=1e-9)
    whole = sparse()
    whole[0].weight_mask.fill_(True)
    assert gradient_norm(whole, images, labels) > gradient_norm(network, images, labels)


@pytest.mark.parametrize("width", [2, 5, 12])
def test_top_eigenvalues_are_those_of_the_hessian_written_out(width: int) -> None:
    network, (images, labels) = sparse(width), data()
    expected = np.linalg.eigvalsh(explicit_hessian(network, images, labels))[::-1]
    assert hessian_eigenvalues(network, images, labels, 3) == pytest.approx(expected[:3], abs=1e-6)


def test_the_trace_is_within_three_standard_errors_and_exact_for_a_diagonal() -> None:
    network, (images, labels) = sparse(), data()
    exact = np.trace(explicit_hessian(network, images, labels))
    found = hessian_trace(network, images, labels, probes=400)
    assert abs(found.mean - exact) < 3 * found.standard_error
    assert found.standard_error < 0.1 * exact
    assert np.isnan(hessian_trace(network, images, labels, probes=1).standard_error)


def test_batches_do_not_matter_and_unlabelled_images_do_not_count() -> None:
    network, (images, labels) = sparse(), data()
    more, none = images.repeat(100, 1), labels.repeat(100)  # more than one batch
    assert hessian_eigenvalues(network, more, none) == pytest.approx(hessian_eigenvalues(network, images, labels))
    unlabelled = torch.cat([labels, torch.full((12,), -100)])
    assert gradient_norm(network, images.repeat(2, 1), unlabelled) == pytest.approx(
        gradient_norm(network, images, labels)
    )


def test_sharpness_after_one_step_is_sams() -> None:
    network, (images, labels) = sparse(), data()
    loss, place = loss_of(network, images, labels)
    gradient = torch.autograd.functional.jacobian(loss, place)
    expected = loss(place + 0.1 * gradient / gradient.norm()) - loss(place)
    assert sharpness(network, images, labels, radius=0.1) == pytest.approx(float(expected), rel=1e-9)


def test_more_steps_find_no_less_and_stay_within_the_ball() -> None:
    """For a small radius the highest loss is slope times radius plus half the curvature along the gradient."""
    network, (images, labels) = sparse(), data()
    one, many = (sharpness(network, images, labels, 0.5, steps) for steps in (1, 20))
    assert many > one
    loss, place = loss_of(network, images, labels)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        step = torch.randn(place.shape, generator=generator).double()
        assert float(loss(place + 0.5 * step / step.norm()) - loss(place)) < many
    slope = gradient_norm(network, images, labels)
    assert sharpness(network, images, labels, 1e-4, 7) == pytest.approx(1e-4 * slope, rel=1e-3)


def test_pruned_weights_are_no_directions() -> None:
    network = sparse()
    with kept_directions(network) as directions:
        assert directions.size == int(network[0].weight_mask.sum()) + 5 + 15 + 3
        ones = directions.spread(torch.ones(directions.size))
        assert torch.equal(ones[0], network[0].weight_mask.double())
        with directions.moved(torch.full((directions.size,), 2.0)):
            assert torch.equal(network[0].weight == 0, ~network[0].weight_mask)
        assert torch.equal(directions.flat(directions.parameters), directions.flat(directions.parameters))
    assert torch.equal(network[0].weight == 0, ~network[0].weight_mask)


def test_a_product_is_the_hessians() -> None:
    network, (images, labels) = sparse(), data()
    expected = explicit_hessian(network, images, labels)
    vector = torch.randn(len(expected), generator=torch.Generator().manual_seed(0)).double()
    with _surface(network, images, labels) as surface:
        assert surface.product(vector).numpy() == pytest.approx(expected @ vector.numpy(), abs=1e-9)


def test_all_numbers_together_are_the_single_ones() -> None:
    network, (images, labels) = sparse(), data()
    found = curvature(network, images, labels)
    assert found.hessian_top == pytest.approx(hessian_eigenvalues(network, images, labels)[0])
    assert found.sharpness == sharpness(network, images, labels)
    assert found.hessian_trace_error > 0


def test_a_network_too_large_for_its_tangent_kernel_has_the_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    network, (images, labels) = sparse(), data()
    whole = curvature(network, images, labels)
    monkeypatch.setattr("sparsity.analysis.landscape.trainability._LARGEST", 10)
    found = curvature(network, images, labels)
    assert (found.tangent_trace, found.tangent_condition) == (None, None)
    assert whole.tangent_trace is not None
    assert (found.hessian_top, found.jacobian_mean) == (whole.hessian_top, whole.jacobian_mean)


def test_mistakes_are_named() -> None:
    network, (images, labels) = sparse(), data()
    with pytest.raises(SparsityError, match="12 images and 3 labels"):
        gradient_norm(network, images, labels[:3])
    with pytest.raises(SparsityError, match="radius is a number above 0, not -1"):
        sharpness(network, images, labels, radius=-1)
    with pytest.raises(SparsityError, match="no image has a label"):
        gradient_norm(network, images, torch.full((12,), -100))
    with pytest.raises(SparsityError, match="no parameters"):
        gradient_norm(nn.ReLU(), images, labels)
    with pytest.raises(SparsityError, match="Sequential cannot take an input"):
        gradient_norm(network, images[:, :2], labels)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        gradient_norm(network, images * torch.inf, labels)
    with pytest.raises(SparsityError, match="labels go from 0 to 2, and the network has 2 outputs"):
        gradient_norm(FC((4,), 2, depth=2, width=3).double(), images, labels)
