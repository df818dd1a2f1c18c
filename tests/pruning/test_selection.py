import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsity.errors import SparsityError
from sparsity.pruning.selection import keep_highest, top_k


def all_kept(saliency: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(s, dtype=torch.bool) for name, s in saliency.items()}


SALIENCY = {"a": torch.tensor([[5.0, 1.0], [3.0, -2.0]]), "b": torch.tensor([4.0, 2.0])}


def test_the_highest_of_the_whole_network_are_kept() -> None:
    mask = keep_highest(SALIENCY, 3, all_kept(SALIENCY))
    assert mask["a"].tolist() == [[True, False], [True, False]]
    assert mask["b"].tolist() == [True, False]


def test_the_highest_of_each_layer_are_kept() -> None:
    mask = keep_highest(SALIENCY, {"a": 1, "b": 2}, all_kept(SALIENCY))
    assert mask["a"].tolist() == [[True, False], [False, False]]
    assert mask["b"].tolist() == [True, True]


def test_a_pruned_weight_never_comes_back_however_high_its_saliency() -> None:
    candidates = all_kept(SALIENCY)
    candidates["a"][0, 0] = False
    mask = keep_highest(SALIENCY, 5, candidates)
    assert not mask["a"][0, 0]
    assert mask["a"][1, 1]  # the only negative one is kept before a pruned one


def test_min_kept_keeps_the_best_of_a_layer_that_would_vanish() -> None:
    saliency = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([7.0, 8.0, 9.0])}
    mask = keep_highest(saliency, 3, all_kept(saliency), min_kept=1)
    assert mask["a"].tolist() == [False, False, True]
    assert mask["b"].tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("count", "min_kept", "message"),
    [
        (7, 0, "cannot keep 7 weights of the network"),
        (1, 1, "with min_kept 1 it keeps 2 or more"),
        ({"a": 5, "b": 0}, 0, "'a'"),
    ],
)
def test_impossible_counts_are_refused(count: int, min_kept: int, message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        keep_highest(SALIENCY, count, all_kept(SALIENCY), min_kept)


def test_equal_saliencies_favour_no_layer() -> None:
    saliency = {"a": torch.zeros(20_000), "b": torch.zeros(20_000)}
    mask = keep_highest(saliency, 10_000, all_kept(saliency))
    assert mask["a"].sum() + mask["b"].sum() == 10_000
    assert abs(int(mask["a"].sum()) - 5_000) < 300  # six standard deviations


@given(
    values=st.lists(st.integers(-3, 3) | st.floats(-1e300, 1e300), min_size=1, max_size=50).map(
        lambda v: torch.tensor(v, dtype=torch.float64)
    ),
    fraction=st.floats(0, 1),
)
def test_top_k_marks_exactly_k_and_none_below_another(values: torch.Tensor, fraction: float) -> None:
    k = round(fraction * len(values))
    marked = top_k(values, k)
    assert marked.sum() == k
    if 0 < k < len(values):
        assert values[marked].min() >= values[~marked].max()


@given(data=st.data())
def test_any_count_is_met_exactly_among_the_candidates(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))

    def drawn(n: int) -> list[int]:
        return data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))

    saliency = {str(i): torch.tensor(drawn(n), dtype=torch.float32) for i, n in enumerate(sizes)}
    candidates = {name: torch.tensor(drawn(len(s))) > 0 for name, s in saliency.items()}
    available = sum(int(c.sum()) for c in candidates.values())
    count = data.draw(st.integers(0, available))
    mask = keep_highest(saliency, count, candidates)
    assert sum(int(m.sum()) for m in mask.values()) == count
    assert all((mask[name] <= candidates[name]).all() for name in mask)
