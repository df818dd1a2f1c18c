"""Smaller equal networks: what a sparse network is good for."""

from sparsity.compaction.compact import Compact, compact

__all__ = ["Compact", "compact"]
