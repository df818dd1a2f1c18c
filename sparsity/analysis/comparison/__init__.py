"""How sparse networks differ."""

from sparsity.analysis.comparison.networks import Comparison, Pair, compare, pair_means

__all__ = ["Comparison", "Pair", "compare", "pair_means"]
