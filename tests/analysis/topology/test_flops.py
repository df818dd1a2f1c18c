"""Multiply-adds of networks with layers that no mask covers, and of those for which they are not known."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparsity.analysis import multiply_adds
from sparsity.analysis.topology.flops import known_multiply_adds
from sparsity.analysis.topology.network import layer_table, summary, topology
from sparsity.analysis.topology.pooled import pooled
from sparsity.masks import add_masks, maskable, masks, set_mask
from sparsity.networks import FC
from sparsity.runs.folder import RunFolder
from sparsity.runs.summary import RunSummary
from tests.networks_of_strangers import NETWORKS


def half_dense() -> FC:
    """Layers of 24, 16 and 12 weights, of which the first is dense, and the others keep 4 and 12."""
    network = FC((6,), 3, depth=3, width=4)
    add_masks(network, exclude=["fc1"])
    set_mask(network, {"fc2": torch.eye(4, dtype=torch.bool)})
    return network


def test_layers_kept_dense_count_wholly_in_multiply_adds_and_not_in_the_density() -> None:
    found = summary(topology(half_dense()))
    assert found["density"] == 16 / 28
    assert found["density_all"] == 40 / 52
    assert found["weights_dense"] == {"fc1.weight": 24}
    assert (found["flops_dense"], found["flops_effective"]) == (52, 40)


def test_a_table_has_the_dense_layers_below_the_masked_ones_and_marks_them() -> None:
    rows = layer_table(topology(half_dense()))
    assert [(row["layer"], row["masked"], row["density"]) for row in rows] == [
        ("fc2", True, 0.25),
        ("fc3", True, 1.0),
        ("fc1.weight", False, 1.0),
    ]
    assert [row["flops_effective"] for row in rows] == [4, 12, 24]
    assert rows[2]["dead"] is rows[2]["runs"] is None
    assert all(row.keys() == rows[0].keys() for row in rows)


def test_the_topology_of_a_network_whose_multiply_adds_are_not_known_goes_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = FC((6,), 3, depth=3, width=4)
    add_masks(network)
    monkeypatch.setattr("sparsity.analysis.topology.network.known_multiply_adds", lambda *_: None)
    found = topology(network)
    assert summary(found)["flops_dense"] is summary(found)["flops_effective"] is None
    assert [row["flops_dense"] for row in layer_table(found)] == [None, None, None]
    assert summary(pooled([found, found]))["flops_effective"] is None
    assert summary(found)["effective_density"] == 1


def test_a_runs_record_and_its_line_say_what_is_dense() -> None:
    found = RunSummary.of(half_dense(), (6,), "Random", 0.5)
    assert found.weights_dense == {"fc1.weight": 24}
    assert found.density_all == 40 / 52
    assert (found.flops_dense, found.flops_effective) == (52, 40)
    assert found.one_line(RunFolder(Path("logs"))) == (
        "Random: density 0.5 asked, 0.571429 reached (16 of 28 weights); masked 28 of 52 matrix weights, "
        "density of all 0.769231; dense: fc1.weight (24); test accuracy not measured; log in logs"
    )


def test_nothing_is_said_of_networks_that_are_wholly_masked() -> None:
    network = FC((6,), 3, depth=3, width=4)
    add_masks(network)
    found = RunSummary.of(network, (6,), None, None)
    assert found.density_all == found.density == 1
    assert found.weights_dense == found.weights_tied == {}
    assert "(52 of 52 weights); test accuracy" in found.one_line(None)
    assert [row["masked"] for row in layer_table(topology(network))] == [True, True, True]


@pytest.mark.parametrize("kind", ["attention", "transformer", "own attention", "recurrent", "own matrix"])
def test_multiply_adds_of_any_layer_are_those_that_torch_counts(kind: str) -> None:
    network = NETWORKS[kind]().eval().double()  # for which there are no kernels of whole recurrent layers
    costs = multiply_adds(network, network.input_shape)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *network.input_shape).double())
    masked_too = {name: place.weight.numel() for name, place in maskable(network).items()}
    sizes = {name: masked_too[name] if name in masked_too else network.get_parameter(name).numel()
             for name in costs.positions}  # fmt: skip
    assert 2 * costs.total(sizes) == counter.get_total_flops()
    assert (costs.of_activations > 0) == (kind in ("attention", "transformer", "own attention"))


@pytest.mark.parametrize("kind", ["chain", "shared layer", "weight norm", "bare", "never runs", "dictionary"])
def test_multiply_adds_of_layers_however_they_are_named_and_made_are_those_of_their_weights(kind: str) -> None:
    network = NETWORKS[kind]()
    sizes = {n: m.weight.numel() for n, m in network.named_modules() if isinstance(m, nn.Linear) and n != "spare"}
    assert multiply_adds(network, network.input_shape).total(sizes) == sum(sizes.values())


def test_embeddings_and_learned_positions_multiply_nothing() -> None:
    applied = {"layers.0": 1, "head": 1, "embedding.weight": 0}
    assert multiply_adds(NETWORKS["tokens"](), (4,)).positions == applied
    assert multiply_adds(NETWORKS["tied head"](), (4,)).positions == {"layers.0": 1, "head": 1}
    assert multiply_adds(NETWORKS["positions added"](), (4, 6)).positions == {
        "layers.0": 4,
        "layers.2": 4,
        "positions": 0,
    }


class Functional(nn.Module):
    """Uses a layer's weight without running the layer."""

    input_shape = (3,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.first(x), self.second.weight)


def test_a_layer_whose_weight_is_used_without_it_is_not_counted_as_idle() -> None:
    assert multiply_adds(Functional(), (3,)).positions == {"first": 1, "second": 1}


def test_a_dense_layer_that_shares_a_masked_weight_adds_to_its_positions() -> None:
    network = NETWORKS["tied linears"]()
    add_masks(network, exclude=["layers.2"])
    set_mask(network, {"layers.0": torch.eye(6, dtype=torch.bool)})
    assert multiply_adds(network, (6,)).positions["layers.0"] == 2
    found = RunSummary.of(network, (6,), None, None)
    assert (found.flops_dense, found.flops_effective) == (72, 12)
    assert found.weights_dense == {}
    assert found.weights_tied == {"layers.0.weight": ["layers.2.weight"]}


def test_a_network_whose_samples_are_unknown_has_no_multiply_adds() -> None:
    network = NETWORKS["chain"]()
    network.input_shape = None
    with pytest.warns(UserWarning, match="_Layers does not say what it takes"):
        assert known_multiply_adds(network, None) is None
    with pytest.warns(UserWarning, match="left out: _Layers cannot be traced"):
        assert known_multiply_adds(network, (7,)) is None


def test_looking_at_what_is_used_leaves_no_hook() -> None:
    network = NETWORKS["raises halfway"]()
    with pytest.warns(UserWarning, match="left out"):
        known_multiply_adds(network, (6,))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert masks(network) == {}
