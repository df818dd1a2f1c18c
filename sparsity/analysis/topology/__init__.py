"""What is left of a sparse network."""

from sparsity.analysis.topology.network import Topology, topology

__all__ = ["Topology", "topology"]
