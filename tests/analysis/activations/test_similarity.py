"""Similarities of representations against their definitions, other libraries, and the changes they must not see."""

from itertools import permutations

import numpy as np
import pytest
import scipy.spatial
import torch
from scipy.stats import ortho_group
from torch import nn

from sparsity.analysis import (
    linear_cka,
    procrustes_similarity,
    rbf_cka,
    representation_similarity,
    responses,
    svcca,
)
from sparsity.analysis.activations.kernels import linear_kernel, rbf_kernel, u_centred
from sparsity.analysis.comparison.measures import pair_means
from sparsity.analysis.comparison.networks import compare
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC, ResNet

ALL = (linear_cka, rbf_cka, procrustes_similarity, svcca)


def features(seed: int, samples: int = 60, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, width))


def related(seed: int, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    a = features(seed)
    return a, a @ features(seed + 1, 5, width) + features(seed + 2, 60, width)


def hsic_over_all_quadruples(k: np.ndarray, m: np.ndarray) -> float:
    """The U-statistic of Song et al. 2012, theorem 3, by its definition."""
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return float(np.mean(terms))


@pytest.mark.parametrize(("similarity", "kernel"), [(linear_cka, "linear"), (rbf_cka, "rbf")])
def test_debiased_cka_is_a_mean_over_all_quadruples_of_samples(similarity, kernel) -> None:
    a, b = features(0, 7, 3), features(0, 7, 3) @ features(1, 3, 4) + features(2, 7, 4)
    if kernel == "linear":
        k, m = a @ a.T, b @ b.T  # HSIC does not depend on the features' means
    else:
        k, m = (
            np.exp(-(d**2) / (2 * (0.8 * np.median(d[np.triu_indices(7, 1)])) ** 2))
            for d in (scipy.spatial.distance.cdist(x, x) for x in (a, b))
        )
    expected = hsic_over_all_quadruples(k, m) / np.sqrt(hsic_over_all_quadruples(k, k) * hsic_over_all_quadruples(m, m))
    assert similarity(a, b) == pytest.approx(expected, abs=1e-9)


def test_procrustes_is_what_scipy_finds() -> None:
    a, b = related(3, width=5)
    disparity = scipy.spatial.procrustes(a, b)[2]  # 1 less the square, the second scaled as is best
    assert procrustes_similarity(a, b) == pytest.approx(np.sqrt(1 - disparity), abs=1e-9)


def test_svcca_with_all_variance_is_cca_by_orthonormal_bases() -> None:
    a, b = related(5)
    q, r = (np.linalg.qr(x - x.mean(0))[0] for x in (a, b))
    assert svcca(a, b, variance=1) == pytest.approx(np.linalg.svd(q.T @ r, compute_uv=False).mean(), abs=1e-9)


def test_svcca_leaves_directions_of_little_variance_out() -> None:
    signal, noise = features(7, 200, 2), features(8, 200, 2)
    a, b = np.hstack([signal, 1e-3 * noise[:, :1]]), np.hstack([signal, 1e-3 * noise[:, 1:]])
    assert svcca(a, b) == pytest.approx(1, abs=1e-5)
    assert svcca(a, b, variance=1) < 0.8


@pytest.mark.parametrize("similarity", ALL)
def test_rotations_and_scales_and_shifts_are_not_seen(similarity) -> None:
    a, b = related(11)
    turned = 3 * b @ ortho_group.rvs(4, random_state=0) + 100
    assert similarity(a, a) == pytest.approx(1, abs=1e-9)
    assert similarity(a, -2 * a @ ortho_group.rvs(5, random_state=1)) == pytest.approx(1, abs=1e-9)
    assert similarity(a, turned) == pytest.approx(similarity(a, b), abs=1e-9)
    assert similarity(b, a) == pytest.approx(similarity(a, b), abs=1e-9)
    assert similarity(a, b) < 0.99


def test_cca_sees_no_invertible_linear_map_and_cka_does() -> None:
    a, b = related(13)
    mapped = b @ (np.eye(4) + np.triu(np.full((4, 4), 3.0)))
    assert svcca(a, mapped, variance=1) == pytest.approx(svcca(a, b, variance=1), abs=1e-9)
    assert abs(linear_cka(a, mapped) - linear_cka(a, b)) > 0.01


@pytest.mark.parametrize("similarity", ALL)
def test_features_that_do_not_vary_take_no_part(similarity) -> None:
    a, b = related(17)
    constant = np.full((60, 1), 0.1)
    assert similarity(np.hstack([a, constant]), np.hstack([b, constant, 0 * constant])) == pytest.approx(
        similarity(a, b), abs=1e-9
    )
    assert similarity(a, np.repeat(constant, 3, axis=1)) == 0
    assert similarity(constant, constant) == 0


def test_debiased_cka_of_unrelated_features_is_near_0_with_more_features_than_samples() -> None:
    values = [linear_cka(features(k, 20, 400), features(k + 500, 20, 400)) for k in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_networks_are_compared_layer_by_layer_as_their_responses_are() -> None:
    torch.manual_seed(0)
    a, b = (FC((6,), 3, depth=3, width=8) for _ in range(2))
    images = torch.randn(50, 6)
    found = representation_similarity(a, b, images, batch_size=50)
    x, y = (responses(network, images) for network in (a, b))
    for layer, similarity in found.layers.items():
        p, q = x[layer].double().numpy(), y[layer].double().numpy()
        assert similarity.linear_cka == pytest.approx(linear_cka(p, q), abs=1e-6)
        assert similarity.rbf_cka == pytest.approx(rbf_cka(p, q), abs=1e-6)
        assert similarity.procrustes == pytest.approx(procrustes_similarity(p, q), abs=1e-6)
        assert similarity.svcca == pytest.approx(svcca(p, q), abs=1e-6)
    assert found.mean.linear_cka == pytest.approx(np.mean([layer.linear_cka for layer in found.layers.values()]))


def test_minibatches_average_hsic_and_leave_a_small_last_one_out() -> None:
    torch.manual_seed(0)
    a, b = (FC((6,), 3, depth=2, width=8) for _ in range(2))
    images = torch.randn(23, 6)
    sums = np.zeros(3)
    for batch in (images[:10], images[10:20]):
        p, q = (responses(network, batch)["fc1"].double().numpy() for network in (a, b))
        k, m = u_centred(linear_kernel(p)), u_centred(linear_kernel(q))
        sums += [(k * m).sum(), (k * k).sum(), (m * m).sum()]
    found = representation_similarity(a, b, images, batch_size=10)
    assert found.layers["fc1"].linear_cka == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), abs=1e-6)


def test_convolutions_give_images_to_cka_and_positions_to_procrustes() -> None:
    torch.manual_seed(0)
    a, b = (ResNet(8, width=3, input_shape=(1, 8, 8)) for _ in range(2))
    images = torch.randn(12, 1, 8, 8)
    found = representation_similarity(a, b, images, batch_size=12).layers["blocks.0.conv1"]
    x, y = (responses(network, images)["blocks.0.conv1"].double() for network in (a, b))
    assert found.linear_cka == pytest.approx(linear_cka(x.flatten(1).numpy(), y.flatten(1).numpy()), abs=1e-6)
    rows = [z.movedim(1, -1).flatten(0, -2).numpy() for z in (x, y)]
    assert found.procrustes == pytest.approx(procrustes_similarity(*rows), abs=1e-6)


def test_dead_units_and_dead_layers_give_numbers() -> None:
    torch.manual_seed(0)
    networks = {name: FC((6,), 3, depth=3, width=5) for name in "ab"}
    for network in networks.values():
        add_masks(network)
    set_mask(networks["a"], {"fc1": torch.tensor([[True], [False], [True], [True], [False]]).expand(5, 6)})
    set_mask(networks["b"], {"fc2": torch.zeros(5, 5, dtype=torch.bool)})
    images = torch.randn(40, 6)
    found = representation_similarity(networks["a"], networks["b"], images)
    values = {name: list(vars(layer).values()) for name, layer in found.layers.items()}
    assert np.isfinite(list(values.values())).all()
    assert min(values["fc1"]) > 0
    assert values["fc2"] == values["fc3"] == [0, 0, 0, 0]
    itself = representation_similarity(networks["b"], networks["b"], images)
    assert itself.layers["fc1"].linear_cka == pytest.approx(1)
    assert itself.layers["fc2"].linear_cka == 0


def test_too_few_images_have_no_cka_and_say_so_by_its_absence() -> None:
    networks = {name: FC((6,), 3, depth=2, width=5) for name in "ab"}
    (pair,) = compare(networks, torch.randn(3, 6)).pairs
    assert np.isnan(pair.similarity.mean.linear_cka)
    assert {"procrustes", "svcca"} <= pair_means(pair).keys()
    assert not {"linear_cka", "rbf_cka"} & pair_means(pair).keys()


def test_the_gaussian_kernel_does_not_depend_on_how_many_samples_are_equal() -> None:
    rows = features(19, 4, 3)
    kernel = rbf_kernel(np.vstack([np.repeat(rows[:1], 20, axis=0), rows]))
    assert np.isfinite(kernel).all()
    assert kernel[0, 20] == kernel[0, 1] == 1
    assert 0 < kernel[0, 22] < 1


def test_mistakes_are_named() -> None:
    with pytest.raises(SparsityError, match=r"the same samples, at least 4; these are shaped \[3, 2\] and \[3, 2\]"):
        linear_cka(features(0, 3, 2), features(1, 3, 2))
    with pytest.raises(SparsityError, match="NaN or infinite"):
        procrustes_similarity(features(0), features(0) * np.inf)
    with pytest.raises(SparsityError, match="above 0 and at most 1, not 0"):
        svcca(features(0), features(1), variance=0)
    with pytest.raises(SparsityError, match="same units per layer"):
        representation_similarity(nn.Linear(2, 3), nn.Linear(2, 4), torch.ones(5, 2))
