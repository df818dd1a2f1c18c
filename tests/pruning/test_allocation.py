from hypothesis import given
from hypothesis import strategies as st

from sparsity.pruning.allocation import largest_remainder, uniform


def test_remainders_decide_who_is_rounded_up() -> None:
    assert largest_remainder({"a": 1.2, "b": 2.7, "c": 0.6}, 4) == {"a": 1, "b": 3, "c": 0}
    assert largest_remainder({"a": 1.2, "b": 2.7, "c": 0.6}, 5) == {"a": 1, "b": 3, "c": 1}


def test_equal_remainders_fall_to_the_first() -> None:
    assert largest_remainder({"a": 0.5, "b": 0.5}, 1) == {"a": 1, "b": 0}


def test_uniform_keeps_the_same_fraction_of_every_layer() -> None:
    assert uniform({"fc1": 100, "fc2": 50}, 0.1) == {"fc1": 10, "fc2": 5}


@given(
    sizes=st.dictionaries(st.text(), st.integers(1, 10_000), min_size=1, max_size=20),
    density=st.floats(1e-6, 1),
)
def test_uniform_meets_the_total_exactly_and_each_layer_within_one(sizes: dict[str, int], density: float) -> None:
    counts = uniform(sizes, density)
    assert sum(counts.values()) == round(density * sum(sizes.values()))
    assert all(abs(counts[n] - density * sizes[n]) <= 1 and 0 <= counts[n] <= sizes[n] for n in sizes)
