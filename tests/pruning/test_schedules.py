from typing import get_args

import pytest

from sparsity.pruning.schedules import Schedule, cosine_decay, scheduled_density


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
