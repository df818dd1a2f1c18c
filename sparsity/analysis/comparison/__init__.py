"""How sparse networks differ."""

from sparsity.analysis.comparison.measures import pair_means
from sparsity.analysis.comparison.networks import compare
from sparsity.analysis.comparison.results import Comparison, Pair

__all__ = ["Comparison", "Pair", "compare", "pair_means"]
