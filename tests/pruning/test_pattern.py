import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import Place, add_masks, masked, masks
from sparsity.pruning.groups import fan_ins, top_of_each
from sparsity.pruning.pattern import WEIGHT, Pattern, exceptions, selector
from sparsity.pruning.selection import Selection, select
from tests.masks.layers import Conv1D

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(10, 6),
    "gpt": lambda: Conv1D(6, 10),
    "convolution": lambda: nn.Conv2d(6, 5, 3),
    "one dimension": lambda: nn.Conv1d(5, 4, 2),
    "grouped": lambda: nn.Conv2d(12, 6, 2, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 2),
    "grouped transposed": lambda: nn.ConvTranspose2d(12, 6, 2, groups=3),
    "attention": lambda: nn.MultiheadAttention(6, 2),
    "lstm": lambda: nn.LSTM(5, 3),
    "bilinear": lambda: nn.Bilinear(5, 4, 3),
}


def layer_of(name: str) -> nn.Sequential:
    network = nn.Sequential(LAYERS[name]())
    add_masks(network)
    return network


def of_linear(pattern: str, saliency: list[list[float]], count: int, kept: list[list[int]] | None = None) -> list[Any]:
    """The mask of one Linear."""
    values = torch.tensor(saliency)
    network = nn.Sequential(nn.Linear(*reversed(values.shape)))
    add_masks(network)
    candidates = torch.ones_like(values, dtype=torch.bool) if kept is None else torch.tensor(kept).bool()
    chosen = selector(Pattern.parse(pattern), network)({"0": values}, count, {"0": candidates}, 0)
    result: list[Any] = chosen.masks["0"].int().tolist()
    return result


def draw(network: nn.Module, seed: int, density: float = 1.0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Saliencies and candidates."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: m.shape for name, m in masks(network).items()}
    saliency = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return saliency, {name: torch.rand(shape, generator=generator) < density for name, shape in shapes.items()}


def rows(place: Place, values: Tensor) -> Tensor:
    """`[units, inputs, positions]`."""
    by_unit = place.by_unit(values)
    return by_unit.reshape(*by_unit.shape[:2], -1)


def test_names_are_read_and_written() -> None:
    for text in ("weight", "kernel", "unit", "fan_in", "2:4", "1:16", "4x1", "8x8"):
        assert str(Pattern.parse(text)) == text
    assert Pattern.parse("2:4") == Pattern("n:m", (2, 4))
    assert Pattern.parse("4x1") == Pattern("block", (4, 1))
    assert Pattern.parse("weight") == WEIGHT


@pytest.mark.parametrize(
    "text", ["", "4:2", "4:4", "0:4", "0x2", "2:4 ", "2/4", "units", "-1:4", "1x", 124, None, "9" * 20 + ":4"]
)
def test_what_is_no_pattern_is_refused_in_one_sentence(text: Any) -> None:
    with pytest.raises(SparsityError, match="choose weight, n of m inputs such as 2:4"):
        Pattern.parse(text)


def test_n_of_m_says_its_density() -> None:
    Pattern.parse("2:4").require_density(0.5)
    Pattern.parse("1:3").require_density(0.333)
    Pattern.parse("4x1").require_density(0.1)
    with pytest.raises(SparsityError, match=r"keeps 1 of 4 weights; set density to 0\.25, not 0\.1"):
        Pattern.parse("1:4").require_density(0.1)


def test_two_of_four_inputs_stay() -> None:
    saliency = [[5.0, 1.0, 3.0, 4.0, 0.0, -1.0, 2.0, 1.0], [9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0]]
    assert of_linear("2:4", saliency, 8) == [[1, 0, 0, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1, 1]]
    # Half way down it is three of four, and weights that were pruned do not come back.
    kept = [[1, 1, 1, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert of_linear("2:4", saliency, 12, kept) == [[1, 1, 1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 0, 1, 1, 1]]


def test_what_m_does_not_divide_keeps_its_share() -> None:
    # Of 4 + 3 inputs 2 and 1.5, rounded up; of 4 + 1 inputs 2 and 0.5, rounded up; two inputs are fewer than four.
    assert of_linear("2:4", [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], 4) == [[0, 0, 1, 1, 0, 1, 1]]
    assert of_linear("2:4", [[4.0, 3.0, 2.0, 1.0, 0.0]], 3) == [[1, 1, 0, 0, 1]]
    assert of_linear("1:4", [[4.0, 3.0, 2.0, 1.0, 0.0]], 1) == [[1, 0, 0, 0, 0]]  # 0.25 of 1
    assert of_linear("2:4", [[1.0, 2.0]], 1) == [[1, 1]]
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(8, 2), nn.Linear(7, 2))
    add_masks(network)
    assert exceptions(Pattern.parse("2:4"), network) == [
        "0 has 3 inputs and keeps all", "2 keeps 2 of the last 3 inputs"
    ]  # fmt: skip
    assert exceptions(Pattern.parse("4x1"), network) == []


def test_a_convolution_keeps_n_of_m_channels_at_each_position() -> None:
    network = nn.Sequential(nn.Conv2d(4, 1, (1, 2)))
    add_masks(network)
    values = torch.tensor([[1.0, 8.0], [2.0, 7.0], [3.0, 6.0], [4.0, 5.0]]).view(1, 4, 1, 2)
    chosen = selector(Pattern.parse("1:4"), network)({"0": values}, 2, masks(network), 0).masks["0"]
    assert chosen.view(4, 2).int().tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]


def test_blocks_stay_whole() -> None:
    saliency = [[1.0, 2.0, 9.0], [3.0, 0.0, 0.0], [5.0, 5.0, 1.0]]
    # 2x1: columns of the first two rows have means 2, 1 and 4.5, single ones below 5, 5 and 1.
    assert of_linear("2x1", saliency, 4) == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    # 5 weights are two single blocks, one of two, and no further one fits.
    assert of_linear("2x1", saliency, 5) == of_linear("2x1", saliency, 4)
    assert of_linear("2x1", saliency, 6) == [[1, 0, 1], [1, 0, 1], [1, 1, 0]]
    # 1x2: means 1.5 9 | 1.5 0 | 5 1.
    assert of_linear("1x2", saliency, 3) == [[0, 0, 1], [0, 0, 0], [1, 1, 0]]
    # Of a block with one candidate that candidate counts alone.
    kept = [[1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert of_linear("2x1", [[1.5, 2.0, 9.0], *saliency[1:]], 5, kept) == [[1, 0, 1], [0, 0, 1], [1, 1, 0]]
    kept = [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert of_linear("2x1", saliency, 5, kept) == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]


def test_kernels_stay_whole_and_weights_of_a_linear_are_single() -> None:
    network = nn.Sequential(nn.Conv2d(2, 1, (1, 2)), nn.Linear(2, 1))
    add_masks(network)
    saliency = {"0": torch.tensor([[3.0, 1.0], [1.0, 0.0]]).view(1, 2, 1, 2), "1": torch.tensor([[2.5, 1.5]])}
    # 2.5, then the kernel of mean 2, then 1.5: as sums, the kernels would come first.
    for count, kernels, single in ((1, [0, 0], [1, 0]), (3, [1, 0], [1, 0]), (4, [1, 0], [1, 1]), (6, [1, 1], [1, 1])):
        found = selector(Pattern.parse("kernel"), network)(saliency, count, masks(network), 0).masks
        assert found["0"].flatten().int().tolist() == [kernels[0]] * 2 + [kernels[1]] * 2
        assert found["1"].int().tolist() == [single]


def test_each_unit_keeps_equally_many_inputs() -> None:
    saliency = [[5.0, 1.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]]
    assert of_linear("fan_in", saliency, 4) == [[1, 0, 0, 1], [1, 1, 0, 0]]
    assert of_linear("fan_in", saliency, 5) == [[1, 0, 0, 1], [1, 1, 0, 0]]
    assert of_linear("fan_in", saliency, 1) == [[1, 0, 0, 0], [1, 0, 0, 0]]  # at least one


def test_fan_ins_are_rounded_so_that_they_hold_together_at_most_what_was_asked() -> None:
    network = nn.Sequential(nn.Linear(10, 4), nn.Linear(10, 4), nn.Linear(10, 2))
    add_masks(network)
    places = masked(network)
    assert fan_ins(places, {"0": 11, "1": 9, "2": 4}) == {"0": 3, "1": 2, "2": 2}  # 2.75, 2.25 and 2 of 24
    assert fan_ins(places, {"0": 11, "1": 9, "2": 3}) == {"0": 3, "1": 2, "2": 1}  # 22 of 23, two more are too many
    assert fan_ins(places, {"0": 1, "1": 0, "2": 40}) == {"0": 1, "1": 1, "2": 16}  # 40 of 41
    assert fan_ins(places, {"0": 8, "1": 8, "2": 4}, min_kept=9) == {"0": 3, "1": 3, "2": 5}


def test_min_kept_holds_in_every_pattern_or_is_refused() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.Linear(8, 4))
    add_masks(network)
    saliency = {"0": torch.rand(4, 8), "1": torch.rand(4, 8) + 5}
    for pattern in ("4x1", "2x2", "kernel", "fan_in"):
        found = selector(Pattern.parse(pattern), network)(saliency, 32, masks(network), 5).masks
        assert min(int(m.sum()) for m in found.values()) >= 5
        assert sum(int(m.sum()) for m in found.values()) <= 32
    with pytest.raises(SparsityError, match="the blocks that stay by min_kept have 16"):
        selector(Pattern.parse("4x1"), network)(saliency, 12, masks(network), 5)
    with pytest.raises(SparsityError, match=r"the pattern 1:4 leaves layer '0' 8 weights, and min_kept is 9"):
        selector(Pattern.parse("1:4"), network)(saliency, 16, masks(network), 9)


@pytest.mark.parametrize("pattern", ["2:4", "4x1", "kernel", "fan_in"])
def test_a_saliency_that_is_not_finite_names_its_layer(pattern: str) -> None:
    network = layer_of("linear")
    with pytest.raises(NonFiniteError, match="'0'"):
        selector(Pattern.parse(pattern), network)({"0": torch.full((6, 10), torch.nan)}, 30, masks(network), 0)


def test_equal_values_are_chosen_by_lot_and_told() -> None:
    values = torch.zeros(100, 4)
    values[0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    chosen, lot = top_of_each(values, torch.full((100,), 2), torch.ones(100, 4, dtype=torch.bool))
    assert chosen.sum(1).eq(2).all()
    assert chosen[0].tolist() == [True, True, False, False]
    assert lot is not None
    assert torch.equal(lot[1:], chosen[1:])
    assert not lot[0].any()
    assert (chosen[1:].sum(0) > 30).all()  # no place is favoured
    chosen_again, _ = top_of_each(values, torch.full((100,), 2), torch.ones(100, 4, dtype=torch.bool))
    assert torch.equal(chosen, chosen_again)


def test_weight_is_the_selection_that_it_always_was() -> None:
    assert selector(WEIGHT, layer_of("linear")) is select


@settings(deadline=None, max_examples=80)
@given(
    name=st.sampled_from(sorted(LAYERS)), n=st.integers(1, 6), more=st.integers(1, 6), seed=st.integers(0, 10_000),
    density=st.sampled_from([1.0, 0.6]),
)  # fmt: skip
def test_n_of_m_is_exact_in_any_layer(name: str, n: int, more: int, seed: int, density: float) -> None:
    network, m = layer_of(name), n + more
    saliency, candidates = draw(network, seed, density)
    total = sum(c.numel() for c in candidates.values())
    found = selector(Pattern("n:m", (n, m)), network)(saliency, round(n / m * total), candidates, 0).masks
    for layer, place in masked(network).items():
        mask, may, value = (rows(place, t) for t in (found[layer], candidates[layer], saliency[layer]))
        assert not (mask & ~may).any()
        inputs = mask.shape[1]
        for start in range(0, inputs, m):
            size = min(m, inputs - start)
            share = size if inputs < m else n if size == m else math.floor(n * size / m + 0.5)
            group, own = mask[:, start : start + m], may[:, start : start + m]
            assert torch.equal(group.sum(1), own.sum(1).clamp(max=share))
            part = value[:, start : start + m]
            lowest = part.where(group, torch.inf).amin(1)
            assert (lowest >= part.where(own & ~group, -torch.inf).amax(1)).all()


@settings(deadline=None, max_examples=80)
@given(
    name=st.sampled_from(sorted(LAYERS)), r=st.integers(1, 5), c=st.integers(1, 5), seed=st.integers(0, 10_000),
    share=st.floats(0, 1), density=st.sampled_from([1.0, 0.6]),
)  # fmt: skip
def test_blocks_are_kept_or_pruned_whole(
    name: str, r: int, c: int, seed: int, share: float, density: float
) -> None:  # fmt: skip
    network = layer_of(name)
    saliency, candidates = draw(network, seed, density)
    count = round(share * sum(int(m.sum()) for m in candidates.values()))
    found = selector(Pattern("block", (r, c)), network)(saliency, count, candidates, 0).masks
    assert sum(int(m.sum()) for m in found.values()) <= count
    kept, pruned, largest = [], [], 0
    for layer, place in masked(network).items():
        mask, may, value = (rows(place, t) for t in (found[layer], candidates[layer], saliency[layer]))
        assert not (mask & ~may).any()
        groups = getattr(place.module, "groups", 1)
        per_group = len(mask) // groups
        for group in range(groups):
            for top in range(0, per_group, r):
                units = slice(group * per_group + top, group * per_group + min(top + r, per_group))
                for left in range(0, mask.shape[1], c):
                    for position in range(mask.shape[2]):
                        at = (units, slice(left, left + c), position)
                        there = may[at]
                        if not there.any():
                            continue
                        largest = max(largest, int(there.sum()))
                        assert torch.equal(mask[at], there) or not mask[at].any()
                        (kept if mask[at].any() else pruned).append(float(value[at][there].mean()))
    if kept and pruned:
        assert min(kept) >= max(pruned) - 1e-5
    if pruned:  # the next block did not fit
        assert sum(int(m.sum()) for m in found.values()) > count - largest


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(LAYERS)), seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_every_unit_of_a_layer_has_the_same_fan_in(name: str, seed: int, share: float) -> None:
    network = layer_of(name)
    saliency, candidates = draw(network, seed)
    count = round(share * sum(m.numel() for m in candidates.values()))
    found = selector(Pattern.parse("fan_in"), network)(saliency, count, candidates, 0).masks
    places = masked(network)
    kept = 0
    for layer, place in places.items():
        mask, value = (rows(place, t).flatten(1) for t in (found[layer], saliency[layer]))
        assert mask.sum(1).unique().numel() == 1
        assert mask.sum(1).min() >= 1
        assert (value.where(mask, torch.inf).amin(1) >= value.where(~mask, -torch.inf).amax(1)).all()
        kept += int(mask.sum())
    assert kept <= max(count, sum(place.units for place in places.values()))


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from(sorted(LAYERS)), seed=st.integers(0, 10_000), share=st.floats(0.1, 1))
def test_kernels_are_kept_or_pruned_whole(name: str, seed: int, share: float) -> None:
    network = layer_of(name)
    saliency, candidates = draw(network, seed)
    count = round(share * sum(m.numel() for m in candidates.values()))
    found: Selection = selector(Pattern.parse("kernel"), network)(saliency, count, candidates, 0)
    for layer, place in masked(network).items():
        mask = rows(place, found.masks[layer])
        if isinstance(place.module, nn.modules.conv._ConvNd):
            assert (mask == mask[:, :, :1]).all()
            assert count - mask.shape[2] < sum(int(m.sum()) for m in found.masks.values()) <= count
