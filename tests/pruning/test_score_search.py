import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsity.pruning.score_search import initial_scores, round_scores, score_penalty_gradient
from sparsity.seeding import named_generator

PENALTIES = {
    "l2": lambda p, w: (p**2).sum(),
    "l1": lambda p, w: p.abs().sum(),
    "l1_l2": lambda p, w: p.abs().sum() + (p**2).sum(),
    "variance": lambda p, w: (p**2 * (1 - p) ** 3).sum(),
    "weighted_variance": lambda p, w: (w**2 * p * (1 - p)).sum(),
    "entropy": lambda p, w: (-p * p.log() - (1 - p) * (1 - p).log()).sum(),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@given(
    scores=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8),
    weight=st.floats(-2, 2),
)
def test_penalty_gradients_are_those_of_the_formulas(penalty: str, scores: list[float], weight: float) -> None:
    p = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    w = torch.full_like(p, weight)
    (expected,) = torch.autograd.grad(PENALTIES[penalty](p, w), p)
    actual = score_penalty_gradient(p.detach(), w, penalty, (2.0, 3.0))  # type: ignore[arg-type]
    assert torch.allclose(actual, expected)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_gradients_are_finite_at_the_ends(penalty: str) -> None:
    gradient = score_penalty_gradient(torch.tensor([0.0, 1.0]), torch.ones(2), penalty)  # type: ignore[arg-type]
    assert gradient.isfinite().all()


def test_scores_above_one_half_are_kept() -> None:
    scores = torch.tensor([0.0, 0.5, 0.51, 1.0])
    assert round_scores(scores, "naive", 0.0).tolist() == [False, False, True, True]


def test_bernoulli_keeps_each_score_with_its_probability() -> None:
    scores = torch.tensor([0.0, 0.2, 1.0]).repeat_interleave(10_000)
    kept = round_scores(scores, "bernoulli", 0.0, named_generator("test")).view(3, -1).float().mean(1)
    assert kept[0] == 0
    assert kept[1].item() == pytest.approx(0.2, abs=6 * math.sqrt(0.16 / 10_000))
    assert kept[2] == 1


def test_noise_turns_round_its_fraction_of_decisions() -> None:
    kept = round_scores(torch.ones(10_000), "naive", 0.1, named_generator("test"))
    assert 1 - kept.float().mean().item() == pytest.approx(0.1, abs=6 * math.sqrt(0.09 / 10_000))


@pytest.mark.parametrize(
    ("init", "mean", "variance"),
    [("uniform", 1 / 2, 1 / 12), ("half", 1 / 2, 0), ("bernoulli", 1 / 2, 1 / 4),
     ("bimodal", 1 / 2, 1 / 4 / 1.2), ("skew", 1 / 6, 5 / 36 / 7)],
)  # fmt: skip
def test_initial_scores_have_the_moments_of_their_distribution(init: str, mean: float, variance: float) -> None:
    scores = initial_scores(40_000, init, named_generator("test", seed=1))  # type: ignore[arg-type]
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.mean().item() == pytest.approx(mean, abs=6 * math.sqrt(variance / 40_000) + 1e-7)
    assert scores.var().item() == pytest.approx(variance, rel=0.05, abs=1e-9)
