from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsity.errors import SparsityError
from sparsity.study.distributions import Choices, Distribution, Range, read_distribution


def read(key: str = "model.optimizer.lr", **value: Any) -> Distribution:
    return read_distribution("study.yaml", key, value)


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        ({"low": 0.0001, "high": 0.1, "log": True}, Range(0.0001, 0.1, log=True), "0.0001 to 0.1 (log)"),
        ({"low": 50, "high": 400, "step": 50}, Range(50, 400, step=50), "50 to 400 by 50"),
        ({"low": 0, "high": 0.9}, Range(0, 0.9), "0 to 0.9"),
        ({"low": "1e-4", "high": "1E-1", "log": True}, Range(0.0001, 0.1, log=True), "0.0001 to 0.1 (log)"),
        ({"choices": ["SGD", 1, None, True][:3]}, Choices(("SGD", 1, None)), "one of SGD, 1, none"),
    ],
)
def test_a_distribution_is_read_and_told_in_words(value: dict[str, Any], expected: Distribution, text: str) -> None:
    found = read(**value)
    assert found == expected
    assert str(found) == text


@pytest.mark.parametrize(
    ("low", "high", "step", "whole"), [(1, 4, None, True), (1, 4, 1, True), (1.0, 4, None, False), (0, 1, 0.25, False)]
)
def test_numbers_are_whole_where_all_that_is_given_are(low: float, high: float, step: float, whole: bool) -> None:
    found = read(low=low, high=high, step=step)
    assert isinstance(found, Range)
    assert found.is_whole == whole


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("lr", {"low": 0.1, "high": 0.0001}, "distribution of lr in study.yaml needs low below high, not 0.1 and 0.0001"),
    ("lr", {"low": 1, "high": 1}, "needs low below high, not 1 and 1"),
    ("lr", {"low": 0, "high": 1, "log": True}, "low of the distribution of lr in study.yaml must be above 0"),
    ("lr", {"low": -1.5, "high": 1, "log": True}, "must be above 0, since log is true, not -1.5"),
    ("lr", {"low": 1, "high": 9, "log": True, "step": 2}, "has log and step, of which it can have one"),
    ("lr", {"low": 1, "high": 9, "log": "yes"}, "log of the distribution of lr in study.yaml is true or false"),
    ("lr", {"low": 50, "high": 410, "step": 50}, "from 50 to 410 in steps of 50; set high to 400"),
    ("lr", {"low": 0.1, "high": 0.35, "step": 0.1}, "from 0.1 to 0.35 in steps of 0.1; set high to 0.3"),
    ("lr", {"low": 0, "high": 1, "step": 2}, "set a smaller step"),
    ("lr", {"low": 0, "high": 1, "step": 0}, "step of the distribution of lr in study.yaml must be above 0, not 0"),
    ("lr", {"low": "small", "high": 1}, "low of the distribution of lr in study.yaml must be a number"),
    ("lr", {"low": True, "high": 2}, "must be a number, and below 2\\*\\*53, not True"),
    ("lr", {"low": 0.0, "high": float("inf")}, "must be a number, and below 2\\*\\*53, not inf"),
    ("lr", {"low": float("nan"), "high": 1.0}, "not nan"),
    ("lr", {"low": 1}, "needs low and high, or choices; one has low, high and, if wanted, log or step"),
    ("lr", {}, "needs low and high, or choices"),
    ("lr", {"min": 1, "max": 2}, "has 'min'; one has low, high"),
    ("lr", {"low": 1, "high": 2, "choices": [1, 2]}, "has 'choices'; one has low, high"),
    ("lr", {"choices": [1]}, "must be a list of two values or more"),
    ("lr", {"choices": 3}, "must be a list of two values or more"),
    ("lr", {"choices": [1, 1.0]}, r"have 1.0 twice"),
    ("lr", {"choices": ["SGD", {"class_path": "Adam"}]}, "are names, numbers, true, false or null"),
    ("config", {"choices": ["a.yaml", "b.yaml"]}, "study.yaml draws config, but a file may set anything"),
    ("pruner", {"choices": ["SET", "RigL"]}, "draws pruner, but a pruner comes with options of its own; give a list"),
    ("pruner.density", {"low": 0.01, "high": 0.5}, "draws pruner.density, but accuracies at different densities"),
    ("seed_everything", {"low": 1, "high": 9}, "draws seed_everything, but runs are repeated over seeds"),
    ("pruner.seed", {"low": 1, "high": 9}, "draws pruner.seed, but runs are repeated over seeds"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES, ids=[message[:30] for _, _, message in MISTAKES])
def test_a_mistake_is_one_sentence(key: str, value: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message) as caught:
        read(key, **value)
    assert "\n" not in str(caught.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["low", "high", "log", "step", "choices"]) | st.text(max_size=4)


@given(st.dictionaries(names, anything, max_size=5))
def test_whatever_is_written_is_read_or_refused(value: dict[str, Any]) -> None:
    try:
        found = read(key="lr", **value) if "key" not in value else None
    except SparsityError:
        return
    if isinstance(found, Range):
        assert found.low < found.high
        assert found.low > 0 or not found.log
        assert not (found.log and found.step)


numbers = st.floats(-1e6, 1e6).filter(lambda number: number == 0 or abs(number) > 1e-6)


@given(numbers, numbers, st.floats(0, 1))
def test_a_tidied_number_is_in_its_range_and_close_to_what_was_drawn(low: float, high: float, share: float) -> None:
    assume(low < high)
    drawn = min(max(low + share * (high - low), low), high)
    found = Range(low, high)
    tidy = found.tidy(drawn)
    assert low <= tidy <= high
    assert abs(tidy - drawn) <= (high - low) / 1000
    assert abs(tidy - drawn) <= max(abs(drawn), 1e-12) / 1000 or drawn == 0
    assert found.tidy(tidy) == tidy


@given(st.floats(1e-8, 1e3), st.floats(1e-8, 1e3), st.floats(0, 1))
def test_over_orders_of_magnitude_a_tidied_number_keeps_its_own(low: float, high: float, share: float) -> None:
    assume(low < high)
    drawn = min(max(low * (high / low) ** share, low), high)
    assert Range(low, high, log=True).tidy(drawn) == pytest.approx(drawn, rel=1e-3)


@pytest.mark.parametrize(
    ("distribution", "drawn", "tidy"),
    [
        (Range(0.0001, 0.1, log=True), 0.0031622776601683794, 0.003162),
        (Range(0.5, 0.50001), 0.500003141592, 0.500003142),
        (Range(0, 1.0, step=0.1), 0.30000000000000004, 0.3),
        (Range(50, 400, step=50), 150.0, 150),
        (Range(0.0, 0.9), 0.0, 0.0),
        (Choices(("a", None)), None, None),
    ],
)
def test_what_is_drawn_is_run_with_few_digits(distribution: Distribution, drawn: float, tidy: float) -> None:
    found = distribution.tidy(drawn)
    assert found == tidy
    assert type(found) is type(tidy)
