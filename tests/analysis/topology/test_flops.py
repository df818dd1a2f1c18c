"""Multiply-adds of networks with layers that no mask covers, and of those for which they are not known."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsity.analysis import flops, output_positions
from sparsity.analysis.topology.flops import UncountedError, known_positions
from sparsity.analysis.topology.network import layer_table, summary, topology
from sparsity.analysis.topology.pooled import pooled
from sparsity.masks import add_masks, masks, set_mask
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


def test_the_topology_of_a_network_whose_multiply_adds_are_not_known_goes_without() -> None:
    network = NETWORKS["own matrix"]()
    add_masks(network)
    with pytest.warns(UserWarning, match="since matrix takes part outside"):
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


@pytest.mark.parametrize(
    ("kind", "weight"),
    [
        ("attention", "attention.in_proj_weight"),
        ("transformer", "layers.0.self_attn.in_proj_weight"),
        ("recurrent", "lstm.weight_ih_l0"),
        ("own matrix", "matrix"),
    ],
)
def test_multiply_adds_that_are_not_known_are_left_out_in_one_sentence(kind: str, weight: str) -> None:
    network = NETWORKS[kind]()
    add_masks(network)
    with pytest.raises(UncountedError, match=rf"multiply-adds of \w+ are not known, since {weight} takes part outside"):
        output_positions(network, network.input_shape)
    with pytest.warns(UserWarning, match=rf"since {weight} takes part outside"):
        found = RunSummary.of(network, network.input_shape, None, None)
    assert found.flops_dense is found.flops_effective is None


@pytest.mark.parametrize("kind", ["chain", "shared layer", "weight norm", "bare", "never runs", "dictionary"])
def test_multiply_adds_of_layers_however_they_are_named_and_made_are_those_of_their_weights(kind: str) -> None:
    network = NETWORKS[kind]()
    sizes = {n: m.weight.numel() for n, m in network.named_modules() if isinstance(m, nn.Linear) and n != "spare"}
    positions = output_positions(network, network.input_shape)
    assert flops(sizes, positions) == sum(sizes.values())


def test_embeddings_and_learned_positions_multiply_nothing() -> None:
    assert output_positions(NETWORKS["tokens"](), (4,)) == {"layers.0": 1, "head": 1}
    assert output_positions(NETWORKS["tied head"](), (4,)) == {"layers.0": 1, "head": 1}
    assert output_positions(NETWORKS["positions added"](), (4, 6)) == {"layers.0": 4, "layers.2": 4}


class Functional(nn.Module):
    """Uses a layer's weight without running the layer."""

    input_shape = (3,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.first(x), self.second.weight)


def test_a_layer_whose_weight_is_used_without_it_is_not_counted_as_idle() -> None:
    with pytest.raises(UncountedError, match=r"since second\.weight takes part outside"):
        output_positions(Functional(), (3,))


def test_a_dense_layer_that_shares_a_masked_weight_adds_to_its_positions() -> None:
    network = NETWORKS["tied linears"]()
    add_masks(network, exclude=["layers.2"])
    set_mask(network, {"layers.0": torch.eye(6, dtype=torch.bool)})
    assert output_positions(network, (6,))["layers.0"] == 2
    found = RunSummary.of(network, (6,), None, None)
    assert (found.flops_dense, found.flops_effective) == (72, 12)
    assert found.weights_dense == {}
    assert found.weights_tied == {"layers.0.weight": ["layers.2.weight"]}


def test_a_network_whose_samples_are_unknown_has_no_multiply_adds() -> None:
    network = NETWORKS["chain"]()
    with pytest.warns(UserWarning, match="nothing says what a sample looks like"):
        assert known_positions(network, None) is None
    with pytest.warns(UserWarning, match=r"left out: _Layers cannot take a sample of shape \(7,\)"):
        assert known_positions(network, (7,)) is None


def test_looking_at_what_is_used_leaves_no_hook() -> None:
    network = NETWORKS["raises halfway"]()
    with pytest.warns(UserWarning, match="left out"):
        known_positions(network, (6,))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert masks(network) == {}
