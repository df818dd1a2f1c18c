"""Convergent learning on the published networks, against the thesis's values and those of real activations."""

from itertools import combinations

import numpy as np
import pytest
import torch

from sparsity.analysis import activation_correlation
from sparsity.networks import FC


@pytest.fixture(scope="module")
def images(reference):
    """The first 600 MNIST test images."""
    path = reference / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    pixels = np.fromfile(path, np.uint8, count=600 * 784, offset=16).reshape(600, 1, 28, 28)
    return (torch.from_numpy(pixels) / 255 - 0.1307) / 0.3081


@pytest.mark.parametrize("point", ["post", "pre", "filters"])
def test_all_pairs_of_nine_networks(golden, network, images, point):
    expected = golden("correlation_FC_10.json")
    networks = [network(f"FC/{name}", "effective") for name in expected["networks"]]
    key = f"density_label=10,point={point},gem_mask=effective,first_image_twice=False"
    _assert_equal(networks, images, point, expected["results"][key])


def test_the_thesis_took_the_flag_for_gem_miners_mask_and_counted_the_first_image_twice(golden, network, images):
    expected = golden("correlation_FC_10.json")
    networks = [network(f"FC/{name}", "flag") for name in expected["networks"]]
    key = "density_label=10,point=filters,gem_mask=flag,first_image_twice=True"
    _assert_equal(networks, torch.cat([images[:1], images]), "filters", expected["results"][key])


def _assert_equal(networks, images, point, expected):
    for i, j in combinations(range(len(networks)), 2):
        ours = activation_correlation(networks[i], networks[j], images, point, batch_size=250)
        layers = list(ours.layers.values())
        pair, reverse = expected["per_pair"][f"{i}-{j}"], expected["per_pair"][f"{j}-{i}"]
        assert [layer.one_to_one for layer in layers] == pytest.approx(pair["one_to_one"], abs=1e-4)
        assert [layer.semi for layer in layers] == pytest.approx(pair["semi"], abs=1e-4)
        # The other direction has the same one-to-one matching, and its own best partners.
        assert [layer.one_to_one for layer in layers] == pytest.approx(reverse["one_to_one"], abs=1e-4)
        backwards = [layer.correlation.max(axis=0).mean() for layer in layers]
        assert backwards == pytest.approx(reverse["semi"], abs=1e-4)
        assert ours.one_to_one == pytest.approx(expected["one_to_one"][i][j], abs=1e-4)
        assert ours.semi == pytest.approx(expected["semi"][i][j], abs=1e-4)


@pytest.fixture
def network(published, state_dict):
    """A published FC network as a module of ours."""

    def build(name, gem_mask):
        tensors = state_dict(name)
        has_bias = "1.bias" in tensors
        fc = FC(bias="hidden" if has_bias else "none")
        weights = published(name, gem_mask)
        for number, (layer, weight) in enumerate(weights.items(), start=1):
            ours = fc.get_submodule(f"fc{number}")
            ours.weight.data = torch.from_numpy(weight)
            if ours.bias is not None:
                ours.bias.data = tensors[f"{layer}.bias"] * tensors[f"{layer}.bias_mask"]
        return fc

    return build
