"""Optimal one-to-one assignments of units, and the best among equally good ones."""

from collections.abc import Callable
from typing import cast

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from sparsity.graph.weights import BoolArray, FloatArray, IntArray

_TOLERANCE = 1e-12
"""Costs are sums of a few ratios in [0, 1]; differences below this are rounding."""


def assign(cost: FloatArray) -> IntArray:
    """The one-to-one assignment of lowest total cost.

    Args:
        cost: `[n, n]`.

    Returns:
        `[n]`, the column assigned to each row.
    """
    return cast(IntArray, linear_sum_assignment(cost)[1])


def assign_breaking_ties(cost: FloatArray, second: Callable[[IntArray, IntArray], FloatArray]) -> IntArray:
    """Of all assignments of lowest total cost, the one whose second cost is lowest.

    By complementary slackness the optimal assignments are exactly the perfect matchings among the pairs that are
    tight, `cost - u - v = 0`, for dual prices u, v of any one of them. Of those, a pair is in some perfect matching
    if it lies on a cycle of rows that could exchange their columns. Rows on no cycle are settled; the rest is a small
    assignment problem of its own.

    Args:
        cost: `[n, n]`.
        second: Given rows `[r]` and columns `[c]`, the second cost `[r, c]` between them, in [0, 1]; only called
            when there is a choice.

    Returns:
        `[n]`, the column assigned to each row.
    """
    matching = assign(cost)
    # exchange[i, k]: row i could take the column that row k has, at no cost to the total.
    exchange = _tight_pairs(cost, matching)[:, matching]
    cycles = connected_components(exchange, connection="strong")[1]
    undecided = np.flatnonzero(np.bincount(cycles)[cycles] > 1)
    if not len(undecided):
        return matching
    columns = matching[undecided]
    allowed = exchange[np.ix_(undecided, undecided)] & (cycles[undecided][:, None] == cycles[undecided])
    forbidden = len(undecided) + 1.0  # more than any sum of second costs
    choice = assign(np.where(allowed, second(undecided, columns), forbidden))
    matching[undecided] = columns[choice]
    return matching


def _tight_pairs(cost: FloatArray, matching: IntArray) -> BoolArray:
    """Pairs whose reduced cost is zero under dual prices of an optimal assignment.

    Columns' prices are shortest paths in the residual graph, in which going from a row's own column k to another
    column j costs what the row would pay more for j (Bellman-Ford; no negative cycle, as the assignment is optimal).
    """
    own = cost[np.arange(len(cost)), matching]
    extra = cost - own[:, None]
    prices = np.zeros(len(cost))
    for _ in range(len(cost)):
        lower = np.minimum(prices, (prices[matching][:, None] + extra).min(axis=0))
        settled = np.allclose(lower, prices, rtol=0, atol=_TOLERANCE / 10)
        prices = lower
        if settled:
            break
    reduced = extra + prices[matching][:, None] - prices[None, :]
    tight = reduced <= _TOLERANCE
    tight[np.arange(len(cost)), matching] = True
    return tight
