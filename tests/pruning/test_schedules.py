from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsity.pruning.schedules import Decline, Schedule, cosine_decay, scheduled_density, scheduled_kept


def test_exponential_density_falls_by_the_same_factor_every_step() -> None:
    assert [scheduled_density(k, 2, 0.01) for k in range(3)] == pytest.approx([1, 0.1, 0.01])


def test_linear_density_falls_by_the_same_amount_every_step() -> None:
    assert [scheduled_density(k, 3, 0.1, "linear") for k in range(4)] == pytest.approx([1, 0.7, 0.4, 0.1])


def test_cubic_density_falls_fast_at_first() -> None:
    # 0.1 + 0.9 (1 - k/3)^3
    assert [scheduled_density(k, 3, 0.1, "cubic") for k in range(4)] == pytest.approx([1, 11 / 30, 2 / 15, 0.1])


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("density", [0.0, 0.1, 0.3, 1e-4, 1.0])
def test_density_starts_at_one_and_ends_exactly_where_asked(density: float, schedule: Schedule) -> None:
    assert scheduled_density(0, 100, density, schedule) == 1
    assert scheduled_density(100, 100, density, schedule) == density


def test_the_cosine_falls_from_one_to_zero_with_a_half_in_the_middle() -> None:
    assert [cosine_decay(k, 4) for k in (0, 2, 4)] == pytest.approx([1, 0.5, 0])


def test_numbers_on_the_way_are_rounded_as_in_each_authors_program() -> None:
    # 1,000 weights to a tenth in three steps: densities 0.4642 and 0.2154 along the exponential.
    assert [scheduled_kept(k, 3, 1000, 0.1) for k in range(4)] == [1000, 465, 216, 100]  # N - int((1 - s) N)
    # 0.7, and 0.4 with one bit too many in 1 - s.
    assert [scheduled_kept(k, 3, 1000, 0.1, "linear") for k in range(4)] == [1000, 700, 400, 100]
    # 1000 (0.1 + 0.9 (2/3)^3) = 366.67, and 133.33
    assert [scheduled_kept(k, 3, 1000, 0.1, "cubic") for k in range(4)] == [1000, 367, 133, 100]
    # Each cut takes ceil(0.53584 kept): 536, then 249 of 464.
    assert [scheduled_kept(k, 3, 1000, 0.1, "cuts") for k in range(4)] == [1000, 464, 215, 100]


@given(
    size=st.integers(0, 10_000), densities=st.tuples(st.floats(0, 1), st.floats(0, 1)), steps=st.integers(1, 40),
    decline=st.sampled_from(["exponential", "linear", "cubic", "cuts"]),
)  # fmt: skip
def test_the_number_kept_never_grows_and_ends_exactly_where_asked(
    size: int, densities: tuple[float, float], steps: int, decline: Decline
) -> None:
    density, start = sorted(densities)
    counts = [scheduled_kept(k, steps, size, density, decline, start) for k in range(steps + 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == round(density * size)
    assert counts[0] == round(start * size)
