"""Everything that acts during a fit: pruners, and what watches them."""

from sparsity.callbacks.analysis import NetworkComparison, TopologyAnalysis
from sparsity.callbacks.before_training import Magnitude, PruneBeforeTraining, Random, SynFlow
from sparsity.callbacks.checkpoint import SparseCheckpoint
from sparsity.callbacks.density import DensityMonitor
from sparsity.callbacks.pruning import PruningCallback
from sparsity.callbacks.score_search import GemMiner
from sparsity.callbacks.zeros import KeepMasks

__all__ = [
    "DensityMonitor",
    "GemMiner",
    "KeepMasks",
    "Magnitude",
    "NetworkComparison",
    "PruneBeforeTraining",
    "PruningCallback",
    "Random",
    "SparseCheckpoint",
    "SynFlow",
    "TopologyAnalysis",
]
