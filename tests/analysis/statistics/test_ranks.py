import numpy as np
import pytest
from scipy import stats

from sparsity.analysis.statistics.ranks import critical_difference, ranking
from sparsity.errors import SparsityError


def test_the_critical_difference_is_that_of_demsars_example() -> None:
    """Four methods on 14 data sets: 2.569 * sqrt(4 * 5 / (6 * 14)) = 1.25 (Demsar 2006, section 3.2.3)."""
    assert critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(20 / 84), abs=1e-3)


def test_ranks_by_hand() -> None:
    # Ranks 1, 2, 3; 1, 3, 2; 1.5, 1.5, 3.
    found = ranking(np.array([[3.0, 2, 1], [3, 1, 2], [5, 5, 1]]), ["a", "b", "c"])
    assert found.names == ("a", "b", "c")
    assert found.ranks == pytest.approx((3.5 / 3, 6.5 / 3, 8 / 3))
    assert found.blocks == 3


def test_methods_hang_together_only_where_ranks_are_close() -> None:
    scores = np.tile([4.0, 3.0, 2.0, 1.0], (14, 1))  # ranks 1 to 4, critical difference 1.25
    found = ranking(scores, ["a", "b", "c", "d"])
    assert found.cliques == ((0, 1), (1, 2), (2, 3))
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue, abs=1e-12)


def test_all_hang_together_where_friedman_sees_nothing() -> None:
    found = ranking(np.array([[1.0, 2, 3], [3, 2, 1]]), ["a", "b", "c"])
    assert found.friedman == 1
    assert found.cliques == ((0, 2),)
    assert ranking(np.ones((5, 3)), ["a", "b", "c"]).friedman == 1


def test_pairs_apart_are_those_of_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs", reason="scikit-posthocs is a check of the extra dev")
    scores = np.random.default_rng(0).normal([0, 0.3, 1, 1.5, 2.5, 3], size=(12, 6))
    found = ranking(scores, list("abcdef"))
    theirs = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    for i, (a, rank_a) in enumerate(zip(found.names, found.ranks, strict=True)):
        for j, (b, rank_b) in enumerate(zip(found.names, found.ranks, strict=True)):
            if a != b:
                p = theirs["abcdef".index(a), "abcdef".index(b)]
                assert (abs(rank_a - rank_b) >= found.critical_difference) == (p <= 0.05)
                together = any(first <= min(i, j) and max(i, j) <= last for first, last in found.cliques)
                assert together == (p > 0.05)


@pytest.mark.parametrize("scores", [np.ones((3, 2)), np.ones((1, 3)), np.full((3, 3), np.nan)])
def test_too_little_to_rank_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(SparsityError, match="ranks need finite scores of 3 methods in 2 blocks at least"):
        ranking(scores, list("abc")[: scores.shape[1]])
