from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError
from sparsity.graph.architecture import traced
from sparsity.graph.flow import Flow, absolute_values, synaptic_flow
from sparsity.graph.trace import Sample, trace
from sparsity.masks import add_masks, masks
from sparsity.networks import FC, ResNet, ResNet20
from sparsity.pruning.saliency import SynapticFlow
from tests.graph.networks import IMAGE, IMAGE_NETWORKS, Calls, image_network, last_step, vision_transformer


def saliency(network: nn.Module, sample: Sample) -> dict[str, Tensor]:
    """Of all parameters."""
    parameters, buffers = absolute_values(network)
    for parameter in parameters.values():
        parameter.requires_grad_()
    return synaptic_flow(Flow(traced(network, sample)), parameters, buffers)


def flow(network: nn.Module, sample: Sample) -> float:
    return float(Flow(trace(network, sample))(*absolute_values(network)))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("make", [FC, ResNet20, lambda: ResNet(8, 4, (3, 8, 8), affine=False, shortcut_scale=True)])
def test_own_networks_have_the_saliency_of_the_modules_to_the_last_bit(
    make: Callable[[], nn.Module], trained: bool
) -> None:
    network = make()
    if trained:  # statistics shift some channels below 0
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.normal_(0.5 if name.endswith("mean") else 2, 0.3).abs_()
    add_masks(network)
    for mask in masks(network).values():
        mask.copy_(torch.rand(mask.shape) < 0.5)
    for layer_name, mask in masks(network).items():
        network.get_parameter(f"{layer_name}.weight").data.mul_(mask)
    old = SynapticFlow(network, network.input_shape)(network)  # type: ignore[arg-type]
    own = saliency(network, torch.zeros(1, *network.input_shape))  # type: ignore[misc]
    assert all(torch.equal(own[f"{name}.weight"], values) for name, values in old.items())


def sides(scores: dict[str, Tensor], into: str, out_of: str) -> tuple[Tensor, Tensor]:
    """What comes into each unit of one weight's rows, and leaves by the columns of another."""
    return scores[into].flatten(1).sum(1), scores[out_of].movedim(1, 0).flatten(1).sum(1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "clamp": lambda x: x.clamp(0, 1),
    "neg": torch.neg,
    "dropout": lambda x: F.dropout(x, training=False),
    "constant factor": lambda x: x * -3 / 2,
    "difference": lambda x: x - 0.5 * x,
    "added to itself": lambda x: x + x.tanh(),
    "softmax": lambda x: x.softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "l2 norm": lambda x: F.normalize(x, dim=1),
    "manual norm": lambda x: x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt(),
}
MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool2d(x, 3),
    "upsample": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "flip": lambda x: x.flip(2),
    "cat of itself in space": lambda x: torch.cat([x, x * 2], 2),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "squeeze": lambda x: x.mean((2, 3), keepdim=True),
    "amax": lambda x: x.amax((2, 3), keepdim=True),
    "slice": lambda x: x[:, :, 1:, ::2],
    "permuted": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_flows_into_a_unit_flows_out_of_it_through_functions(name: str) -> None:
    layers = {"a": nn.Linear(3, 4, bias=False), "b": nn.Linear(4, 2, bias=False)}
    scores = saliency(Calls(lambda self, x: self.b(FUNCTIONS[name](self.a(x))), **layers), torch.zeros(1, 3))
    into, out = sides(scores, "a.weight", "b.weight")
    assert into.min() > 0
    torch.testing.assert_close(into, out, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", MAPS)
def test_what_flows_into_a_unit_flows_out_of_it_through_maps(name: str) -> None:
    layers = {"a": nn.Conv2d(2, 4, 3, bias=False), "b": nn.Conv2d(4, 2, 1, bias=False)}
    scores = saliency(Calls(lambda self, x: self.b(MAPS[name](self.a(x))), **layers), torch.zeros(1, 2, 8, 8))
    into, out = sides(scores, "a.weight", "b.weight")
    assert into.min() > 0
    torch.testing.assert_close(into, out, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "middle",
    [
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.Conv2d(4, 4, 3, groups=4, bias=False),
        nn.PReLU(4),
        nn.Dropout2d(),
        nn.Softplus(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_flows_into_a_unit_flows_out_of_it_through_modules(middle: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), middle, nn.Conv2d(4, 2, 1, bias=False))
    for parameter in middle.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    if getattr(middle, "bias", None) is not None:
        nn.init.zeros_(middle.bias)  # type: ignore[arg-type]
    into, out = sides(saliency(network, torch.zeros(1, 2, 6, 6)), "0.weight", "2.weight")
    torch.testing.assert_close(into, out, rtol=1e-6, atol=0)


class TestProducts:
    def test_a_gate_and_what_it_lets_through_both_carry_the_flow(self) -> None:
        layers = {name: nn.Linear(3, 4, bias=False) for name in "ab"} | {"c": nn.Linear(4, 2, bias=False)}
        network = Calls(lambda self, x: self.c(self.a(x) * self.b(x).sigmoid()), **layers)
        scores = saliency(network, torch.zeros(1, 3))
        for name in "ab":
            torch.testing.assert_close(*sides(scores, f"{name}.weight", "c.weight"), rtol=1e-6, atol=0)

    def test_halves_of_a_gated_linear_unit_carry_the_same(self) -> None:
        network = nn.Sequential(nn.Linear(3, 8, bias=False), nn.GLU(), nn.Linear(4, 2, bias=False))
        into, out = sides(saliency(network, torch.zeros(1, 3)), "0.weight", "2.weight")
        torch.testing.assert_close(into, out.repeat(2), rtol=1e-6, atol=0)

    def test_a_product_is_of_degree_one_in_its_factors(self) -> None:
        network = Calls(lambda self, x: self.a(x) * self.a(x), a=nn.Linear(3, 4, bias=False))
        once = flow(network, torch.zeros(1, 3))
        network.a.weight.data.mul_(10)  # type: ignore[operator,union-attr]
        assert flow(network, torch.zeros(1, 3)) == pytest.approx(10 * once)

    def test_a_gate_of_zeros_lets_nothing_through(self) -> None:
        network = Calls(
            lambda self, x: self.a(x) * self.b(x), a=nn.Linear(3, 4, bias=False), b=nn.Linear(3, 4, bias=False)
        )
        nn.init.zeros_(network.b.weight)  # type: ignore[arg-type,union-attr]
        assert flow(network, torch.zeros(1, 3)) == 0
        assert all(score.sum() == 0 for score in saliency(network, torch.zeros(1, 3)).values())

    def test_a_residual_block(self) -> None:
        layers = {"a": nn.Linear(3, 4, bias=False), "b": nn.Linear(4, 5, bias=False), "c": nn.Linear(5, 4, bias=False)}
        layers["d"] = nn.Linear(4, 2, bias=False)

        def forward(self: Calls, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.d(x + self.c(F.gelu(self.b(x))))

        scores = saliency(Calls(forward, **layers), torch.zeros(1, 3))
        torch.testing.assert_close(*sides(scores, "b.weight", "c.weight"), rtol=1e-6, atol=0)
        into = scores["a.weight"].sum(1) + scores["c.weight"].sum(1)
        out = scores["b.weight"].sum(0) + scores["d.weight"].sum(0)
        torch.testing.assert_close(into, out, rtol=1e-6, atol=0)

    def test_concatenation_and_matrices_on_the_right(self) -> None:
        parts: dict[str, nn.Module | nn.Parameter] = {
            "a": nn.Parameter(torch.randn(3, 2)),
            "b": nn.Linear(3, 2, bias=False),
        }
        parts["c"] = nn.Linear(4, 2, bias=False)
        network = Calls(lambda self, x: self.c(torch.cat([x @ self.a, self.b(x)], 1)), **parts)
        scores = saliency(network, torch.zeros(1, 3))
        into = torch.cat([scores["a"].sum(0), scores["b.weight"].sum(1)])
        torch.testing.assert_close(into, scores["c.weight"].sum(0), rtol=1e-6, atol=0)

    def test_transposed_convolutions(self) -> None:
        network = nn.Sequential(nn.ConvTranspose2d(2, 4, 3, 2, bias=False), nn.ConvTranspose2d(4, 2, 2, bias=False))
        scores = saliency(network, torch.zeros(1, 2, 4, 4))
        into, out = scores["0.weight"].sum((0, 2, 3)), scores["1.weight"].sum((1, 2, 3))
        torch.testing.assert_close(into, out, rtol=1e-6, atol=0)


class TestRecurrent:
    def test_a_plain_recurrent_unit(self) -> None:
        network = last_step(nn.RNN)
        for name, parameter in network.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
        scores = saliency(network, torch.zeros(1, 5, 4))
        into = scores["layer.weight_ih_l0"].sum(1) + scores["layer.weight_hh_l0"].sum(1)
        out = scores["layer.weight_hh_l0"].sum(0) + scores["head.weight"].sum(0)
        torch.testing.assert_close(into, out, rtol=1e-6, atol=0)

    def test_what_flows_through_an_output_gate_leaves_its_unit(self) -> None:
        network = last_step()
        for name, parameter in network.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
        scores = saliency(network, torch.zeros(1, 5, 4))
        into = (scores["layer.weight_ih_l0"].sum(1) + scores["layer.weight_hh_l0"].sum(1))[15:]
        out = scores["layer.weight_hh_l0"].sum(0) + scores["head.weight"].sum(0)
        torch.testing.assert_close(into, out, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
    def test_many_steps_stay_finite(self, kind: type[nn.RNNBase]) -> None:
        scores = saliency(last_step(kind), torch.zeros(1, 28, 4))
        assert all(score.isfinite().all() for score in scores.values())
        assert scores["layer.weight_ih_l0"].min() > 0


class TestAttention:
    @pytest.mark.parametrize("module", [True, False])
    def test_attention_is_the_mean_of_the_values(self, module: bool) -> None:
        layers = {"a": nn.MultiheadAttention(4, 2, bias=False, batch_first=True), "b": nn.Linear(4, 2, bias=False)}

        def forward(self: Calls, x: Tensor) -> Tensor:
            if module:
                return self.b(self.a(x, x, x, need_weights=False)[0])
            parts = F.linear(x, self.a.in_proj_weight).chunk(3, -1)  # type: ignore[union-attr,arg-type]
            weights = (parts[0] @ parts[1].mT / 2).softmax(-1)
            return self.b(self.a.out_proj(weights @ parts[2]))  # type: ignore[union-attr,operator]

        network = Calls(forward, **layers)
        scores = saliency(network, torch.zeros(1, 3, 4))
        into = scores["a.in_proj_weight"].sum(1)
        assert into[:8].tolist() == [0] * 8  # queries and keys
        torch.testing.assert_close(into[8:], scores["a.out_proj.weight"].sum(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(*sides(scores, "a.out_proj.weight", "b.weight"), rtol=1e-6, atol=0)
        values, _ = absolute_values(network)
        # Three positions, each the mean of equal values.
        ones = torch.ones(4, dtype=torch.float64)
        by_hand = values["b.weight"] @ values["a.out_proj.weight"] @ values["a.in_proj_weight"][8:] @ ones
        assert flow(network, torch.zeros(1, 3, 4)) == pytest.approx(3 * float(by_hand.sum()))

    def test_forbidden_positions_have_no_weight(self) -> None:
        network = Calls(lambda self, x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
        # Of 2 positions of one number the first sees itself, the second both: (1 + 2) / 2.
        assert flow(network, torch.zeros(1, 1, 2, 1)) == 1.5


@pytest.mark.parametrize("name", [*IMAGE_NETWORKS, "vision_transformer"])
def test_the_flow_of_a_deep_network_is_finite_and_reaches_its_first_layer(name: str) -> None:
    transformer = name == "vision_transformer"
    network = vision_transformer() if transformer else image_network(name)
    if transformer:
        nn.init.normal_(network.heads.head.weight)  # type: ignore[union-attr,arg-type]
    scores = saliency(network, torch.zeros(1, 3, 32, 32) if transformer else torch.zeros(IMAGE))
    assert all(score.isfinite().all() for score in scores.values())
    first = next(score for score in scores.values() if score.ndim == 4)
    assert first.sum() > 0


class TestUse:
    def test_one_flow_serves_all_networks_of_an_architecture(self) -> None:
        first, second = FC((1, 2, 2), 2, 2, 3), FC((1, 2, 2), 2, 2, 3)
        shared = Flow(trace(first, torch.zeros(1, 1, 2, 2)))
        for network in (first, second):
            assert float(shared(*absolute_values(network))) == flow(network, torch.zeros(1, 1, 2, 2))

    def test_a_chain_is_the_product_of_absolute_weights(self) -> None:
        network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))
        network[0].weight.data = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
        network[0].bias.data = torch.tensor([-1.0, 0.0])
        network[2].weight.data = torch.tensor([[-5.0, 1.0]])
        # 5 (1 + 2 + 1) + 1 (0 + 3 + 0).
        assert flow(network, torch.zeros(1, 2)) == 23
        assert saliency(network, torch.zeros(1, 2))["0.weight"].tolist() == [[5, 10], [0, 3]]

    def test_tied_weights_have_the_flow_of_all_their_uses(self) -> None:
        network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        network[0].weight.data.fill_(-3)
        network[1].weight = network[0].weight
        assert {name: float(score) for name, score in saliency(network, torch.zeros(1, 1)).items()} == {"0.weight": 18}

    def test_token_ids_enter_by_ones(self) -> None:
        network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2, bias=False))
        scores = saliency(network, torch.zeros(1, 4, dtype=torch.long))
        assert scores["0.weight"].sum() == 0
        torch.testing.assert_close(scores["1.weight"], 4 * network[1].weight.detach().double().abs())

    def test_the_network_is_left_as_it_is(self) -> None:
        network = FC((1, 2, 2), 2, 2, 3)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        saliency(network, torch.zeros(1, 1, 2, 2))
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())

    def test_what_is_missing_and_what_is_unknown_are_named(self) -> None:
        found = Flow(trace(nn.Linear(2, 2), torch.zeros(1, 2)))
        with pytest.raises(SparsityError, match="'bias'"):
            found({"weight": torch.ones(2, 2).double()}, {})
        with pytest.raises(SparsityError, match="'sort'"):
            Flow(trace(Calls(lambda self, x: x.sort(1).values), torch.zeros(1, 2)))

    def test_a_flow_without_weights_is_refused(self) -> None:
        found = Flow(trace(nn.ReLU(), torch.zeros(1, 2)))
        with pytest.raises(SparsityError, match="depends on none"):
            synaptic_flow(found, {"weight": torch.ones(1).double().requires_grad_()}, {})
