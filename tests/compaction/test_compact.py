"""Smaller networks that compute the same, and from which nothing more can be taken."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsity.compaction import Compact, compact
from sparsity.interop import load_network
from sparsity.masks import add_masks, density, maskable, masks, set_mask
from sparsity.networks import FC, ResNet20, ViT, WideResNet
from tests.graph.networks import Calls, last_step, small_unet


def wild(network: nn.Module, density: float, seed: int = 0) -> nn.Module:
    """With few weights, and with biases, shifts and statistics as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        for place in maskable(network).values():
            place.weight.mul_(torch.rand(place.weight.shape, generator=generator) < density)
    return network.eval()


def units(found: Compact) -> dict[str, int]:
    return {name: layer.units for name, layer in found.layers.items()}


def assert_equal_outputs(network: nn.Module, smaller: nn.Module, size: tuple[int, ...], scale: float = 1.0) -> None:
    """To 1e-5 in float32 and 1e-10 in float64, on random samples, zeros and ones."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        a, b = (copy.deepcopy(one).to(dtype) for one in (network, smaller))
        if dtype == torch.float64:
            b = compact(a, size).network
        generator = torch.Generator().manual_seed(1)
        samples = scale * torch.randn((20, *size), generator=generator, dtype=dtype)
        samples = torch.cat([samples, torch.zeros_like(samples[:1]), torch.ones_like(samples[:1])])
        with torch.no_grad():
            expected, outputs = a(samples), b(samples)
        assert float((expected - outputs).abs().max()) <= tolerance * max(1.0, float(expected.abs().max()))


def test_constants_go_into_biases_and_what_nobody_reads_goes() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0], [2.0, 0.0]]))
        network[0].bias.copy_(torch.tensor([0.5, 3.0, 0.0]))  # the second unit is 3 for every input
        network[2].weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]))  # the third is read by the second
        network[2].bias.copy_(torch.tensor([0.25, 0.0]))
        network[4].weight.copy_(torch.tensor([[1.0, 0.0]]))  # which nothing reads
    found = compact(network, (2,))
    assert units(found) == {"0": 1, "2": 1, "4": 1}
    smaller = found.network
    assert smaller[0].weight.tolist() == [[1.0, -1.0]]
    assert smaller[2].bias.tolist() == [0.25 + 2 * 3]
    assert (smaller[0].out_features, smaller[2].in_features, smaller[4].in_features) == (1, 1, 1)
    assert [tuple(p.shape) for p in smaller.parameters()] == [(1, 2), (1,), (1, 1), (1,), (1, 1), (1,)]
    assert_equal_outputs(network, smaller, (2,))
    assert network[0].weight.shape == (3, 2)  # left as it was
    assert found.kept == ()


def test_a_constant_in_front_of_zeros_around_a_map_stays_and_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1))
    with torch.no_grad():
        network[0].weight[1] = 0  # 0.5 everywhere, and 0 around the map
        network[0].bias[1] = 0.5
    found = compact(network, (1, 5, 5))
    assert units(found) == {"0": 2, "1": 1}
    assert found.kept == (
        "1: 1 constant units that it reads stay, since the zeros around its maps are not what they are",
    )
    with torch.no_grad():
        network[0].bias[1] = 0
    found = compact(network, (1, 5, 5))
    assert units(found) == {"0": 1, "1": 1}
    assert_equal_outputs(network, found.network, (1, 5, 5))


def test_a_layer_without_bias_gets_one_for_its_constants() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3, bias=False)
    )
    wild(network, 1.0)
    with torch.no_grad():
        network[0].weight[0] = 0
        network[1].bias[0] = 2.0
        network[1].running_mean[0] = 0.0
    found = compact(network, (1, 7, 7))
    assert units(found) == {"0": 1, "3": 3}
    assert network[3].bias is None
    torch.testing.assert_close(found.network[3].bias, 2.0 * network[3].weight[:, 0].sum((1, 2)))
    assert found.network[1].num_features == 1
    assert_equal_outputs(network, found.network, (1, 7, 7))


def test_units_that_a_sum_ties_together_go_together_or_not_at_all() -> None:
    parts = {"a": nn.Linear(3, 4), "b": nn.Linear(3, 4), "out": nn.Linear(4, 2)}
    network = Calls(lambda self, x: self.out((self.a(x) + self.b(x)).tanh()), **parts)
    with torch.no_grad():
        network.out.weight[:, 1] = 0  # nobody reads the second
        network.a.weight[2] = 0  # of the third, one part is constant
        network.a.weight[3] = 0  # of the fourth, both
        network.b.weight[3] = 0
    found = compact(network, (3,))
    assert units(found) == {"a": 2, "b": 2, "out": 2}
    assert_equal_outputs(network, found.network, (3,))


def test_concatenated_parts_and_depthwise_convolutions_lose_units_of_their_own() -> None:
    parts = {
        "a": nn.Conv2d(2, 3, 1), "b": nn.Conv2d(2, 4, 1), "deep": nn.Conv2d(7, 14, 3, padding=1, groups=7, bias=False),
        "out": nn.Conv2d(14, 2, 1),
    }  # fmt: skip
    network = Calls(lambda self, x: self.out(self.deep(torch.cat([self.a(x), self.b(x)], 1)).relu()), **parts)
    with torch.no_grad():
        network.out.weight[:, :2] = 0  # both of the first channel of `a`
        network.out.weight[:, 8:10] = 0  # and of the second one of `b`
        network.out.weight[:, 12] = 0  # one of the two of its last
    found = compact(network, (2, 5, 5))
    assert units(found) == {"a": 2, "b": 3, "deep": 10, "out": 2}
    assert (found.network.deep.groups, found.network.deep.in_channels, found.network.deep.out_channels) == (5, 5, 10)
    assert_equal_outputs(network, found.network, (2, 5, 5))


def test_hidden_units_of_a_recurrent_layer_go_with_their_gates() -> None:
    for kind, gates in ((nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)):
        network = last_step(kind)
        with torch.no_grad():
            network.head.weight[:, 1] = 0
            for gate in range(gates):  # nor do the others read it
                network.layer.weight_hh_l0[gate * 5 + torch.tensor([0, 2, 3, 4]), 1] = 0
        found = compact(network, (7, 4))
        assert found.network.layer.hidden_size == 4
        assert found.network.layer.weight_hh_l0.shape == (4 * gates, 4)
        assert_equal_outputs(network, found.network, (7, 4))


def test_a_tied_weight_stays_one() -> None:
    network = nn.Sequential(
        nn.Embedding(9, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 9, bias=False)
    )
    network[4].weight = network[0].weight
    with torch.no_grad():
        network[3].weight[:, 2] = 0
        network[0].weight[:, 3] = 0
    ids = torch.tensor([[3, 1, 4]])
    found = compact(network, ids)
    assert found.network[4].weight is found.network[0].weight
    assert found.network[0].weight.shape == (9, 3)
    assert found.network[1].weight.shape == (5, 3)
    torch.testing.assert_close(found.network(ids), network(ids))


def test_masks_go_along_and_precision_stays() -> None:
    network = FC((4,), 3, depth=3, width=6).half()
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.3 for name, mask in masks(network).items()})
    kept_before = masks(network)["fc3"].sum()
    found = compact(network)
    smaller = found.network
    assert {p.dtype for p in smaller.parameters()} == {torch.float16}
    for place in maskable(smaller).values():
        assert place.mask.shape == place.weight.shape
        assert bool((place.weight[~place.mask] == 0).all())
    assert density(smaller) >= density(network)
    assert masks(smaller)["fc3"].sum() <= kept_before


def test_a_network_with_nothing_to_take_out_comes_back_equal() -> None:
    network = ResNet20(width=2).eval()
    found = compact(network)
    assert all(layer.units == layer.units_before for layer in found.layers.values())
    assert found.network is not network
    sample = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(sample), found.network(sample))


def test_what_an_operation_treats_by_place_stays_and_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        network[2].weight[:, 1] = 0
    found = compact(network, (3, 4, 4))
    assert units(found) == {"0": 4, "1": 4, "2": 2}
    assert found.kept == (
        "1: 1 units that no output depends on stay, since an operation treats them by their place, as it does heads of "
        "attention and groups of convolutions",
    )
    assert_equal_outputs(network, found.network, (3, 4, 4))


def test_what_an_unknown_operation_reads_stays_and_the_operation_is_named() -> None:
    parts = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 4), "out": nn.Linear(4, 2)}
    network = Calls(lambda self, x: self.out(self.b(torch.cummax(self.a(x), -1).values)), **parts)
    with torch.no_grad():
        network.b.weight[:, 3] = 0
        network.out.weight[:, 0] = 0
    found = compact(network, (3,))
    assert units(found) == {"a": 4, "b": 3, "out": 2}
    assert any(why.startswith("the operation 'cummax' is not one whose connections are known") for why in found.kept)
    assert_equal_outputs(network, found.network, (3,))


def test_a_forward_pass_that_counts_on_a_size_keeps_it_and_is_named() -> None:
    parts = {"a": nn.Linear(3, 6), "b": nn.Linear(6, 6), "out": nn.Linear(6, 2)}

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        hidden = self.a(x).relu() + torch.zeros(6, dtype=x.dtype)
        return self.out(self.b(hidden).relu())

    network = Calls(forward, **parts)
    with torch.no_grad():
        network.b.weight[:, 0] = 0
        network.out.weight[:, 5] = 0
    found = compact(network, (3,))
    assert units(found) == {"a": 6, "b": 5, "out": 2}
    assert found.kept == (
        "a, b: 1 units that no output depends on stay, since the forward pass counts on their number",
    )
    assert_equal_outputs(network, found.network, (3,))


def test_of_a_collapsed_network_one_unit_of_each_layer_is_left() -> None:
    network = FC((4,), 3, depth=4, width=5)
    with torch.no_grad():
        network.fc2.weight.zero_()
    found = compact(network)
    assert units(found) == {"fc1": 1, "fc2": 1, "fc3": 1, "fc4": 3}
    assert_equal_outputs(network, found.network, (4,))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "resnet20": (lambda: ResNet20(width=8), (3, 32, 32), 0.03),
    "resnet20 padded": (lambda: ResNet20(width=8, shortcut="pad"), (3, 32, 32), 0.03),
    "wide": (lambda: WideResNet(10, 1), (3, 32, 32), 0.03),
    "vit": (lambda: ViT(dim=12, depth=2, heads=3, mlp_dim=24), (3, 32, 32), 0.05),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=10), (3, 32, 32), 0.1),
    "unet": (small_unet, (3, 32, 32), 0.1),
    "densenet": (lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=10), (3, 32, 32), 0.05),
    "shufflenet": (lambda: torchvision.models.ShuffleNetV2([1, 1, 1], [8, 8, 16, 32, 64]), (3, 64, 64), 0.05),
    "swin": (lambda: torchvision.models.SwinTransformer([4, 4], 8, [2], [2], [4, 4]), (3, 32, 32), 0.05),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("mobilenet_v2", "swin"))) for name in NETWORKS]
)
def test_networks_of_the_field_compute_the_same_and_a_second_time_nothing_goes(name: str) -> None:
    make, size, kept = NETWORKS[name]
    network = wild(make(), kept)
    found = compact(network, size)
    assert sum(layer.units for layer in found.layers.values()) < sum(
        layer.units_before for layer in found.layers.values()
    )
    assert found.deviation <= 1e-10
    assert_equal_outputs(network, found.network, size)
    again = compact(found.network, size)
    assert units(again) == units(found)


class Random(nn.Module):
    """A convolution, and after it a graph with sums, concatenations and depthwise convolutions, as numbers say."""

    def __init__(self, kinds: list[int]) -> None:
        super().__init__()
        self.kinds = [4, *kinds]
        width, layers = 2, list[nn.Module]()
        for kind in self.kinds:
            if kind == 0:
                layers.append(nn.Conv2d(width, width, 1))
            elif kind == 1:  # concatenated with what it reads
                layers.append(nn.Conv2d(width, 2, 1))
                width += 2
            elif kind == 2:
                layers.append(nn.Conv2d(width, width, 3, groups=width, padding=1, bias=False))
            elif kind == 3:
                layers.append(nn.BatchNorm2d(width))
            else:
                layers.append(nn.Conv2d(width, 3, 1))
                width = 3
        self.layers = nn.ModuleList(layers)
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            made = layer(x)
            if kind == 0:
                x = x + torch.tanh(made)
            elif kind == 1:
                x = torch.cat([x, made], 1)
            elif kind == 3:
                x = made
            else:
                x = torch.tanh(made)
        return self.out(x.mean((2, 3)))


def unread_by_force(network: nn.Module, size: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """The layer and number of filters that no output depends on, each disturbed in turn."""
    samples = torch.randn((6, *size), dtype=torch.float64)
    with torch.no_grad():
        expected = network(samples)
        for name, layer in network.named_modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            for unit in range(layer.out_channels):
                noise = torch.randn((6, 1, 1), dtype=torch.float64)

                def disturbed(_: nn.Module, __: object, out: Tensor, unit: int = unit, noise: Tensor = noise) -> Tensor:
                    out = out.clone()
                    out[:, unit] += noise
                    return out

                handle = layer.register_forward_hook(disturbed)
                changed = not torch.allclose(network(samples), expected, rtol=0, atol=1e-13)
                handle.remove()
                if not changed and layer.out_channels > 1:
                    yield name, unit


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    kept=st.sampled_from([0.15, 0.3, 0.5]),
    seed=st.integers(0, 10_000),
)
def test_brute_force_finds_nothing_more_in_random_graphs(kinds: list[int], kept: float, seed: int) -> None:
    torch.manual_seed(seed)
    network = wild(Random(kinds), kept, seed).double()
    size = (2, 4, 4)
    found = compact(network, size)
    samples = torch.randn((6, *size), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(found.network(samples), network(samples), rtol=0, atol=1e-10)
    assert units(compact(found.network, size)) == units(found)
    # What is added into a stream, or made of each of its channels, may be unread where the stream itself is needed.
    kinds = [4, *kinds]
    tied = {
        f"layers.{number}" for number, kind in enumerate(kinds) if kind == 0 or (kind == 2 and kinds[number - 1] != 4)
    }
    assert not [place for place in unread_by_force(found.network, size) if place[0] not in tied]


PUBLISHED = {
    "FC/synflow_2_21.pt": {"fc1": 6, "fc2": 55, "fc3": 30, "fc4": 28, "fc5": 57, "fc6": 10},
    "ResNet20/synflow_10_21.pt": {"blocks.6.conv1": 24, "blocks.7.conv1": 18, "blocks.8.conv1": 16},
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_networks_lose_what_is_known_to_be_dead(file: str, reference: Path) -> None:
    network = load_network(reference / "published" / file).eval()
    found = compact(network)
    assert {name: units(found)[name] for name in PUBLISHED[file]} == PUBLISHED[file]
    assert_equal_outputs(network, found.network, network.input_shape)  # type: ignore[arg-type]
