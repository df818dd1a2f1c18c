"""Networks of any architecture are matched unit by unit: a relabelled copy is at distance 0."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sparsity.analysis import network_distance
from sparsity.analysis.comparison.alignment import Units
from sparsity.graph.layers import parameter_names
from sparsity.graph.sample import Given
from sparsity.graph.units import permuted
from sparsity.masks import SUFFIX, add_masks, masked, masks, set_mask
from sparsity.networks import ResNet, ViT
from tests.graph.test_units import NETWORKS, randomised, shuffles
from tests.networks_of_the_field import FIELD

MEASURES = ["nnstd", "sasd", "maed"]
SMALL = ["fc", "lstm", "gru", "attention", "transformer", "grouped", "depthwise", "transposed in groups", "bilinear"]


def relabelled(network: nn.Module, shape: Given, seed: int) -> nn.Module:
    """A copy whose units are in another order, masks too."""
    groups = Units(network, shape).groups
    other = copy.deepcopy(network)
    with torch.no_grad():
        own = tensors(other)
        for name, moved in permuted(tensors(network), groups, shuffles(groups, seed)).items():
            own[name].copy_(moved)
    return other


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers; the mask of a tied weight is named as the weight is."""
    names = parameter_names(network)
    kept = {names[p.weight] + SUFFIX: p.mask for p in masked(network).values() if p.mask is not None}
    return dict(network.named_parameters()) | dict(network.named_buffers()) | kept


def sparse(network: nn.Module, density: float) -> nn.Module:
    add_masks(network)
    generator = torch.Generator().manual_seed(0)
    set_mask(network, {n: torch.rand(m.shape, generator=generator) < density for n, m in masks(network).items()})
    return network


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", SMALL)
def test_a_relabelled_copy_is_at_distance_0_a_hundred_times(name: str, measure: str) -> None:
    network, shape = NETWORKS[name]()
    sparse(randomised(network), 0.7)
    for seed in range(100):
        distance = network_distance(network, relabelled(network, shape, seed), measure, "propagate", shape)
        assert distance.mean == 0, seed
        assert all(layer.whole_layer == 0 for layer in distance.layers.values())


@pytest.mark.parametrize("name", ["Gpt", "SequenceClassifier", "Lstm"])
def test_a_residual_stream_that_a_table_begins_is_matched_by_the_table(name: str) -> None:
    network, sample = FIELD[name].make(), FIELD[name].sample()
    sparse(randomised(network), 0.7)
    for seed in range(2):
        distance = network_distance(network, relabelled(network, sample, seed), "maed", "propagate", sample)
        assert distance.mean == 0, seed
        assert all(layer.whole_layer == 0 for layer in distance.layers.values())


def test_a_tied_head_keeps_its_classes_in_their_places() -> None:
    network, sample = FIELD["Gpt"].make(), FIELD["Gpt"].sample()
    found = network_distance(randomised(network), relabelled(network, sample, 1), "maed", "propagate", sample).layers
    head = found["head"].matching
    assert head.tolist() == list(range(len(head)))


@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("name", ["resnet20", "resnet20 padded", "wide", "vit", "swin", "small_unet", "shufflenet"])
def test_a_relabelled_copy_of_a_published_architecture_is_at_distance_0(name: str, density: float) -> None:
    network, shape = NETWORKS[name]()
    sparse(randomised(network), density)
    distance = network_distance(network, relabelled(network, shape, 0), "maed", "propagate", shape)
    assert distance.mean == pytest.approx(0, abs=1e-15)


def test_other_networks_are_at_a_distance_between_0_and_1_and_matchings_are_permutations() -> None:
    for make, shape in ((lambda: ResNet(8, width=2), (3, 16, 16)), (lambda: ViT(depth=2, dim=12), (3, 32, 32))):
        a, b = sparse(make(), 0.5), sparse(make(), 0.4)  # type: ignore[no-untyped-call]
        distance = network_distance(a, b, "sasd", "propagate", shape)
        assert list(distance.layers) == list(masks(a))
        assert distance.mean > 0.1
        for layer in distance.layers.values():
            assert 0 <= layer.mean_matched <= 1
            assert sorted(layer.matching.tolist()) == list(range(len(layer.matching)))


def test_a_residual_stream_is_matched_once() -> None:
    network = ResNet(8, width=2)
    other = relabelled(randomised(network), (3, 16, 16), 3)
    found = network_distance(network, other, "maed", "propagate", (3, 16, 16)).layers
    assert found["conv"].matching.tolist() == found["blocks.0.conv2"].matching.tolist()


def test_what_cannot_be_traced_is_one_sentence() -> None:
    class Branching(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = super().forward(x) if x.sum() > 0 else x
            return found

    with pytest.raises(Exception, match="Branching cannot be traced"):
        network_distance(Branching(nn.Linear(2, 2)), Branching(nn.Linear(2, 2)), "maed", "propagate", (2,))
