"""Degrees, spectra, components and communities against closed forms and networkx."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from torch import nn

from sparsity.analysis import Spectrum, degrees, gini, spectrum, unit_matrix
from sparsity.analysis.topology.communities import communities, modularity, of_adjacency, whole_graph
from sparsity.analysis.topology.network import layer_table, summary, topology, unit_table
from sparsity.errors import SparsityError
from sparsity.graph.sample import trace_of
from sparsity.graph.unit_graph import unit_graph
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet


def random(units: int, inputs: int, density: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(units, inputs)) * (rng.random((units, inputs)) < density)


def test_degrees_are_described() -> None:
    found = degrees(np.array([0, 2, 4, 2]))
    assert (found.mean, found.variance, found.largest) == (2, 2, 4)
    values = np.array([0, 2, 4, 2])
    assert found.gini == pytest.approx(np.abs(values[:, None] - values).mean() / 2 / values.mean())


def test_gini_is_0_for_equal_and_nearly_1_for_one_that_has_all() -> None:
    assert gini(np.full(7, 3)) == pytest.approx(0)
    assert gini(np.eye(100)[0]) == pytest.approx(0.99)
    assert gini(np.zeros(4)) == 0


def test_a_kernel_is_one_edge_and_groups_read_different_inputs() -> None:
    weight = np.zeros((4, 2, 3, 3))
    weight[0, 1, 0, 0], weight[0, 1, 2, 2], weight[3, 0, 1, 1] = -2, 3, 1
    assert unit_matrix(weight).tolist() == [[0, 5], [0, 0], [0, 0], [1, 0]]
    assert unit_matrix(weight, groups=2).tolist() == [[0, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    with pytest.raises(SparsityError, match="4 units do not divide into 3 groups"):
        unit_matrix(weight, groups=3)


def test_the_complete_bipartite_graph_is_ramanujan() -> None:
    """One singular value, the root of all edges; the rest are 0."""
    found = spectrum(np.full((9, 4), -0.5))
    assert found.first == pytest.approx(6)
    assert found.second == pytest.approx(0, abs=1e-6)
    assert found.ramanujan == pytest.approx(np.sqrt(8) + np.sqrt(3), abs=1e-6)
    assert found.weighted_gap == pytest.approx(3, abs=1e-6)
    assert found.iterative_ramanujan == pytest.approx(found.ramanujan, abs=1e-6)


def test_two_separate_blocks_are_not() -> None:
    blocks = np.kron(np.eye(2), np.ones((20, 20)))
    found = spectrum(blocks)
    assert found.gap == pytest.approx(0, abs=1e-6)
    assert found.ramanujan == pytest.approx(2 * np.sqrt(19) - 20)


@pytest.mark.parametrize(("units", "inputs"), [(30, 50), (50, 30), (420, 450)])
def test_singular_values_are_those_of_all_and_dead_units_change_none(units: int, inputs: int) -> None:
    matrix = np.abs(random(units, inputs))
    expected = np.linalg.svd(matrix != 0, compute_uv=False)
    weighted = np.linalg.svd(matrix, compute_uv=False)
    found = spectrum(matrix)
    assert [found.first, found.second] == pytest.approx(expected[:2], rel=1e-6)
    assert [found.weighted_first, found.weighted_second] == pytest.approx(weighted[:2], rel=1e-6)
    padded = spectrum(np.pad(matrix, ((0, 5), (3, 0))))
    assert vars(padded) == pytest.approx(vars(found), rel=1e-6, nan_ok=True)


def test_the_iterative_bound_is_a_mean_over_inputs_of_equal_degree() -> None:
    matrix = np.zeros((6, 12))
    matrix[:, :5] = 1  # five inputs of degree 6: a complete graph, no second singular value
    matrix[:4, 5:9] = 1  # four of degree 4: a complete graph with the four units that read them
    matrix[0, 9:] = 1  # three of degree 1, too few
    expected = np.mean([np.sqrt(6 - 1) + np.sqrt(5 - 1), np.sqrt(4 - 1) + np.sqrt(4 - 1)])
    assert spectrum(matrix).iterative_ramanujan == pytest.approx(expected, abs=1e-6)


def test_sparse_layers_have_no_bound_and_empty_ones_no_spectrum() -> None:
    assert np.isnan(spectrum(np.eye(8)).ramanujan)
    empty = spectrum(np.zeros((4, 5)))
    assert (empty.first, empty.second) == (0, 0)
    assert np.isnan([empty.ramanujan, empty.iterative_ramanujan]).all()
    assert isinstance(empty, Spectrum)
    assert spectrum(np.ones((1, 4))).second == 0


def sparse(network: nn.Module, kept: float) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    add_masks(network)
    set_mask(network, {name: torch.rand(m.shape, generator=generator) < kept for name, m in masks(network).items()})
    return network


def chain_in_networkx(network: nn.Module) -> nx.Graph:
    graph = nx.Graph()
    for layer, weight in enumerate(module.weight for module in network.modules() if isinstance(module, nn.Linear)):
        for unit, source in weight.nonzero().tolist():
            graph.add_edge((layer, source), (layer + 1, unit), weight=abs(weight[unit, source].item()))
    return graph


@pytest.mark.parametrize("kept", [0.1, 0.4])
def test_the_graph_of_a_chain_is_what_networkx_sees(kept: float) -> None:
    network = sparse(FC((8,), 3, depth=3, width=6), kept)
    found, graph = whole_graph(network), chain_in_networkx(network)
    assert found.components == nx.number_connected_components(graph)
    largest = max(map(len, nx.connected_components(graph)))
    assert found.largest_component == pytest.approx(largest / len(graph))
    for gap, weight in ((found.spectral_gap, None), (found.weighted_spectral_gap, "weight")):
        values = np.sort(np.linalg.eigvalsh(nx.to_numpy_array(graph, weight=weight)))
        assert gap == pytest.approx(values[-1] - values[-2], abs=1e-6)
    adjacency = scipy.sparse.csr_array(nx.to_scipy_sparse_array(graph, weight=None, dtype=float))
    labels = communities(adjacency)
    nodes = list(graph)
    groups = [{nodes[i] for i in np.flatnonzero(labels == label)} for label in range(labels.max() + 1)]
    assert modularity(adjacency, labels) == pytest.approx(nx.community.modularity(graph, groups, weight=None))
    assert found.modularity == pytest.approx(modularity(adjacency, labels), abs=0.05)


def test_two_cliques_with_one_edge_between_are_two_communities() -> None:
    graph = nx.barbell_graph(8, 0)
    adjacency = scipy.sparse.csr_array(nx.to_scipy_sparse_array(graph, dtype=float))
    labels = communities(adjacency)
    assert set(labels[:8]) != set(labels[8:])
    assert labels.max() == 1
    assert of_adjacency(adjacency).modularity == pytest.approx(2 * (28 / 57 - (57 / 114) ** 2))


def test_many_vertices_are_cut_as_few_are() -> None:
    graph = nx.planted_partition_graph(3, 100, 0.3, 0.01, seed=0)  # more than are done densely
    adjacency = scipy.sparse.csr_array(nx.to_scipy_sparse_array(graph, dtype=float))
    planted = np.repeat(np.arange(3), 100)
    assert of_adjacency(adjacency).modularity >= modularity(adjacency, planted) - 1e-9


def test_a_residual_stream_is_one_set_of_vertices() -> None:
    network = ResNet(8, width=2, input_shape=(1, 8, 8))
    graph = unit_graph(trace_of(network), {n: p for n, p in network.named_parameters() if p.ndim > 1})
    # An input, then channels of three stages with a block's inner ones each: 2 + 2, 4 + 4, 8 + 8, and ten outputs.
    assert np.count_nonzero(graph.count_nonzero(axis=1)) == 1 + 4 + 8 + 16 + 10
    assert (graph != graph.T).nnz == 0


def test_groups_of_a_convolution_hang_together_only_by_what_reads_both() -> None:
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2))
    assert whole_graph(grouped, (4, 2, 2)).components == 2
    joined = nn.Sequential(*grouped, nn.Conv2d(6, 1, 1))
    assert whole_graph(joined, (4, 2, 2)).components == 1


def test_an_empty_network_has_no_component() -> None:
    network = sparse(FC((4,), 2, depth=2, width=3), 0)
    found = whole_graph(network)
    assert found.components == found.communities == 0
    assert np.isnan(found.modularity)


def test_everything_stands_in_the_tables() -> None:
    network = sparse(FC((8,), 3, depth=3, width=6), 0.5)
    found = topology(network)
    layers, units, whole = layer_table(found), unit_table(found), summary(found)
    mask = masks(network)["fc1"]
    assert layers[0]["in_degree"] == pytest.approx(float(mask.sum(1).double().mean()))
    assert layers[0]["out_degree_max"] == int(mask.sum(0).max())
    assert layers[1]["spectral_gap"] == pytest.approx(found.graph.spectra["fc2"].gap)
    assert sum(row["path_share"] for row in units if row["layer"] == "fc2") == pytest.approx(1)
    assert whole["log10_paths"] == found.graph.paths.log10_count
    assert whole["components"] == found.graph.whole.components


@given(seed=st.integers(0, 10_000), vertices=st.integers(4, 30))
def test_no_community_spans_two_components(seed: int, vertices: int) -> None:
    half = np.triu(np.random.default_rng(seed).random((vertices, vertices)) < 1.2 / vertices, 1)
    linked = scipy.sparse.csr_array((half | half.T).astype(float))
    assume(linked.nnz)
    _, component = connected_components(linked, directed=False)
    found = communities(linked)
    assert all(len(set(component[found == label])) == 1 for label in set(found))
