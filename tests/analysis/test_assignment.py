from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsity.analysis.assignment import assign, assign_breaking_ties


@st.composite
def costs(draw):
    """A cost with many ties, and a second one."""
    n = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 4))
    return rng.integers(0, levels, (n, n)) / 3, rng.random((n, n))


@given(costs())
@settings(max_examples=200, deadline=None)
def test_the_best_second_cost_among_the_optimal_assignments(both):
    cost, second = both
    rows = np.arange(len(cost))
    totals = {order: (cost[rows, order].sum(), second[rows, order].sum()) for order in permutations(range(len(cost)))}
    lowest = min(first for first, _ in totals.values())
    best = min(then for first, then in totals.values() if first < lowest + 1e-9)
    ours = assign_breaking_ties(cost, lambda p, q: second[np.ix_(p, q)])
    assert sorted(ours) == list(rows)
    assert abs(cost[rows, ours].sum() - lowest) < 1e-9
    # Rows that have no choice are not asked about, so only the assignment itself can be compared.
    assert abs(second[rows, ours].sum() - best) < 1e-9
    assert abs(cost[rows, assign(cost)].sum() - lowest) < 1e-9


def test_a_large_unique_optimum_needs_no_second_cost():
    rng = np.random.default_rng(0)
    cost = rng.random((200, 200))

    def never(rows, columns):
        raise AssertionError("asked for a tie that is not there")

    assert np.array_equal(assign_breaking_ties(cost, never), assign(cost))
