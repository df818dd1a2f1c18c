"""The record of a network's picture, against networks that are known by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsity.analysis import align, apply
from sparsity.errors import SparsityError
from sparsity.graph.weights import layer_masks, layer_weights
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, ResNet
from sparsity.viewer.build import picture, pictures
from sparsity.viewer.picture import DEAD, OFF_PATH, ON_PATH, Counts, Picture
from tests.analysis.comparison.test_alignment import relabelled, sparse
from tests.graph.test_units import NETWORKS
from tests.viewer.networks import TINY, chain, masked_where_zero


def edges_of(found: Picture) -> list[tuple[int, int, float, bool]]:
    e = found.edges
    return list(zip(e.source.tolist(), e.target.tolist(), e.value.tolist(), e.on_path.tolist(), strict=True))


def into(found: Picture, name: str) -> set[str]:
    """The columns that a layer's edges come from."""
    column_of = found.column_of_dots
    names = np.array([column.name for column in found.columns])
    return set(names[column_of[found.edges.source[names[column_of[found.edges.target]] == name]]])


def test_units_and_edges_of_a_tiny_network_are_as_by_hand() -> None:
    found = picture(chain(*TINY), (3,))
    assert [(c.name, c.units, c.first, c.is_layer) for c in found.columns] == [
        ("input", 3, 0, False), ("0", 3, 3, True), ("2", 2, 6, True)
    ]  # fmt: skip
    assert edges_of(found) == [(0, 3, 1, True), (2, 3, -2, True), (0, 5, 0.5, False), (3, 6, 3, True), (4, 6, 4, False)]
    assert found.edges.strength.tolist() == [1, 2, 0.5, 3, 4]
    assert found.edges.kept.tolist() == found.edges.size.tolist() == [1] * 5
    assert found.state.tolist() == [ON_PATH, DEAD, ON_PATH, ON_PATH, DEAD, DEAD, ON_PATH, DEAD]
    assert found.fan_in.tolist() == [0, 0, 0, 2, 0, 1, 2, 0]
    assert found.fan_out.tolist() == [2, 0, 1, 1, 1, 0, 0, 0]
    assert found.layers == {"0": Counts(3, 1, 3, 9, 2), "2": Counts(2, 1, 2, 6, 1)}
    assert found.total == Counts(5, 2, 5, 15, 3)
    assert found.levels().tolist() == [0.5, 1, 0.25, 0.75, 1]
    assert found.notes() == []


def test_a_unit_that_reads_only_dead_ones_is_alive_and_on_no_path() -> None:
    found = picture(chain([[1.0], [0]], [[0, 1.0], [1, 0]], [[1.0, 1]]), (1,))
    assert found.state[[3, 4]].tolist() == [OFF_PATH, ON_PATH]


def test_neighbouring_units_of_wide_layers_are_one_dot() -> None:
    network = chain([[0.0] * 600 for _ in range(520)], [[0.0] * 520])
    network[0].weight.data[[0, 2, 3], [0, 2, 599]] = torch.tensor([1.0, -3, 5])
    masked_where_zero(network)
    found = picture(network, (600,))
    assert [(c.side, c.dots) for c in found.columns] == [(3, 200), (3, 174), (1, 1)]
    assert edges_of(found) == [(0, 200, -2, False), (199, 201, 5, False)]
    assert found.edges.strength.tolist() == [4, 5]
    assert found.edges.kept.tolist() == [2, 1]
    assert found.edges.size.tolist() == [9, 9]
    assert found.notes() == ["In columns of more than 256 units (520, 600) a dot is 3 neighbouring units."]


@settings(max_examples=10, deadline=None)
@given(inputs=st.integers(1, 600), units=st.integers(1, 600), density=st.floats(0, 1))
def test_nothing_is_lost_in_dots(inputs: int, units: int, density: float) -> None:
    network = sparse(nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, 1)), density)
    found = picture(network, (inputs,))
    kept = layer_masks(network)["0"].sum(axis=1)
    column = found.columns[1]
    in_dots = found.fan_in[column.first : column.first + column.dots]
    assert in_dots.tolist() == np.add.reduceat(kept, np.arange(0, units, column.side)).tolist()
    assert found.edges.value.sum() == pytest.approx(
        sum(w.sum(dtype=np.float64) for w in layer_weights(network).values()), abs=1e-4
    )
    if density == 1:
        assert found.edges.size.sum() == inputs * units + units


def test_an_image_is_a_grid_of_pixels_and_shows_in_maps() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 4, 5))
    found = picture(network, (3, 2, 4))
    assert found.columns[0].grid == (2, 4)
    assert found.columns[0].dot_of_units().tolist() == 3 * list(range(8))
    assert found.maps["1"].shape == (5, 3, 2, 4)
    assert found.maps["1"][4, 2, 1, 3] == network[1].weight[4, 23].item()
    assert picture(nn.Sequential(nn.Flatten(), nn.Linear(24, 257)), (3, 2, 4)).maps == {}
    large = picture(nn.Sequential(nn.Flatten(), nn.Linear(40 * 50, 2)), (1, 40, 50))
    assert large.columns[0].grid == (20, 25)
    assert large.columns[0].dot_of_units()[[0, 1, 2, 50, 100, 1999]].tolist() == [0, 0, 1, 0, 25, 499]
    assert large.notes() == ["A dot of the input is a square of 2 x 2 pixels."]


def test_the_edges_of_a_convolution_are_kernels_and_a_flattened_map_is_its_channel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    network[0].weight.data.zero_()[0, 0, 0] = torch.tensor([1.0, -3, 0])
    network[0].weight.data[1, 0, 2, 2] = 2
    network[3].weight.data = torch.tensor([[0, 0, 0, 0, 5.0, 0, 0, -4]])
    found = picture(masked_where_zero(network), (1, 4, 4))
    assert edges_of(found) == [(0, 1, -2, False), (0, 2, 2, True), (2, 3, 1, True)]
    assert found.edges.strength.tolist() == [4, 2, 9]
    assert found.edges.kept.tolist() == [2, 1, 2]
    assert found.edges.size.tolist() == [9, 9, 4]
    assert found.maps["0"].shape == (2, 1, 3, 3)


def test_groups_of_a_convolution_read_their_own_channels() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.ConvTranspose2d(4, 2, 1, groups=2))
    found = picture(network, (2, 3, 3))
    pairs = [(source, target) for source, target, *_ in edges_of(found)][8:]
    own = [(2, 6), (3, 6), (2, 7), (3, 7), (4, 8), (5, 8), (4, 9), (5, 9)]
    assert pairs == [*own, (6, 10), (7, 10), (8, 11), (9, 11)]


class OutOfOrder(nn.Module):
    """Layers that are registered the other way round, one that nobody uses, and a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused = nn.Linear(3, 2), nn.Linear(2, 2)
        self.middle, self.first = nn.Linear(3, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream: Tensor = self.first(x).relu()
        return self.last(stream + self.middle(stream).relu())  # type: ignore[no-any-return]


def test_layers_stand_in_the_order_of_the_forward_pass() -> None:
    found = picture(OutOfOrder(), (4,))
    assert [column.name for column in found.columns] == ["input", "first", "middle", "last"]
    assert found.ties.tolist() == [[4, 5, 6], [7, 8, 9]]
    assert found.unused == ("unused",)
    assert found.notes() == ["Not drawn, since the forward pass does not use them: unused."]


def test_a_unit_of_a_residual_stream_is_alive_where_others_feed_it() -> None:
    network = OutOfOrder()
    add_masks(network)
    kept = {name: torch.ones_like(mask) for name, mask in masks(network).items()}
    kept["middle"][1] = False
    set_mask(network, kept)
    found = picture(network, (4,))
    assert found.state[8] == ON_PATH
    assert found.layers["middle"].alive == 2


def test_blocks_of_a_resnet_read_the_stream_where_it_was_written_last() -> None:
    found = picture(ResNet(8, width=2), (3, 32, 32))
    assert into(found, "blocks.0.conv1") == {"conv"}
    assert into(found, "blocks.1.conv1") == into(found, "blocks.1.shortcut.0") == {"blocks.0.conv2"}
    assert into(found, "blocks.2.conv1") == {"blocks.1.shortcut.0"}


@pytest.mark.parametrize("name", ["attention", "lstm", "gru", "grouped", "depthwise", "transposed in groups"])
def test_the_fan_in_of_every_unit_is_what_its_mask_keeps(name: str) -> None:
    network, shape = NETWORKS[name]()
    found = picture(sparse(network, 0.6), shape)
    kept = layer_masks(network)
    for column in found.columns:
        if column.is_layer:
            counts = kept[column.name].reshape(column.units, -1).sum(axis=1)
            assert found.fan_in[column.first : column.first + column.dots].tolist() == counts.tolist()
    assert found.fan_out.sum() == found.fan_in.sum()


def test_a_weight_that_stands_in_two_places_is_drawn_once() -> None:
    network, shape = NETWORKS["tied linears"]()
    assert list(layer_masks(network)) == ["layers.0", "layers.2"]
    assert [column.name for column in picture(network, shape).columns] == ["input", "layers.0"]


def test_a_layer_of_one_unit_is_read_by_the_next() -> None:
    found = picture(chain([[9.0]], [[1.0], [3]], [[1.0, 0]]), (1,))
    assert [(source, target) for source, target, *_ in edges_of(found)] == [(0, 1), (1, 2), (1, 3), (2, 4)]
    network = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten(), nn.Linear(4, 1))
    assert [(source, target) for source, target, *_ in edges_of(picture(network, (1, 3, 3)))] == [(0, 1), (1, 2)]


def test_tokens_enter_through_a_table() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(7, 3), nn.Linear(3, 2)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids).mean(1))  # type: ignore[no-any-return]

    found = picture(Tokens(), torch.zeros(1, 4, dtype=torch.long))  # type: ignore[arg-type]
    assert [(column.name, column.units) for column in found.columns] == [("table.weight", 3), ("head", 2)]


def test_a_relabelled_copy_looks_the_same_once_it_is_aligned() -> None:
    network = sparse(FC((1, 4, 4), num_classes=3, width=8, depth=3), 0.5)
    other = relabelled(network, (1, 4, 4), seed=1)
    apart = pictures({"a": network, "b": other})
    assert edges_of(apart["a"]) != edges_of(apart["b"])
    together = pictures({"a": network, "b": apply(other, align(network, other))})
    a, b = together["a"].edges, together["b"].edges
    assert edges_of(together["a"]) == edges_of(together["b"])
    assert a.shared.tolist() == b.shared.tolist() == a.kept.tolist()


def test_edges_know_how_many_of_their_weights_the_other_network_keeps() -> None:
    found = pictures({"a": chain([[1.0, 2]], [[1.0]]), "b": chain([[0, 3.0]], [[0.0]])}, (2,))
    assert found["a"].edges.shared.tolist() == [0, 1, 0]
    assert found["b"].edges.shared.tolist() == [1]


@pytest.mark.parametrize(("most", "drawn"), [(9, [1, 3, 5]), (8, [1, 3, 4]), (6, [1, 2, 2]), (2, [1, 1, 1])])
def test_the_strongest_edges_are_drawn_equally_many_of_wide_layers(most: int, drawn: list[int]) -> None:
    network = chain([[9.0]], [[1.0], [3], [2]], [[1.0, 0, 2], [3, 4, 5]])
    whole = picture(network, (1,))
    cut = whole.strongest(most)
    counts = np.bincount(cut.column_of_dots[cut.edges.target], minlength=4)[1:]
    assert counts.tolist() == drawn
    assert {3, 5, 9} <= set(cut.edges.strength)
    assert cut.all_edges == 9
    assert cut.fan_in.tolist() == whole.fan_in.tolist()
    assert bool(cut.notes()) == (most < 9)


def test_what_cannot_be_drawn_is_one_sentence() -> None:
    class ByValue(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else x

    with pytest.raises(SparsityError, match="ByValue cannot be traced"):
        picture(ByValue(), (2,))

    class Idle(ByValue):
        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(SparsityError, match="no layer of Idle takes part in its forward pass"):
        picture(Idle(), (2,))
    tiny, wide = chain(*TINY), chain([[1.0, 1, 1]], [[1.0], [1]])
    with pytest.raises(SparsityError, match="layer '0' is shaped"):
        pictures({"a": tiny, "b": wide}, (3,))
    with pytest.raises(SparsityError, match="one network is shown, or two side by side, not 3"):
        pictures({"a": tiny, "b": tiny, "c": tiny}, (3,))
    with pytest.raises(SparsityError, match="edges must be a whole number of at least 1, not 0"):
        pictures({"a": tiny}, (3,), most=0)
