"""Units may change places with those of their group, and with no others."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sparsity.graph.trace import trace
from sparsity.graph.units import Group, permuted, unit_groups
from sparsity.networks import FC, VGG, ResNet18, ResNet20, ViT, WideResNet
from tests.graph.networks import IMAGE, IMAGE_NETWORKS, Calls, image_network
from tests.masks.layers import LAYERS
from tests.networks_of_strangers import NETWORKS as STRANGERS


def randomised(network: nn.Module) -> nn.Module:
    """In float64, with parameters and statistics that tell all places apart."""
    network = network.eval().double()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        spread = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = (spread - 0.4) / max(parameter[0].numel() if parameter.ndim > 1 else 1, 1) ** 0.5
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) - 0.5)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5)
    return network


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in [*network.named_parameters(), *network.named_buffers()]}


def shuffles(groups: tuple[Group, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # Rolled by one where chance leaves all in place.
    found = [torch.randperm(group.size, generator=generator) for group in groups]
    return [order.roll(1) if torch.equal(order, torch.arange(len(order))) else order for order in found]


def einstein() -> nn.Module:
    """Attention in which every product is an einsum, with a matrix between queries and keys."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        query, value = torch.einsum("btc,hdc->bthd", x, self.query), torch.einsum("btc,hdc->bthd", x, self.value)
        alike = torch.einsum("bthd,hde,bshe->bhts", query, self.between, query).softmax(-1)
        return self.head(torch.einsum("bhts,bshd,hdo->bto", alike, value, self.out))

    shapes = {"query": (2, 3, 6), "value": (2, 3, 6), "between": (2, 3, 3), "out": (2, 3, 5)}
    parts = {name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
    return Calls(forward, head=nn.Linear(5, 3), **parts)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "einstein": lambda: (einstein(), (4, 6)),
    "fc": lambda: (FC((6,), 3, depth=3, width=5), (6,)),
    "resnet20": lambda: (ResNet20(), (3, 32, 32)),
    "resnet20 padded": lambda: (ResNet20(shortcut="pad"), (3, 32, 32)),
    "resnet18": lambda: (ResNet18(), (3, 32, 32)),
    "vgg": lambda: (VGG(depth=11), (3, 32, 32)),
    "wide": lambda: (WideResNet(depth=10, widen=1), (3, 32, 32)),
    "vit": lambda: (ViT(), (3, 32, 32)),
    **{name: (lambda name=name: (copy.deepcopy(image_network(name)), IMAGE[1:])) for name in IMAGE_NETWORKS},
    **{name: (lambda make=make: (make(), (1, 6, 6))) for name, make in LAYERS.items()},
    **{
        name: (lambda name=name: (STRANGERS[name](), STRANGERS[name]().input_shape))
        for name in ("shared layer", "shared norm", "tied linears", "attention", "transformer", "own attention")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_units_of_a_group_in_any_order_compute_the_same(name: str) -> None:
    network, shape = NETWORKS[name]()
    randomised(network)
    groups = unit_groups(trace(network, torch.zeros(1, *shape, dtype=torch.float64)))
    sample = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moved = permuted(state(network), groups, shuffles(groups))
    other = copy.deepcopy(network)
    other.load_state_dict(moved, strict=False)  # what has two names is there under one
    with torch.no_grad():
        before, after = network(sample), other(sample)
    assert before.abs().max() > 0
    assert (before - after).abs().max() <= 1e-10 * before.abs().max()
    changed = {name for name, tensor in state(network).items() if not torch.equal(tensor, moved[name])}
    assert changed == {member.name for group in groups for member in group.members}
    assert bool(changed) == (name not in ("depthwise", "tied linears"))  # whose places are all given from outside


def groups_of(network: nn.Module, *shape: int) -> list[tuple[int, list[tuple[str, int]]]]:
    """Of each group its size, and where it lies."""
    found = unit_groups(trace(network, torch.zeros(1, *shape)))
    return [(group.size, [(member.name, member.axis) for member in group.members]) for group in found]


def test_a_chain_has_a_group_for_each_hidden_layer() -> None:
    assert groups_of(FC((6,), 3, depth=3, width=5), 6) == [
        (5, [("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)]),
        (5, [("fc2.weight", 0), ("fc2.bias", 0), ("fc3.weight", 1)]),
    ]


def test_a_channel_is_a_block_of_inputs_behind_a_flatten() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    (group,) = unit_groups(trace(network, torch.zeros(1, 1, 3, 3)))
    (reader,) = [member for member in group.members if member.name == "3.weight"]
    assert reader.index.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_residual_stream_is_one_group() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.back, self.head = (
                nn.Linear(2, 4, bias=False), nn.Linear(4, 5, bias=False), nn.Linear(5, 4, bias=False), nn.Linear(4, 3)
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            stream = self.stem(x)
            found: Tensor = self.head(stream + self.back(self.inner(stream).relu()))
            return found

    assert groups_of(Residual(), 2) == [
        (4, [("stem.weight", 0), ("inner.weight", 1), ("back.weight", 0), ("head.weight", 1)]),
        (5, [("inner.weight", 0), ("back.weight", 1)]),
    ]


def test_parts_of_a_concatenation_keep_to_themselves() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(2, 3, bias=False), nn.Linear(2, 4, bias=False), nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(torch.cat([self.a(x), self.b(x)], 1))
            return found

    a, b = unit_groups(trace(Joined(), torch.zeros(1, 2)))
    assert [m.index.flatten().tolist() for m in a.members if m.name == "head.weight"] == [[0, 1, 2]]
    assert [m.index.flatten().tolist() for m in b.members if m.name == "head.weight"] == [[3, 4, 5, 6]]


def test_units_of_different_heads_are_different_groups() -> None:
    network = nn.MultiheadAttention(4, 2, bias=False, batch_first=True)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = network

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.attention(x, x, x)[0]
            return found

    rows = [
        [row for member in group.members if member.name.endswith("in_proj_weight") for row in member.index.tolist()]
        for group in unit_groups(trace(Attention(), torch.zeros(1, 3, 4)))
    ]
    # Queries with keys, of each head; values, of each head.
    assert rows == [[[0, 4], [1, 5]], [[2, 6], [3, 7]], [[8], [9]], [[10], [11]]]


def test_gates_of_a_recurrent_unit_move_together_with_its_state() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 3, bias=False, batch_first=True), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.lstm(x)[0][:, -1])
            return found

    (group,) = unit_groups(trace(Recurrent(), torch.zeros(1, 4, 2)))
    assert {(m.name, m.axis): m.index.tolist() for m in group.members} == {
        ("lstm.weight_ih_l0", 0): [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
        ("lstm.weight_hh_l0", 0): [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
        ("lstm.weight_hh_l0", 1): [[0], [1], [2]],
        ("head.weight", 1): [[0], [1], [2]],
    }


def test_an_operation_that_is_not_known_leaves_its_units_in_place() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(2, 4), nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.second(self.first(x).cumsum(1)))
            return found

    assert [size for size, _ in groups_of(Sorted(), 2)] == [3]


def test_units_of_an_einsum_are_tied_to_what_reads_them() -> None:
    network = Calls(
        lambda self, x: self.head(torch.einsum("bti,oi->bto", x, self.weight).relu()),
        weight=nn.Parameter(torch.zeros(4, 3)), head=nn.Linear(4, 2),
    )  # fmt: skip
    assert groups_of(network, 5, 3) == [(4, [("weight", 0), ("head.weight", 1)])]
