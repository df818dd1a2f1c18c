"""Moving masks, against sets of kept weights counted one by one."""

import doctest
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsity.analysis.dynamics import mask_history
from sparsity.analysis.dynamics.mask_history import MaskHistory, gini
from sparsity.errors import SparsityError

SHAPES = {"first": (3, 4), "last": (2, 3)}
SIZE = 18


def mask_of(kept: set[int]) -> dict[str, Tensor]:
    flat = torch.tensor([place in kept for place in range(SIZE)])
    return {"first": flat[:12].view(3, 4), "last": flat[12:].view(2, 3)}


masks = st.lists(st.sets(st.integers(0, SIZE - 1)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=100)
@given(history=masks)
def test_every_number_is_that_of_the_sets(history: list[set[int]]) -> None:
    found = MaskHistory()
    seen: list[set[int]] = []
    for step, kept in enumerate(history):
        update = found.look(step, mask_of(kept))
        if seen and kept == seen[-1]:
            assert update is None
            continue
        last = seen[-1] if seen else kept
        seen.append(kept)
        assert update is not None
        assert update.step == step
        assert update.density == len(kept) / SIZE
        assert update.churn == (len(kept - last) / len(kept) if kept else 0)
        assert update.iou_with_last == (len(kept & last) / len(kept | last) if kept | last else 1)
        assert update.explored == len(set().union(*seen)) / SIZE
        came_back = {
            place
            for place in kept
            if any(place in a and place not in b for a, b in pairwise(seen))
        }  # fmt: skip
        assert update.regrown_again == (len(came_back) / len(kept) if kept else 0)
        inputs = [mask.sum(1).tolist() for mask in mask_of(kept).values()]
        assert update.units_without_inputs == sum(row.count(0) for row in inputs)
        for layer, row in zip(update.layers, inputs, strict=True):
            assert (layer.fewest_inputs, layer.most_inputs) == (min(row), max(row))
            assert layer.mean_inputs == pytest.approx(sum(row) / len(row))
            assert layer.density == pytest.approx(sum(row) / (SHAPES[layer.layer][0] * SHAPES[layer.layer][1]))
    final = seen[-1]
    for (step, share), (also, frame) in zip(found.iou_with_last_mask().items(), found.frames(), strict=True):
        assert step == also
        kept = {place for place, keeps in enumerate(np.concatenate([rows.ravel() for rows in frame.values()])) if keeps}
        assert kept == history[step]
        assert share == (len(kept & final) / len(kept | final) if kept | final else 1)
    assert list(found.iou_with_last_mask().values())[-1] == 1


@settings(deadline=None, max_examples=50)
@given(history=masks, stop=st.integers(0, 11))
def test_one_that_goes_on_tells_the_same(
    history: list[set[int]],
    stop: int,
) -> None:
    whole, before, after = MaskHistory(), MaskHistory(), MaskHistory()
    for step, kept in enumerate(history):
        whole.look(step, mask_of(kept))
    for step, kept in enumerate(history[:stop]):
        before.look(step, mask_of(kept))
    after.load_state_dict(before.state_dict())
    for step, kept in list(enumerate(history))[stop:]:
        after.look(step, mask_of(kept))
    assert after.updates == whole.updates
    assert same(list(after.frames()), list(whole.frames()))


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        s == t and all(np.array_equal(x[name], y[name]) for name in x) for (s, x), (t, y) in zip(a, b, strict=True)
    )


def test_frames_are_thinned_evenly_and_the_last_mask_is_among_them() -> None:
    found = MaskHistory()
    for step in range(200):
        found.look(step, mask_of({step % SIZE}))
    steps = [step for step, _ in found.frames()]
    assert len(steps) <= 49
    assert steps[0] == 0
    assert steps[-1] == 199
    assert {b - a for a, b in pairwise(steps[:-1])} == {8}
    assert len(found.updates) == 200


def test_frames_of_a_large_network_are_few() -> None:
    found = MaskHistory()
    rows = torch.zeros(1000, 5000, dtype=torch.bool)
    for step in range(12):
        rows[step, 0] = True
        found.look(step, {"large": rows})
    assert len(list(found.frames())) <= 6
    assert sum(frame["large"].sum() for _, frame in found.frames()) > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5, 5, 5], 0), ([0, 0, 0], 0), ([0, 0, 0, 8], 0.75), ([1, 2, 3], 2 / 9), ([7], 0)],
)
def test_gini_of_known_numbers(values: list[float], expected: float) -> None:
    assert gini(np.array(values, dtype=np.float64)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_over_twice_the_mean(values: list[int]) -> None:
    numbers = np.array(values, dtype=np.float64)
    mean = numbers.mean()
    expected = np.abs(numbers[:, None] - numbers[None, :]).mean() / (2 * mean) if mean else 0
    assert gini(numbers) == pytest.approx(expected, abs=1e-12)


def test_other_layers_are_refused() -> None:
    found = MaskHistory()
    found.look(0, mask_of({1}))
    with pytest.raises(SparsityError, match="other layers"):
        found.look(1, {"first": torch.ones(3, 4, dtype=torch.bool)})


def test_the_example_runs() -> None:
    assert doctest.testmod(mask_history, extraglobs={"torch": torch}).failed == 0
