import numpy as np
import pytest

from sparsity.analysis.statistics.verdict import Scores, verdict


def scores(**values: list[float]) -> Scores:
    return {name: {str(seed): value for seed, value in enumerate(found)} for name, found in values.items()}


def test_a_method_far_above_is_better() -> None:
    found = verdict(scores(high=[0.90, 0.91, 0.92], low=[0.50, 0.52, 0.51], lower=[0.30, 0.31, 0.33]))
    assert found.in_words() == "high is better than all others"
    assert found.not_told_from("high") == []


def test_nobody_is_better_where_intervals_overlap_even_if_the_paired_test_tells() -> None:
    # Always 0.01 above the other, but seeds differ far more: the paired test is sure, the intervals overlap.
    low = [0.50, 0.60, 0.70, 0.80]
    found = verdict(scores(high=[0.510, 0.611, 0.709, 0.810], low=low))
    (pair,) = found.pairs
    assert pair.p_adjusted is not None
    assert pair.p_adjusted < 0.001
    assert not pair.apart
    assert found.in_words().startswith(
        "no method is better than all others; high has the highest mean and cannot be told"
    )


def test_nobody_is_better_where_the_test_does_not_tell_even_if_intervals_do_not_overlap() -> None:
    # Seeds in common are two only, which no paired test takes.
    found = verdict({"high": {"1": 0.90, "2": 0.91, "3": 0.92}, "low": {"2": 0.50, "3": 0.51, "4": 0.52}})
    (pair,) = found.pairs
    assert (pair.p, pair.apart) == (None, False)
    assert pair.differences == pytest.approx((0.41, 0.41))


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_never_make_a_winner(seeds: int) -> None:
    found = verdict(scores(high=[0.9, 0.91][:seeds], low=[0.1, 0.12][:seeds]))
    assert "no method is better" in found.in_words()


def test_one_method_has_nothing_to_be_compared_with() -> None:
    assert verdict(scores(only=[0.9, 0.8])).in_words() == "there is one method only, and nothing to compare it with"


def test_pairs_are_adjusted_together() -> None:
    found = verdict(scores(a=[0.90, 0.91, 0.93], b=[0.80, 0.79, 0.83], c=[0.5, 0.6, 0.4]))
    p = sorted(pair.p for pair in found.pairs if pair.p is not None)
    adjusted = sorted(pair.p_adjusted for pair in found.pairs if pair.p_adjusted is not None)
    assert adjusted[0] == pytest.approx(3 * p[0])


def test_a_study_of_equal_methods_rarely_has_a_winner() -> None:
    generator = np.random.default_rng(0)
    winners = sum(
        "is better than all others" in verdict(scores(**dict(zip("abcde", draws.tolist(), strict=True)))).in_words()
        and "no method" not in verdict(scores(**dict(zip("abcde", draws.tolist(), strict=True)))).in_words()
        for draws in generator.normal(size=(200, 5, 3))
    )
    assert winners <= 4


def test_scores_that_are_not_finite_are_left_out() -> None:
    found = verdict({"a": {"1": 0.5, "2": float("nan"), "3": 0.6}, "b": {"1": float("nan")}})
    assert found.means == {"a": pytest.approx(0.55)}
    assert found.pairs == []
