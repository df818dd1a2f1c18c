"""Everything that acts during a fit: pruners, and what watches them; `MaskEnforcer` for loops without a Trainer."""

from sparsity.callbacks.analysis import NetworkComparison, TopologyAnalysis
from sparsity.callbacks.before_training import (
    LAMP,
    Clustered,
    Magnitude,
    MaskFrom,
    PruneBeforeTraining,
    Random,
    SynFlow,
)
from sparsity.callbacks.checkpoint import SparseCheckpoint
from sparsity.callbacks.density import DensityMonitor
from sparsity.callbacks.divergence import StopOnDivergence
from sparsity.callbacks.during_training import SET, GradualMagnitude, PruneDuringTraining, RigL, SparseTraining
from sparsity.callbacks.dynamics import MaskDynamics
from sparsity.callbacks.edge_popup import EdgePopup
from sparsity.callbacks.enforcement import MaskEnforcer
from sparsity.callbacks.gem_miner import GemMiner
from sparsity.callbacks.gradient_pruning import SNIP, GraSP, PruneByGradient
from sparsity.callbacks.keep_masks import KeepMasks
from sparsity.callbacks.lottery import IterativeMagnitude
from sparsity.callbacks.progress import QuietProgressBar
from sparsity.callbacks.pruning import PruningCallback
from sparsity.callbacks.score_search import ScoreSearch

FixedMask = PruneIteratively = PruneBeforeTraining
"""What earlier classes derive from: it was three classes."""

__all__ = [
    "LAMP",
    "SET",
    "SNIP",
    "Clustered",
    "DensityMonitor",
    "EdgePopup",
    "FixedMask",
    "GemMiner",
    "GraSP",
    "GradualMagnitude",
    "IterativeMagnitude",
    "KeepMasks",
    "Magnitude",
    "MaskDynamics",
    "MaskEnforcer",
    "MaskFrom",
    "NetworkComparison",
    "PruneBeforeTraining",
    "PruneByGradient",
    "PruneDuringTraining",
    "PruneIteratively",
    "PruningCallback",
    "QuietProgressBar",
    "Random",
    "RigL",
    "ScoreSearch",
    "SparseCheckpoint",
    "SparseTraining",
    "StopOnDivergence",
    "SynFlow",
    "TopologyAnalysis",
]
