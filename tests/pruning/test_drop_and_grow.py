import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsity.pruning.drop_and_grow import drop_and_grow
from sparsity.pruning.selection import keep_highest


def one(weight: list[float], growth: list[float], mask: list[int], fraction: float) -> list[int]:
    new = drop_and_grow(
        {"a": torch.tensor(weight)}, {"a": torch.tensor(growth)}, {"a": torch.tensor(mask).bool()}, fraction
    )
    return new.masks["a"].int().tolist()


def test_the_smallest_weight_goes_and_the_largest_growth_comes() -> None:
    # Half of two kept weights: -1 is dropped, and of the pruned ones the third has the most to gain.
    assert one([-1.0, 3.0, 0.0, 0.0], [0.0, 9.0, 5.0, 2.0], [1, 1, 0, 0], 0.5) == [0, 1, 1, 0]


def test_a_weight_that_was_just_dropped_may_grow_again() -> None:
    assert one([-1.0, 3.0, 0.0, 0.0], [7.0, 9.0, 5.0, 2.0], [1, 1, 0, 0], 0.5) == [1, 1, 0, 0]


def test_a_fraction_of_less_than_one_weight_moves_none() -> None:
    assert one([1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 5.0, 2.0], [1, 1, 0, 0], 0.49) == [1, 1, 0, 0]


def test_a_dense_layer_is_left_alone() -> None:
    assert one([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1, 1, 1], 0.9) == [1, 1, 1]


def test_above_a_half_there_is_room_only_among_the_dropped() -> None:
    # Three of four kept, two dropped: one place was free, so one of the two comes back.
    assert one([1.0, 2.0, 3.0, 0.0], [8.0, 9.0, 0.0, 1.0], [1, 1, 1, 0], 0.7) == [1, 1, 1, 0]


def test_weights_that_grow_among_equals_are_told() -> None:
    mask = torch.tensor([1, 1, 0, 0, 0]).bool()
    growth = torch.tensor([0.0, 0.0, 5.0, 2.0, 2.0])
    two = drop_and_grow({"a": torch.tensor([1.0, 2.0, 0, 0, 0])}, {"a": growth}, {"a": mask}, 1.0)
    # The place of 5 is not by lot; one of the two with 2 comes, by lot.
    assert two.masks["a"].tolist()[:3] == [False, False, True]
    assert two.by_lot["a"].sum() == 1
    assert not two.by_lot["a"][:3].any()
    assert not drop_and_grow({"a": growth}, {"a": growth + torch.arange(5)}, {"a": mask}, 0.5).by_lot


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), density=st.floats(0, 1), fraction=st.floats(0, 1))
def test_every_layer_keeps_its_number_and_its_largest_weights(seed: int, density: float, fraction: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = {
        "a": torch.rand(7, 5, generator=generator) < density,
        "b": torch.rand(3, 2, 2, 2, generator=generator) < 0.5,
    }
    weights = {n: torch.randn(m.shape, generator=generator) * m for n, m in mask.items()}
    growth = {n: torch.rand(m.shape, generator=generator) for n, m in mask.items()}
    new = drop_and_grow(weights, growth, mask, fraction).masks
    for name, m in mask.items():
        assert new[name].sum() == m.sum()
        stay = int(m.sum()) - int(fraction * int(m.sum()))
        if stay and not m.all():
            largest = weights[name].abs().flatten().topk(stay).indices
            assert new[name].flatten()[largest].all()


def test_weights_and_growth_may_have_a_history() -> None:
    weight = torch.tensor([-1.0, 3.0, 0.0, 0.0], requires_grad=True)
    growth = {"a": torch.tensor([0.0, 9.0, 5.0, 2.0], requires_grad=True).abs()}
    new = drop_and_grow({"a": weight}, growth, {"a": torch.tensor([1, 1, 0, 0]).bool()}, 0.5)
    assert new.masks["a"].int().tolist() == [0, 1, 1, 0]
    for count in (1, {"a": 1}):
        assert keep_highest({"a": weight.abs()}, count, new.masks, min_kept=1)["a"].int().tolist() == [0, 1, 0, 0]
