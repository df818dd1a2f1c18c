import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsity.masks import add_masks, masked, masks
from sparsity.pruning.groups import fan_ins
from sparsity.pruning.pattern import Pattern, selector
from sparsity.pruning.structured_moves import drop_and_grow_fan_in, drop_and_grow_n_m
from tests.pruning.test_pattern import LAYERS, draw, layer_of


def linear(weight: list[list[float]]) -> tuple[nn.Sequential, dict[str, Tensor]]:
    values = torch.tensor(weight)
    network = nn.Sequential(nn.Linear(*reversed(values.shape)))
    add_masks(network)
    return network, {"0": values}


def moved(weight: list[list[float]], growth: list[list[float]], fraction: float, threshold: float = 0.0,
          may_go: list[bool] | None = None, fan_in: int | None = None) -> list[list[int]]:  # fmt: skip
    """The mask of one Linear, whose kept weights are those that are not 0."""
    network, weights = linear(weight)
    mask = {"0": weights["0"] != 0}
    units = {"0": torch.tensor(may_go or [True] * len(weight))}
    first = {"0": fan_in or int(mask["0"][0].sum())}
    found = drop_and_grow_fan_in(
        masked(network), weights, {"0": torch.tensor(growth)}, mask, fraction, first, threshold, units
    )
    result: list[list[int]] = found.masks["0"].int().tolist()
    return result


def test_each_group_gets_back_as_many_as_it_lost() -> None:
    network, weights = linear([[1.0, 0.0, 4.0, 0.0, 0.0, 2.0, 0.0, 3.0]])
    growth = {"0": torch.tensor([[0.0, 1.0, 9.0, 2.0, 8.0, 0.0, 7.0, 9.0]])}
    # Half of four: 1 and 2 go. The first group grows where 2 is, the second where 8 is.
    found = drop_and_grow_n_m(masked(network), weights, growth, {"0": weights["0"] != 0}, 0.5, 2, 4)
    assert found.masks["0"].int().tolist() == [[0, 0, 1, 1, 1, 0, 0, 1]]
    assert not found.by_lot
    even = {"0": torch.zeros(1, 8)}
    lots = drop_and_grow_n_m(masked(network), weights, even, {"0": weights["0"] != 0}, 0.5, 2, 4)
    assert lots.by_lot["0"].sum() == 2


def test_each_unit_gets_back_as_many_as_it_lost() -> None:
    # Half of four: 1 and 2 go, both of the first unit, which grows two.
    weight = [[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0]]
    assert moved(weight, [[0.0, 0.0, 5.0, 6.0], [9.0, 9.0, 9.0, 9.0]], 0.5) == [[0, 0, 1, 1], [1, 1, 0, 0]]
    assert moved(weight, [[7.0, 0.0, 5.0, 6.0], [9.0, 9.0, 9.0, 9.0]], 0.5) == [[1, 0, 0, 1], [1, 1, 0, 0]]


def test_a_unit_with_few_salient_weights_is_ablated_and_the_others_share_its_budget() -> None:
    weight = [[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0]]
    growth = [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 1.0], [0.0, 0.0, 1.0, 8.0]]
    # A third of six: 1 and 2 go, 9 and 8 are salient: 0, 3 and 3 weights. The first has under 0.3 of 2; the others
    # share six, three each.
    assert moved(weight, growth, 1 / 3, threshold=0.3) == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert moved(weight, growth, 1 / 3, threshold=0.0)[0] != [0, 0, 0, 0]
    assert moved(weight, growth, 1 / 3, threshold=0.3, may_go=[False, True, True])[0] != [0, 0, 0, 0]
    # Where the first may grow it has a salient weight, half its fan-in.
    growth[0][3] = 10.0
    assert sum(moved(weight, growth, 1 / 3, threshold=0.3)[0]) == 2
    assert sum(moved(weight, growth, 1 / 3, threshold=0.6)[0]) == 0


def test_ablated_units_do_not_come_back_and_the_budget_is_that_of_all_units() -> None:
    weight = [[0.0, 0.0, 0.0, 0.0], [3.0, 4.0, 1.0, 0.0], [5.0, 6.0, 2.0, 0.0]]
    growth = [[99.0] * 4, [0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0]]
    found = moved(weight, growth, 1 / 3, threshold=0.3, fan_in=2)
    assert found == [[0, 0, 0, 0], [1, 1, 0, 1], [1, 1, 0, 1]]


def test_as_many_units_live_on_as_the_budget_needs() -> None:
    # Nine of twelve weights do not fit into two units; the one with two salient weights stays, the other has to go.
    weight = [[1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 6.0, 0.0], [7.0, 8.0, 9.0, 0.0]]
    growth = [[0.0] * 4, [0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0]]
    assert [sum(row) for row in moved(weight, growth, 1 / 3, threshold=0.9)] == [3, 3, 3]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(LAYERS)), n=st.integers(1, 3), more=st.integers(1, 3), seed=st.integers(0, 10_000),
    fraction=st.floats(0, 1),
)  # fmt: skip
def test_n_of_m_stays_exact_when_weights_move(name: str, n: int, more: int, seed: int, fraction: float) -> None:
    network, m = layer_of(name), n + more
    saliency, everything = draw(network, seed)
    total = sum(c.numel() for c in everything.values())
    choose = selector(Pattern("n:m", (n, m)), network)
    mask = choose(saliency, round(n / m * total), everything, 0).masks
    growth, _ = draw(network, seed + 1)
    weights = {layer: value * mask[layer] for layer, value in saliency.items()}
    new = drop_and_grow_n_m(masked(network), weights, growth, mask, fraction, n, m).masks
    # A mask in the pattern is all that the pattern lets stay of it.
    again = choose({layer: kept.float() for layer, kept in new.items()}, round(n / m * total), new, 0).masks
    for layer, kept in new.items():
        assert torch.equal(again[layer], kept)
        assert kept.sum() == mask[layer].sum()


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(LAYERS)), seed=st.integers(0, 10_000), density=st.floats(0.05, 1),
    fraction=st.floats(0, 1), threshold=st.floats(0, 1), rounds=st.integers(1, 4),
)  # fmt: skip
def test_the_fan_in_stays_constant_and_the_layer_its_number(
    name: str, seed: int, density: float, fraction: float, threshold: float, rounds: int
) -> None:
    network = layer_of(name)
    places = masked(network)
    saliency, everything = draw(network, seed)
    counts = {layer: round(density * m.numel()) for layer, m in masks(network).items()}
    mask = selector(Pattern.parse("fan_in"), network)(saliency, counts, everything, 0).masks
    budget = fan_ins(places, counts)
    may_go = {layer: torch.ones(place.units, dtype=torch.bool) for layer, place in places.items()}
    for number in range(rounds):
        growth, _ = draw(network, seed + 1 + number)
        weights = {layer: draw(network, seed + 9)[0][layer] * kept for layer, kept in mask.items()}
        before = mask
        mask = drop_and_grow_fan_in(places, weights, growth, mask, fraction, budget, threshold, may_go).masks
        for layer, place in places.items():
            fan_in = place.by_unit(mask[layer]).flatten(1).sum(1)
            live = fan_in[fan_in > 0]
            assert live.unique().numel() == 1
            assert not (fan_in > 0)[place.by_unit(before[layer]).flatten(1).sum(1) == 0].any()
            assert abs(int(fan_in.sum()) - budget[layer] * place.units) <= len(live) / 2
