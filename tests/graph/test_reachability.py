"""Reachability against brute force: each kept weight is changed, and one looks whether the output changes.

The brute force is written down once more for each architecture, as plain functions of pairs: a value, and how it
depends on the input (its derivative in one direction). Biases are left out, a nonlinearity is the identity (plus 1
where it is not 0 at 0), and a weight is changed in the derivative only: along paths from the input.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.analysis.topology.connectivity import LayerConnectivity, connectivity, effective_masks
from sparsity.errors import SparsityError
from sparsity.graph.architecture import traced
from sparsity.graph.meanings import roles
from sparsity.graph.reachability import effective, read
from sparsity.graph.trace import Trace, trace
from sparsity.graph.weight_uses import weight_uses
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet
from tests.graph.networks import IMAGE, IMAGE_NETWORKS, Calls, image_network, last_step, small_unet, vision_transformer


class Pair(NamedTuple):
    value: Tensor
    change: Tensor


class Weights:
    """Weights as they are in values, and as they are in changes."""

    def __init__(self, values: dict[str, Tensor], changes: dict[str, Tensor]) -> None:
        self.values, self.changes = values, changes

    def apply(self, name: str, operation: Callable[..., Tensor], x: Pair, *args: object) -> Pair:
        return Pair(operation(x.value, self.values[name], *args), operation(x.change, self.changes[name], *args))

    def linear(self, name: str, x: Pair, rows: slice = slice(None)) -> Pair:
        return self.apply(name, lambda given, weight: given @ weight[rows].T, x)


def both(x: Pair, function: Callable[[Tensor], Tensor]) -> Pair:
    return Pair(function(x.value), function(x.change))


def plus(*terms: Pair) -> Pair:
    return Pair(sum(term.value for term in terms), sum(term.change for term in terms))  # type: ignore[arg-type]


def times(a: Pair, b: Pair, product: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Pair:
    return Pair(product(a.value, b.value), product(a.change, b.value) + product(a.value, b.change))


def offset(x: Pair) -> Pair:
    """A function that is not 0 at 0."""
    return Pair(x.value + 1, x.change)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.a(x)).relu()
        return self.c(x + F.gelu(self.b(x)))

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        x = w.linear("a.weight", x)
        return w.linear("c.weight", plus(x, w.linear("b.weight", x)))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.c = nn.Conv2d(5, 4, 2, stride=2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), F.silu(self.b(x))], 1)
        x = F.max_pool2d(self.c(x), 3, 2, padding=1, ceil_mode=True)
        return self.head(F.adaptive_max_pool2d(x, 1).flatten(1))

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        one = w.apply("a.weight", lambda given, weight: F.conv2d(given, weight, padding=1), x)
        two = w.apply("b.weight", F.conv2d, x)
        x = Pair(torch.cat([one.value, two.value], 1), torch.cat([one.change, two.change], 1))
        x = w.apply("c.weight", lambda given, weight: F.conv2d(given, weight, stride=2), x)
        return w.linear("head.weight", both(x, lambda given: given.mean((2, 3))))


class Gate(nn.Module):
    """Squeeze and excitation, with a gate that is 0 at 0 or not."""

    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.down, self.up = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1), nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 2)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return self.head((x * self.gate(gate)).mean((2, 3)))

    def brute(self, w: Weights, x: Pair) -> Pair:
        x = w.apply("a.weight", F.conv2d, x)
        gate = both(x, lambda given: given.mean((2, 3), keepdim=True))
        gate = w.apply("up.weight", F.conv2d, w.apply("down.weight", F.conv2d, gate))
        gate = offset(gate) if self.gate is torch.sigmoid else gate
        return w.linear("head.weight", both(times(x, gate), lambda given: given.mean((2, 3))))


class Attention(nn.Module):
    """Tokens, one of them not from the input, that look at each other, all or only the earlier ones."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.enter, self.token = nn.Linear(3, 4), nn.Parameter(torch.randn(1, 1, 4))
        self.positions = nn.Parameter(torch.randn(1, 3, 4))
        self.norm, self.attention = nn.LayerNorm(4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token, self.enter(x)], 1) + self.positions
        x = self.norm(x)
        mask = torch.ones(3, 3).tril().logical_not() if self.causal else None
        x = x + self.attention(x, x, x, need_weights=False, attn_mask=mask)[0]
        return self.head(x[:, 0 if not self.causal else 1])

    def brute(self, w: Weights, x: Pair) -> Pair:
        x = w.linear("enter.weight", x)
        token = torch.ones(1, 1, 4).double()  # there, and depends on nothing
        x = Pair(torch.cat([token, x.value], 1), torch.cat([0 * token, x.change], 1))
        parts = [w.linear("attention.in_proj_weight", x, slice(i, i + 4)) for i in (0, 4, 8)]
        query, key, value = (both(part, lambda given: given.view(3, 2, 2).transpose(0, 1)) for part in parts)
        scores = times(query, both(key, lambda given: given.mT), torch.matmul)
        allowed = torch.ones(3, 3).tril() if self.causal else torch.ones(3, 3)
        weights = Pair(torch.ones_like(scores.value) * allowed, scores.change * allowed)
        found = times(weights, value, torch.matmul)
        found = w.linear("attention.out_proj.weight", both(found, lambda given: given.transpose(0, 1).reshape(1, 3, 4)))
        return w.linear("head.weight", both(plus(x, found), lambda given: given[:, 0 if not self.causal else 1]))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        nothing = torch.zeros(1, 3).double()
        hidden, cell = Pair(nothing, nothing), Pair(nothing, nothing)
        for step in range(x.value.shape[1]):
            own = w.linear("layer.weight_ih_l0", both(x, lambda given, step=step: given[:, step]))
            gates = plus(own, w.linear("layer.weight_hh_l0", hidden))
            enter, forget, new, leave = (both(gates, lambda given, i=i: given[:, 3 * i : 3 * i + 3]) for i in range(4))
            cell = plus(times(offset(forget), cell), times(offset(enter), new))
            hidden = times(offset(leave), cell)
        return w.linear("head.weight", hidden)


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(2, 3, batch_first=True, bidirectional=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0].mean(1))

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        outputs = []
        for way, end in (("", 1), ("_reverse", -1)):
            hidden = Pair(torch.zeros(1, 3).double(), torch.zeros(1, 3).double())
            steps = []
            for step in range(x.value.shape[1])[::end]:
                given = both(x, lambda given, step=step: given[:, step])
                own = [w.linear(f"layer.weight_ih_l0{way}", given, slice(i, i + 3)) for i in (0, 3, 6)]
                other = [w.linear(f"layer.weight_hh_l0{way}", hidden, slice(i, i + 3)) for i in (0, 3, 6)]
                reset, update = (offset(plus(own[i], other[i])) for i in (0, 1))
                new = plus(own[2], times(reset, other[2]))
                hidden = plus(times(plus(hidden, new), update), new)
                steps.append(hidden)
            outputs.append(plus(*steps))
        pair = Pair(*(torch.cat([one[i] for one in outputs], 1) for i in (0, 1)))
        return w.linear("head.weight", pair)


class Groups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.c = nn.Conv2d(6, 2, 2, dilation=2)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(self.a(x))) * self.scale)

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        x = w.apply("a.weight", lambda given, weight: F.conv2d(given, weight, groups=2), x)
        x = w.apply("b.weight", lambda given, weight: F.conv_transpose2d(given, weight, stride=2, groups=2), x)
        return w.apply("c.weight", lambda given, weight: F.conv2d(given, weight, dilation=2), x)


class Product(nn.Module):
    """Matrices on the right of what they multiply, and a product of two of the results."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3, 4))
        self.c, self.shift = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.shift, (x @ self.a) * F.relu(torch.mm(x, self.b)), self.c)

    @staticmethod
    def brute(w: Weights, x: Pair) -> Pair:
        both_of = times(w.apply("a", torch.matmul, x), w.apply("b", torch.matmul, x))
        return w.apply("c", torch.matmul, both_of)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (1, 4)),
    "branches": (Branches, (1, 2, 8, 8)),
    "open gate": (lambda: Gate(torch.sigmoid), (1, 2, 4, 4)),
    "closed gate": (lambda: Gate(torch.tanh), (1, 2, 4, 4)),
    "attention": (lambda: Attention(False), (1, 2, 3)),
    "causal attention": (lambda: Attention(True), (1, 2, 3)),
    "lstm": (Recurrent, (1, 3, 2)),
    "gru": (Gru, (1, 3, 2)),
    "groups": (Groups, (1, 2, 4, 4)),
    "product": (Product, (1, 3)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_a_weight_is_effective_if_and_only_if_changing_it_changes_the_output(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    make, shape = CASES[name]
    network = make()
    found = traced(network, torch.zeros(shape))
    where = {use.parameter for use in weight_uses(found, roles(found))}
    kept = {
        key: torch.rand_like(parameter) < (0.35, 0.5, 0.7)[seed]
        for key, parameter in network.named_parameters()
        if key in where
    }
    values = {key: (torch.rand(mask.shape).double() + 0.5) * mask for key, mask in kept.items()}
    x = Pair(torch.rand(shape).double() + 0.5, torch.rand(shape).double() + 0.5)
    brute: Callable[[Weights, Pair], Pair] = network.brute  # type: ignore[assignment]
    before = brute(Weights(values, values), x).change
    expected = {key: torch.zeros_like(mask) for key, mask in kept.items()}
    for key, mask in kept.items():
        for index in mask.nonzero().tolist():
            changes = dict(values) | {key: values[key].clone()}
            changes[key][tuple(index)] *= 2
            after = brute(Weights(values, changes), x).change
            expected[key][tuple(index)] = bool(((after - before).abs() > 1e-9 * before.abs()).any())
    own = effective(found, kept)
    assert set(own) == set(expected)
    for key, mask in own.items():
        assert torch.equal(mask, expected[key]), key


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
@pytest.mark.parametrize(
    "network", [FC((1, 4, 4), 3, 4, 12), ResNet(8, 4, (3, 8, 8)), ResNet(14, 2, (3, 8, 8), shortcut_scale=True)]
)
def test_own_networks_have_what_a_pass_through_their_modules_says(network: nn.Module, density: float) -> None:
    add_masks(network)
    for mask in masks(network).values():
        mask.copy_(torch.rand(mask.shape) < density)
    kept = {f"{name}.weight": mask.clone() for name, mask in masks(network).items()}
    found = traced(network, torch.zeros(1, *network.input_shape))  # type: ignore[misc]
    old, own = effective_masks(network), effective(found, kept)
    layers = connectivity(network).layers
    for name, mask in old.items():
        assert own[f"{name}.weight"].tolist() == mask.tolist()
        assert (~kept[f"{name}.weight"]).flatten(1).all(1).tolist() == layers[name].no_input.tolist()
        assert unread(found, kept, f"{name}.weight") == layers[name].no_output.tolist()


@pytest.mark.parametrize("name", [*IMAGE_NETWORKS, "vision_transformer", "lstm", "encoder"])
def test_a_dense_network_is_effective_everywhere_and_has_no_dead_unit(name: str) -> None:
    network, sample = {
        "vision_transformer": lambda: (vision_transformer(), torch.zeros(1, 3, 32, 32)),
        "lstm": lambda: (last_step(), torch.zeros(1, 3, 4)),
        "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16), torch.zeros(5, 1, 8)),
    }.get(name, lambda: (image_network(name), torch.zeros(IMAGE)))()
    found = traced(network, sample)
    where = {use.parameter for use in weight_uses(found, roles(found))}
    kept = {
        key: torch.ones_like(parameter, dtype=torch.bool)
        for key, parameter in network.named_parameters()
        if key in where
    }
    assert len(kept) >= sum(isinstance(module, nn.Linear | nn.Conv2d) for module in network.modules())
    # Where maps are smaller than kernels, the margins of kernels see nothing but padding.
    small_maps = name in ("mobilenet_v3_small", "convnext_tiny", "efficientnet_b0")
    for key, mask in effective(found, kept).items():
        assert (mask.flatten(2).any(-1) if small_maps and mask.ndim > 2 else mask).all(), key
    for key, marks in read(found, kept).items():
        assert (marks.flatten(2).any(-1) if marks.ndim > 2 else marks).all(), key


def parameters_kept(network: nn.Module, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: torch.ones_like(network.get_parameter(name), dtype=torch.bool) for name in names}


def unread(found: Trace, kept: dict[str, Tensor], name: str, axis: int = 0) -> list[bool]:
    """Whether a unit is read by nothing, for the units along an axis of a weight."""
    return (~read(found, kept)[name].movedim(axis, 0).flatten(1).any(1)).tolist()


def connected(network: nn.Module, kept: dict[str, Tensor], shape: tuple[int, ...]) -> dict[str, LayerConnectivity]:
    add_masks(network)
    set_mask(network, {name.removesuffix(".weight"): mask for name, mask in kept.items()})
    return connectivity(network, shape).layers


class TestUnits:
    def test_units_of_linear_layers_are_rows(self) -> None:
        network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        kept = parameters_kept(network, ("0.weight", "2.weight"))
        kept["0.weight"][0] = False
        kept["2.weight"][:, 1] = False
        found = connected(network, kept, (2,))
        assert found["0"].no_input.tolist() == [True, False, False]
        assert found["0"].no_output.tolist() == [False, True, False]
        assert found["0"].dead == 2
        assert found["2"].dead == 0

    def test_a_unit_that_only_dead_ones_read_is_read(self) -> None:
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
        kept = parameters_kept(network, ("0.weight", "1.weight", "2.weight"))
        kept["2.weight"][:] = False
        found = trace(network, torch.zeros(1, 2))
        assert unread(found, kept, "0.weight") == [False, False]
        assert unread(found, kept, "1.weight") == [True, True]
        assert not effective(trace(network, torch.zeros(1, 2)), kept)["0.weight"].any()

    def test_units_of_a_grouped_transposed_convolution_are_columns_of_its_groups(self) -> None:
        network = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.Conv2d(4, 1, 1))
        kept = parameters_kept(network, ("0.weight", "1.weight"))
        kept["0.weight"][2:, 1] = False  # the second group's second unit, the fourth of all
        kept["1.weight"][:, 1] = False
        found = connected(network, kept, (4, 3, 3))
        assert found["0"].no_input.tolist() == [False, False, False, True]
        assert found["0"].no_output.tolist() == [False, True, False, False]

    def test_units_of_a_matrix_on_the_right_are_columns(self) -> None:
        network = Product()
        kept = parameters_kept(network, ("a", "b", "c"))
        kept["a"][:, 0] = False
        kept["c"][2] = False
        found = trace(network, torch.zeros(1, 3))
        assert effective(found, kept)["a"].any(0).tolist() == [False, True, False, True]
        assert unread(found, kept, "a", axis=1) == [False, False, True, False]
        assert unread(found, kept, "b", axis=1) == [False, False, True, False]

    def test_units_of_attention_are_rows_of_its_one_weight(self) -> None:
        network = Attention(causal=False)
        kept = parameters_kept(network, ("attention.in_proj_weight", "attention.out_proj.weight"))
        kept["attention.out_proj.weight"][:, 1] = False  # reads the second value, row 9
        found = unread(trace(network, torch.zeros(1, 2, 3)), kept, "attention.in_proj_weight")
        assert [unit for unit, is_unread in enumerate(found) if is_unread] == [9]

    def test_units_of_a_recurrent_layer_are_rows_for_each_gate(self) -> None:
        network = Recurrent()
        kept = parameters_kept(network, ("layer.weight_ih_l0", "layer.weight_hh_l0", "head.weight"))
        kept["head.weight"][:, 1] = False
        kept["layer.weight_hh_l0"][:, 1] = False  # nothing reads the second hidden unit, but its cell is kept
        found = unread(trace(network, torch.zeros(1, 3, 2)), kept, "layer.weight_ih_l0")
        # Its output gate, row 3 * 3 + 1, makes nothing else.
        assert found[10]
        assert not any(found[unit] for unit in (0, 2, 3, 5, 6, 8, 9, 11))

    def test_a_weight_that_does_not_run_is_read_by_nothing(self) -> None:
        network = Calls(lambda self, x: self.a(x), a=nn.Linear(2, 2), b=nn.Linear(2, 3))
        kept = parameters_kept(network, ("a.weight", "b.weight"))
        found = trace(network, torch.zeros(1, 2))
        assert unread(found, kept, "b.weight") == [True, True, True]
        assert not effective(found, kept)["b.weight"].any()


class TestMeaning:
    def test_depth_neither_underflows_nor_overflows(self) -> None:
        network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(60)))
        kept = {f"{i}.weight": torch.ones(64, 64, dtype=torch.bool) for i in range(60)}
        assert all(mask.all() for mask in effective(trace(network, torch.zeros(1, 64)), kept).values())

    def test_the_default_precision_does_not_matter(self) -> None:
        network = Recurrent()
        kept = parameters_kept(network, ("layer.weight_ih_l0", "layer.weight_hh_l0", "head.weight"))
        found = trace(network, torch.zeros(1, 3, 2))
        torch.set_default_dtype(torch.float64)
        try:
            assert effective(found, kept)["layer.weight_ih_l0"].all()
        finally:
            torch.set_default_dtype(torch.float32)

    def test_token_ids_reach_all_of_an_embedding(self) -> None:
        network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
        kept = parameters_kept(network, ("0.weight", "1.weight"))
        kept["0.weight"][:, 0] = False
        kept["1.weight"][:, 1] = False
        found = trace(network, torch.zeros(1, 4, dtype=torch.long))
        own = effective(found, kept)
        assert own["0.weight"].any(0).tolist() == [False, False, True]
        assert own["0.weight"][:, 2].all()
        assert own["1.weight"].any(0).tolist() == [False, False, True]
        assert unread(found, kept, "0.weight", axis=1) == [False, True, False]

    def test_a_scale_that_is_masked_cuts(self) -> None:
        network = Groups()
        kept = parameters_kept(network, ("b.weight", "scale"))
        kept["scale"][0] = False
        own = effective(trace(network, torch.zeros(1, 2, 4, 4)), kept)
        assert own["b.weight"][:2, 0].any().item() is False
        assert own["b.weight"][2:, 0].all()
        assert own["scale"].flatten().tolist() == [False, True, True, True, True, True]

    def test_zeros_of_a_buffer_cut_where_they_are_given(self) -> None:
        network = Calls(lambda self, x: self.b(self.a(x) * self.gate), a=nn.Linear(2, 2), b=nn.Linear(2, 1))
        network.register_buffer("gate", torch.tensor([0.0, 1.0]))
        found, kept = trace(network, torch.zeros(1, 2)), parameters_kept(network, ("a.weight",))
        assert effective(found, kept)["a.weight"].all()
        own = effective(found, kept, {"gate": torch.tensor([0.0, 1.0])})
        assert own["a.weight"].tolist() == [[False, False], [True, True]]

    def test_masks_of_what_a_weight_is_computed_from_count(self) -> None:
        network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 1))
        size, direction = (f"0.parametrizations.weight.original{i}" for i in (0, 1))
        kept = parameters_kept(network, (size, direction, "1.weight"))
        kept[size][0] = False
        kept[direction][1, 1] = False
        own = effective(trace(network, torch.zeros(1, 2)), kept)
        assert own[direction].tolist() == [[False, False], [True, False]]
        assert own[size].tolist() == [[False], [True]]
        assert own["1.weight"].tolist() == [[False, True]]

    def test_padded_tokens_may_be_any(self) -> None:
        def forward(self: Calls, ids: Tensor) -> Tensor:
            x = self.table(ids) + self.places(torch.arange(3))
            scores = (x @ self.key(x).mT).masked_fill((ids == 0)[:, None], -torch.inf)
            return scores.softmax(-1) @ x @ self.table.weight.t()

        parts = {"table": nn.Embedding(5, 4), "places": nn.Embedding(3, 4), "key": nn.Linear(4, 4)}
        network = Calls(forward, **parts)
        names = ("table.weight", "places.weight", "key.weight")
        own = effective(trace(network, torch.zeros(1, 3, dtype=torch.long)), parameters_kept(network, names))
        assert own["table.weight"].all()
        assert own["key.weight"].all()
        assert not own["places.weight"].any()  # added, like a bias

    def test_ties_are_one_weight(self) -> None:
        network = Calls(lambda self, x: self.layer(self.layer(x)[:, :2])[:, :1], layer=nn.Linear(2, 2))
        kept = parameters_kept(network, ("layer.weight",))
        kept["layer.weight"][0, 1] = False  # [[1, 0], [1, 1]]: of the second use only the first weight counts
        own = effective(trace(network, torch.zeros(1, 2)), kept)
        assert own["layer.weight"].tolist() == [[True, False], [False, False]]

    def test_a_token_that_alone_asks_is_there_for_the_keys(self) -> None:
        layers = {"query": nn.Linear(3, 4, bias=False), "key": nn.Linear(3, 4, bias=False)}

        def forward(self: Calls, x: Tensor) -> Tensor:
            x = torch.cat([self.token, x], 1)
            return (self.query(x[:, :1]) @ self.key(x).mT).softmax(-1) @ x

        network = Calls(forward, token=nn.Parameter(torch.zeros(1, 1, 3)), **layers)
        own = effective(trace(network, torch.zeros(1, 2, 3)), parameters_kept(network, ("query.weight", "key.weight")))
        assert own["key.weight"].all()
        assert not own["query.weight"].any()
        kept = parameters_kept(network, ("query.weight", "key.weight"))
        assert not any(unread(trace(network, torch.zeros(1, 2, 3)), kept, "query.weight"))

    @pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
    def test_interpolations_connect(self, mode: str) -> None:
        network = Calls(lambda self, x: F.interpolate(self.a(x), size=(7, 7), mode=mode), a=nn.Conv2d(1, 2, 1))
        own = effective(trace(network, torch.zeros(1, 1, 4, 4)), parameters_kept(network, ("a.weight",)))
        assert own["a.weight"].all()

    def test_overlapping_patches_connect(self) -> None:
        network = Calls(lambda self, x: F.fold(self.a(F.unfold(x, 2)), (4, 4), 2), a=nn.Linear(9, 9))
        own = effective(trace(network, torch.zeros(1, 1, 4, 4)), parameters_kept(network, ("a.weight",)))
        assert own["a.weight"].all()

    def test_an_unknown_operation_is_named_and_a_mask_that_does_not_fit(self) -> None:
        network = Calls(lambda self, x: self.a(x).sort(1).values, a=nn.Linear(2, 2))
        with pytest.raises(SparsityError, match="'sort'"):
            effective(trace(network, torch.zeros(1, 2)), parameters_kept(network, ("a.weight",)))
        with pytest.raises(SparsityError, match=r"mask of 'weight' is shaped \[3\]"):
            effective(trace(nn.Linear(2, 2), torch.zeros(1, 2)), {"weight": torch.ones(3, dtype=torch.bool)})

    def test_small_unet_is_cut_where_both_ways_are(self) -> None:
        network = small_unet()
        kept = parameters_kept(network, ("enter.weight", "down.weight", "leave.weight"))
        kept["leave.weight"][:, :4] = False  # the connection around
        kept["down.weight"][:, 0] = False
        own = effective(trace(network, torch.zeros(1, 3, 8, 8)), kept)
        assert own["enter.weight"].flatten(1).any(1).tolist() == [False, True, True, True]
