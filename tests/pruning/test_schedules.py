import pytest

from sparsity.pruning.schedules import scheduled_density


def test_exponential_density_falls_by_the_same_factor_every_step() -> None:
    assert [scheduled_density(k, 2, 0.01) for k in range(3)] == pytest.approx([1, 0.1, 0.01])


def test_linear_density_falls_by_the_same_amount_every_step() -> None:
    assert [scheduled_density(k, 3, 0.1, "linear") for k in range(4)] == pytest.approx([1, 0.7, 0.4, 0.1])


@pytest.mark.parametrize("density", [0.1, 0.3, 1e-4, 1.0])
def test_the_last_step_ends_at_the_density_asked(density: float) -> None:
    assert scheduled_density(100, 100, density) == density
