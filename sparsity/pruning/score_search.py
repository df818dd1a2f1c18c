"""The pure parts of searching a subnetwork by a trained score per weight (Gem-Miner)."""

from typing import Literal

import torch
from torch import Tensor

ScoreInit = Literal["uniform", "half", "bernoulli", "bimodal", "skew"]
Rounding = Literal["naive", "bernoulli"]
Penalty = Literal["l2", "l1", "l1_l2", "variance", "weighted_variance", "entropy"]


def initial_scores(n: int, init: ScoreInit, generator: torch.Generator) -> Tensor:
    """Scores in [0, 1] to start a search from.

    Args:
        n: How many.
        init: `uniform` U(0, 1); `half` all 0.5; `bernoulli` 0 or 1 with equal probability; `bimodal`
            Beta(0.1, 0.1), most near 0 or 1; `skew` Beta(1, 5), most near 0 (the original program's five).
        generator: A CPU generator.

    Returns:
        `[n]`, float32.
    """
    if init == "half":
        return torch.full((n,), 0.5)
    draws = torch.rand(n, generator=generator, dtype=torch.float64)
    if init == "bernoulli":
        draws = (draws < 0.5).double()
    elif init == "bimodal":
        draws = _beta(0.1, 0.1, draws)
    elif init == "skew":
        draws = _beta(1, 5, draws)
    return draws.float()


def round_scores(scores: Tensor, rounding: Rounding, noise: float, generator: torch.Generator | None = None) -> Tensor:
    """Which weights a forward pass uses.

    Args:
        scores: In [0, 1].
        rounding: `naive` keeps scores above 0.5, `bernoulli` keeps each with its score as the probability.
        noise: The fraction of decisions, drawn at random, that are turned round; in [0, 1].
        generator: Needed for `bernoulli` and for noise; on the CPU.

    Returns:
        Bool, shaped like `scores`.
    """
    if rounding == "naive":
        kept = scores > 0.5
    else:
        kept = torch.rand(scores.shape, generator=generator).to(scores.device) < scores
    if noise > 0:
        kept = kept ^ (torch.rand(scores.shape, generator=generator).to(scores.device) < noise)
    return kept


def score_penalty_gradient(
    scores: Tensor, weights: Tensor, penalty: Penalty, exponents: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Gradient of the penalty that pushes scores towards a decision or towards 0 (Sreenivasan et al. 2022).

    The penalties, summed over scores p of weights w: `l2` p^2; `l1` |p|; `l1_l2` their sum; `variance`
    p^a (1-p)^b with exponents a, b; `weighted_variance` w^2 p (1-p); `entropy` -p log p - (1-p) log(1-p), with
    scores of exactly 0 and 1 left out.

    Args:
        scores: In [0, 1].
        weights: The frozen weights, shaped like `scores`.
        penalty: Which.
        exponents: a and b of `variance`, at least 1 so that its slope is finite at 0 and 1.

    Returns:
        Shaped like `scores`, before multiplication by the penalty's factor.
    """
    p = scores
    if penalty == "l2":
        return 2 * p
    if penalty == "l1":
        return p.sign()
    if penalty == "l1_l2":
        return p.sign() + 2 * p
    if penalty == "variance":
        a, b = exponents
        return a * p ** (a - 1) * (1 - p) ** b - b * p**a * (1 - p) ** (b - 1)
    if penalty == "weighted_variance":
        return weights**2 * (1 - 2 * p)
    inside = (p > 0) & (p < 1)
    return torch.where(inside, torch.log((1 - p) / p), 0.0)


def _beta(a: float, b: float, draws: Tensor) -> Tensor:
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(a, b, draws.numpy()))
