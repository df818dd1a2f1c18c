"""What is left of several networks of one method, looked at as one: their units side by side in every layer."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from sparsity.analysis.topology.connectivity import Connectivity, LayerConnectivity
from sparsity.analysis.topology.density import Densities, LayerDensity
from sparsity.analysis.topology.input_runs import input_gaps, input_runs
from sparsity.analysis.topology.kernels import common_kernels, kernel_clusters
from sparsity.analysis.topology.network import Topology
from sparsity.analysis.topology.unmasked import Unmasked


def pooled(topologies: Sequence[Topology]) -> Topology:
    """The topology of all units of some networks together.

    Whatever counts weights, units or multiply-adds is a sum over the networks, which is what shares of it need;
    densities are means over them, distributions those of all units.

    Args:
        topologies: One or more, of networks with the same layers.

    Returns:
        Layers are called as in the first network. Multiply-adds are NaN if they are not known of one network;
        positions are None if they are not the same in all. There is no first layer to look at, and no one graph.
    """
    first = topologies[0]
    weights = {
        name: np.concatenate([list(found.weights.values())[place] for found in topologies])
        for place, name in enumerate(first.weights)
    }
    # Every field by name, none taken over from the first network unseen: a new one has to be thought of here.
    return Topology(
        weights=weights,
        densities=_densities([found.densities for found in topologies]),
        unmasked=_unmasked([found.unmasked for found in topologies]),
        connectivity=_connectivity([found.connectivity for found in topologies]),
        costs=first.costs if all(found.costs == first.costs for found in topologies) else None,
        flops_dense=sum(found.flops_dense for found in topologies),
        flops_effective=sum(found.flops_effective for found in topologies),
        runs={name: input_runs(weight) for name, weight in weights.items()},
        gaps={name: input_gaps(weight) for name, weight in weights.items()},
        kernels={name: kernel_clusters(weights[name]) for name in first.kernels},
        common_kernels=None
        if first.common_kernels is None
        else common_kernels(weights.values(), first.common_kernels.patterns.shape[1:]),
        first_layer=None,
        graph=None,
    )


def _unmasked(found: Sequence[Unmasked]) -> Unmasked:
    return Unmasked(
        weights=_sums([one.weights for one in found]),
        tied={name: others for one in found for name, others in one.tied.items()},
    )


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return dict(total)


def _densities(found: Sequence[Densities]) -> Densities:
    kept, size = sum(one.kept for one in found), sum(one.size for one in found)
    layers = {}
    for name, same in zip(found[0].layers, zip(*(one.layers.values() for one in found), strict=True), strict=True):
        layer_kept, layer_size = sum(layer.kept for layer in same), sum(layer.size for layer in same)
        layers[name] = LayerDensity(layer_kept, layer_size, layer_kept / layer_size, layer_kept / max(kept, 1))
    collapsed = tuple(name for name, layer in layers.items() if not layer.kept)
    return Densities(layers, kept, size, kept / size, collapsed)


def _connectivity(found: Sequence[Connectivity]) -> Connectivity:
    layers = {}
    for name, same in zip(found[0].layers, zip(*(one.layers.values() for one in found), strict=True), strict=True):
        layers[name] = LayerConnectivity(
            effective=sum(layer.effective for layer in same),
            effective_density=float(np.mean([layer.effective_density for layer in same])),
            dead=sum(layer.dead for layer in same),
            no_input=np.concatenate([layer.no_input for layer in same]),
            no_output=np.concatenate([layer.no_output for layer in same]),
        )
    return Connectivity(
        layers,
        effective=sum(one.effective for one in found),
        effective_density=float(np.mean([one.effective_density for one in found])),
        disconnected=tuple(name for name, layer in layers.items() if not layer.effective),
    )
