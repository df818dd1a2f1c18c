import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparsity.graph.multiply_adds import activation_products, positions, weight_products
from sparsity.graph.trace import trace
from sparsity.networks import FC, ResNet20
from tests.graph.networks import IMAGE, IMAGE_NETWORKS, Calls, image_network, last_step, vision_transformer


def counted(network: nn.Module, *sample: Tensor) -> int:
    """What torch itself counts, of elementary kernels."""
    network = copy.deepcopy(network).eval().double()  # for which there are no kernels of whole recurrent layers
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
        network(*(one.double() if one.is_floating_point() else one for one in sample))
    assert count.get_total_flops() % 2 == 0
    return count.get_total_flops() // 2


def total(network: nn.Module, *sample: Tensor) -> int:
    found = trace(network, sample)
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    return weight_products(sizes, positions(found)) + activation_products(found)


MAKERS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "fc": lambda: (FC(), torch.zeros(1, 1, 28, 28)),
    "resnet20": lambda: (ResNet20(), torch.zeros(1, 3, 32, 32)),
    "vision_transformer": lambda: (vision_transformer(), torch.zeros(1, 3, 32, 32)),
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16), torch.zeros(5, 1, 8)),
    "lstm": lambda: (last_step(), torch.zeros(1, 6, 4)),
    "gru": lambda: (last_step(nn.GRU), torch.zeros(1, 6, 4)),
    "rnn": lambda: (last_step(nn.RNN), torch.zeros(1, 6, 4)),
    **{name: lambda name=name: (image_network(name), torch.zeros(IMAGE)) for name in IMAGE_NETWORKS},
}


@pytest.mark.parametrize("name", MAKERS)
def test_all_products_add_up_to_what_torch_counts(name: str) -> None:
    network, sample = MAKERS[name]()
    assert total(network, sample) == counted(network, sample)


def test_a_fully_connected_weight_is_applied_once_and_a_convolutions_once_for_each_output_pixel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Flatten(), nn.Linear(18, 4))
    # 7 x 7 pixels give 3 x 3.
    assert positions(trace(network, torch.zeros(1, 1, 7, 7))) == {
        "0.weight": 9,
        "0.bias": 0,
        "2.weight": 1,
        "2.bias": 0,
    }


def test_a_transposed_convolutions_weight_is_applied_once_for_each_input_pixel() -> None:
    found = positions(trace(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False), torch.zeros(1, 4, 5, 3)))
    assert found == {"weight": 15}


def test_uses_of_one_weight_add_up() -> None:
    network = Calls(lambda self, x: self.layer(self.layer(x)), layer=nn.Linear(3, 3, bias=False))
    assert positions(trace(network, torch.zeros(1, 3))) == {"layer.weight": 2}
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    assert positions(trace(tied, torch.zeros(1, 3))) == {"0.weight": 2}


@pytest.mark.parametrize(
    "product",
    [
        lambda self, x: x @ self.weight.t(),
        lambda self, x: torch.addmm(self.bias, x.flatten(0, 1), self.weight.t()),
        lambda self, x: torch.einsum("bti,oi->bto", x, self.weight),
        lambda self, x: torch.cat([x @ part.t() for part in self.weight.chunk(2)], 2),
        lambda self, x: x @ self.weight.view(2, 2, 3).flatten(0, 1).permute(1, 0),
    ],
    ids=["transposed", "addmm", "einsum", "chunks", "views"],
)
def test_a_weight_is_followed_through_transposes_and_views(product: object) -> None:
    network = Calls(product, weight=nn.Parameter(torch.zeros(4, 3)), bias=nn.Parameter(torch.zeros(4)))
    found = trace(network, torch.zeros(1, 5, 3))
    assert positions(found)["weight"] == 5
    assert activation_products(found) == 0


def test_parts_of_a_weight_with_other_counts_are_averaged() -> None:
    attention = nn.MultiheadAttention(6, 2, batch_first=True, bias=False)
    network = Calls(lambda self, x: self.layer(x, x[:, :2], x[:, :2])[0], layer=attention)
    found = trace(network, torch.zeros(1, 5, 6))
    # 5 queries, 2 keys, 2 values: (5 + 2 + 2) / 3.
    assert positions(found) == {"layer.in_proj_weight": 3, "layer.out_proj.weight": 5}
    # Queries by keys, then weights by values: 5 x 2 x 6 each.
    assert activation_products(found) == 120


def test_embeddings_normalisations_and_scales_are_not_counted() -> None:
    parts = {"table": nn.Embedding(7, 4), "norm": nn.LayerNorm(4), "scale": nn.Parameter(torch.ones(4))}
    network = Calls(lambda self, ids: self.norm(self.table(ids)) * self.scale, **parts)
    found = trace(network, torch.zeros(1, 3, dtype=torch.long))
    assert set(positions(found).values()) == {0}
    assert activation_products(found) == 0


def test_a_bilinear_layer_applies_each_weight_once_for_each_row() -> None:
    network = nn.Bilinear(3, 4, 5, bias=False)
    found = trace(network, (torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)))
    assert positions(found) == {"weight": 2}
    assert activation_products(found) == 0
