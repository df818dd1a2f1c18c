import copy
import gc
import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError
from sparsity.graph.architecture import architecture, traced
from sparsity.graph.functional import is_mutating
from sparsity.graph.nodes import packet_name
from sparsity.graph.trace import Sample, Trace, trace
from sparsity.networks import FC, ResNet, ResNet20
from tests.graph.networks import Calls


def run(found: Trace, network: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What a trace computes with a network's own values."""
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    sample = dict(zip(found.inputs, inputs, strict=True))
    values: list[Tensor | None] = []
    for node in found.graph.nodes:
        if node.op != "placeholder":
            continue
        if node in found.parameters:
            values.append(parameters[found.parameters[node]])
        elif node in found.constants:
            values.append(found.constants[node])
        else:
            values.append(buffers[found.buffers[node]] if node in found.buffers else sample.get(node))
    return fx.GraphModule({}, found.graph)(*values)


def check(network: nn.Module, *inputs: Tensor) -> Trace:
    """The graph in normal form gives what the network gives."""
    found = trace(network, tuple(torch.zeros_like(one) for one in inputs))
    network.eval()
    with torch.no_grad():
        expected = network(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for own, other in zip(run(found, network, *inputs), expected, strict=True):
            torch.testing.assert_close(own, other)
    assert not any(is_mutating(node) for node in found.graph.nodes if node.op == "call_function")
    return found


def names(found: Trace) -> list[str]:
    return [packet_name(node.target) for node in found.graph.nodes if node.op == "call_function"]


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 8, [2], [1], [2, 2])


class TestReading:
    def test_parameters_have_their_full_names_and_a_tied_one_the_first(self) -> None:
        network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        network[1].weight = network[0].weight
        found = check(network, torch.randn(1, 4))
        assert set(found.parameters.values()) == {"0.weight", "0.bias", "1.bias", "2.weight", "2.bias"}
        assert found.shapes["2.weight"] == (2, 4)

    def test_floating_buffers_are_not_held_and_whole_numbers_are(self) -> None:
        network = Calls(lambda self, x: self.norm(x)[:, self.order], norm=nn.BatchNorm1d(3))
        network.register_buffer("order", torch.tensor([2, 0, 1]))
        found = check(network, torch.randn(1, 3))
        assert set(found.buffers.values()) == {"norm.running_mean", "norm.running_var", "order"}
        held = [found.buffers.get(node) for node in found.constants]
        assert held == ["order"]

    def test_tensors_that_are_plain_attributes_are_constants(self) -> None:
        factor = torch.tensor([1.0, 2.0, 3.0])
        found = check(Calls(lambda self, x: x * factor), torch.randn(1, 3))
        assert [value.tolist() for value in found.constants.values()] == [[1, 2, 3]]

    def test_outputs_are_found_in_dictionaries_tuples_and_dataclasses(self) -> None:
        @dataclass
        class Both:
            logits: Tensor
            extra: dict[str, Tensor]

        def forward(self: Calls, x: Tensor) -> Both:
            return Both(x + 1, {"ids": x.argmax(1), "twice": x * 2})

        found = trace(Calls(forward), torch.zeros(1, 3))
        assert [packet_name(node.target) for node in found.outputs] == ["add", "mul"]

    @pytest.mark.parametrize(
        "sample", [(torch.zeros(1, 3), torch.zeros(1, 3)), {"b": torch.zeros(1, 3), "a": torch.zeros(1, 3)}]
    )
    def test_inputs_come_by_place_or_by_keyword(self, sample: Sample) -> None:
        class Two(nn.Module):
            def forward(self, a: Tensor, b: Tensor) -> Tensor:
                return a - b

        assert len(trace(Two(), sample).inputs) == 2

    def test_the_network_is_left_as_it_was(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 2))
        network[1].eval()
        before, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
        members = set(network.__dict__)
        states = torch.get_rng_state(), random.getstate()
        trace(network, torch.zeros(1, 1, 4, 4))
        assert modes == [module.training for module in network.modules()]
        assert members == set(network.__dict__)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1] == random.getstate()

    def test_a_recurrent_layer_keeps_its_own_weights(self) -> None:
        layer = nn.LSTM(3, 4)
        weights = list(layer._flat_weights)
        trace(layer, torch.zeros(2, 1, 3))
        assert all(own is other for own, other in zip(layer._flat_weights, weights, strict=True))

    def test_what_depends_on_values_is_refused_in_one_sentence(self, capfd: pytest.CaptureFixture[str]) -> None:
        network = Calls(lambda self, x: x if x.sum() > 0 else -x)
        told = r"^Calls cannot be traced: its code depends on values \(test_trace.py, line \d+: network = Calls\("
        with pytest.raises(SparsityError, match=told):
            trace(network, torch.zeros(1, 3))
        assert capfd.readouterr() == ("", "")  # torch prints pages of the graph that it has until there

    def test_an_output_without_numbers_is_refused(self) -> None:
        with pytest.raises(SparsityError, match="no number in its output"):
            trace(Calls(lambda self, x: x.argmax(1)), torch.zeros(1, 3))


class TestNormalForm:
    @pytest.mark.parametrize(
        "network", [FC((1, 4, 4), 3, 2, 5), ResNet(8, 4, (3, 8, 8))], ids=lambda network: type(network).__name__
    )
    def test_own_networks(self, network: nn.Module) -> None:
        check(network, torch.randn(1, *network.input_shape))  # type: ignore[misc]

    def test_in_place_operations_on_fresh_tensors_are_renamed(self) -> None:
        found = check(torchvision.models.resnet.BasicBlock(4, 4), torch.randn(1, 4, 5, 5))
        assert names(found) == ["conv2d", "batch_norm", "relu", "conv2d", "batch_norm", "add", "relu"]

    def test_who_read_a_tensor_before_it_was_written_keeps_what_it_read(self) -> None:
        def forward(self: Calls, x: Tensor) -> tuple[Tensor, ...]:
            y = x - 1
            before = y * 2
            y.relu_()
            return before, y, y + 1

        check(Calls(forward), torch.tensor([[0.5, 3.0]]))

    @pytest.mark.parametrize("between", ["before", "after", "middle"])
    def test_writing_into_and_through_views_is_followed(self, between: str) -> None:
        def forward(self: Calls, x: Tensor) -> tuple[Tensor, ...]:
            y = x - 1
            view = y.view(2, 2) if between == "before" else None
            y.add_(3)
            view = y.view(2, 2) if between == "middle" else view
            y.relu_()
            y[:, 0] = 7
            y[:, 1:].mul_(2)
            return y, (y.view(2, 2) if view is None else view) + 1

        check(Calls(forward), torch.tensor([[0.5, 3.0, -4.0, -2.0]]))

    def test_writing_into_the_input_is_followed(self) -> None:
        found = trace(Calls(lambda self, x: x.relu_() + x), torch.zeros(1, 3))
        (own,) = run(found, nn.Identity(), torch.tensor([[-1.0, 2.0, 3.0]]))
        assert own.tolist() == [[0, 4, 6]]

    def test_a_region_without_gradients_is_like_any_other(self) -> None:
        def forward(self: Calls, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = self.a(x)
            return self.a(y)

        assert names(check(Calls(forward, a=nn.Linear(3, 3)), torch.randn(1, 3))) == ["linear", "linear"]

    @pytest.mark.parametrize(
        "options",
        [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}, {"batch_first": True}],
        ids=["plain", "both ways", "no bias", "batch first"],
    )
    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
    def test_recurrent_layers_are_written_out(self, kind: type[nn.RNNBase], options: dict[str, bool]) -> None:
        layer = kind(3, 4, **options)
        layers = 4 if "num_layers" in options else 1
        states = [torch.randn(layers, 2, 4) for _ in range(2 if kind is nn.LSTM else 1)]
        values = torch.randn(2, 5, 3) if "batch_first" in options else torch.randn(5, 2, 3)

        def forward(self: Calls, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            output, last = self.layer(x, state if len(state) == 2 else state[0])
            return output, *(last if isinstance(last, tuple) else (last,))

        found = check(Calls(forward, layer=layer), values, *states)
        assert not {"lstm", "gru", "rnn_tanh"} & set(names(found))
        assert set(found.parameters.values()) == {f"layer.{name}" for name, _ in layer.named_parameters()}

    @pytest.mark.filterwarnings("ignore:LSTM with projections")
    @pytest.mark.parametrize(
        "layer", [nn.LSTM(3, 4, proj_size=2, num_layers=2), nn.RNN(3, 4, nonlinearity="relu")], ids=["lstm", "rnn"]
    )
    def test_projections_and_relu(self, layer: nn.RNNBase) -> None:
        check(Calls(lambda self, x: self.layer(x)[0], layer=layer), torch.randn(4, 1, 3))

    @pytest.mark.parametrize(
        "cell", [nn.LSTMCell(3, 4), nn.GRUCell(3, 4), nn.RNNCell(3, 4), nn.GRUCell(3, 4, bias=False)]
    )
    def test_cells_are_written_out(self, cell: nn.RNNCellBase) -> None:
        check(cell, torch.randn(1, 3))

    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_a_weight_of_a_direction_and_a_size_is_written_out(self, axis: int | None) -> None:
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4), dim=axis)  # type: ignore[arg-type]
        found = check(layer, torch.randn(1, 3))
        assert "_weight_norm" not in names(found)
        assert {name.rpartition(".")[2] for name in found.parameters.values()} == {"original0", "original1", "bias"}

    def test_a_packed_sequence_is_refused(self) -> None:
        def forward(self: Calls, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2]))
            return self.layer(packed)[1]

        with pytest.raises(SparsityError, match="cannot be traced"):
            trace(Calls(forward, layer=nn.GRU(3, 4)), torch.zeros(2, 1, 3))

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"is_causal": True},
            {"scale": 0.3},
            {"attn_mask": torch.tensor([[True, False, True]] * 5)},
            {"attn_mask": torch.tensor([[0.0, -torch.inf, 0.5]] * 5)},
            {"attn_mask": torch.tensor([[0.0, -1.0, 0.5]] * 5), "scale": 2.0},
        ],
        ids=["plain", "causal", "scale", "booleans", "infinite", "numbers"],
    )
    def test_attention_is_written_out(self, options: dict[str, Tensor | bool | float]) -> None:
        query, key, value = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 6)
        network = Calls(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
        assert "scaled_dot_product_attention" not in names(check(network, query, key, value))

    def test_grouped_attention_is_written_out(self) -> None:
        query, key, value = torch.randn(1, 4, 5, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 6)
        check(Calls(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)), query, key, value)

    @pytest.mark.parametrize("need_weights", [True, False])
    def test_multihead_attention_with_and_without_its_weights(self, need_weights: bool) -> None:
        def forward(self: Calls, x: Tensor) -> Tensor:
            return self.layer(x, x, x, need_weights=need_weights)[0]

        check(Calls(forward, layer=nn.MultiheadAttention(6, 2, batch_first=True)), torch.randn(1, 4, 6))

    def test_an_encoder_layer_does_not_take_its_fast_path(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        with torch.no_grad():
            assert names(check(layer, torch.randn(1, 4, 8))).count("linear") == 4
        assert torch.backends.mha.get_fastpath_enabled()

    def test_constants_shaped_like_activations_depend_on_none(self) -> None:
        found = check(
            Calls(lambda self, x: torch.cat([x, torch.zeros_like(x), x.new_ones(1, 2)], 1)), torch.randn(1, 3)
        )
        assert names(found) == ["full", "full", "cat"]


class TestArchitecture:
    def test_networks_that_differ_in_weights_share_a_trace(self) -> None:
        sample = torch.zeros(1, 3, 8, 8)
        first, second = ResNet(8, 4, (3, 8, 8)), ResNet(8, 4, (3, 8, 8))
        assert architecture(first, sample) == architecture(second, sample)
        assert traced(first, sample) is traced(second, sample)

    @pytest.mark.parametrize("make", [lambda: nn.LSTM(3, 4), swin])
    def test_lists_of_weights_and_buffers_are_no_difference(self, make: object) -> None:
        assert architecture(make(), torch.zeros(1)) == architecture(make(), torch.zeros(1))  # type: ignore[operator]

    @pytest.mark.parametrize(
        "other",
        [
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 1)),
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU6(), nn.Conv2d(3, 3, 1)),
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1, bias=False)),
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1).double()),
        ],
    )
    def test_what_changes_the_graph_changes_the_architecture(self, other: object) -> None:
        own = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
        sample = torch.zeros(1, 3, 4, 4)
        assert architecture(own, sample) != architecture(other(), sample)  # type: ignore[operator]

    def test_ties_are_a_difference(self) -> None:
        free, tied = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
        tied[1].weight = tied[0].weight
        assert architecture(free, torch.zeros(1, 3)) != architecture(tied, torch.zeros(1, 3))

    def test_the_shape_of_a_sample_is_a_difference_and_its_values_are_none(self) -> None:
        network = nn.Conv2d(1, 1, 1)
        key = architecture(network, torch.zeros(1, 1, 4, 4))
        assert key == architecture(network, torch.ones(1, 1, 4, 4))
        assert key != architecture(network, torch.zeros(1, 1, 4, 5))
        assert key != architecture(network, torch.zeros(1, 1, 4, 4).double())

    def test_numbers_that_are_equal_but_of_other_types_are_a_difference(self) -> None:
        networks = []
        for value in (1, 1.0, True):
            network = nn.Identity()
            network.value = value
            networks.append(architecture(network, torch.zeros(1)))
        assert len(set(networks)) == 3

    def test_functions_and_hooks_are_compared_by_identity(self) -> None:
        plain, hooked = nn.Linear(2, 2), nn.Linear(2, 2)
        hooked.register_forward_hook(lambda module, inputs, output: output * 2)
        assert architecture(plain, torch.zeros(1, 2)) != architecture(hooked, torch.zeros(1, 2))

        def twice(self: Calls, x: Tensor) -> Tensor:
            return x * 2

        assert architecture(Calls(twice), torch.zeros(1)) == architecture(Calls(twice), torch.zeros(1))
        assert architecture(Calls(twice), torch.zeros(1)) != architecture(Calls(lambda self, x: x), torch.zeros(1))

    def test_other_values_of_an_index_are_traced_anew(self) -> None:
        def forward(self: Calls, x: Tensor) -> Tensor:
            return x[:, self.order]

        networks = [Calls(forward), Calls(forward)]
        for network, order in zip(networks, ([0, 1], [1, 0]), strict=True):
            network.register_buffer("order", torch.tensor(order))
        first, second = (traced(network, torch.zeros(1, 2)) for network in networks)
        assert [value.tolist() for found in (first, second) for value in found.constants.values()] == [[0, 1], [1, 0]]

    @pytest.mark.parametrize("make", [lambda: FC((1, 2, 2), 2, 2, 3), lambda: nn.LSTM(4, 3)])
    def test_a_kept_trace_does_not_keep_its_network(self, make: Callable[[], nn.Module]) -> None:
        network = make()
        traced(network, torch.zeros(1, 1, 2, 2) if isinstance(network, FC) else torch.zeros(2, 1, 4))
        alive = [weakref.ref(tensor) for tensor in (network, *network.parameters())]
        del network
        gc.collect()
        assert [reference() for reference in alive] == [None] * len(alive)

    def test_a_trace_holds_no_weights(self) -> None:
        network = ResNet20()
        found = trace(network, torch.zeros(1, 3, 32, 32))
        assert found.constants == {}
        real = [node.meta["val"] for node in found.graph.nodes if type(node.meta.get("val")) in (Tensor, nn.Parameter)]
        assert real == []
