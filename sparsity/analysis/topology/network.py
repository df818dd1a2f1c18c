"""Everything that the weights and masks of one network tell, as one result and as tables; it needs no images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from sparsity.analysis.activations.maps import first_layer_map
from sparsity.analysis.records import Row, layer_rows, unit_rows
from sparsity.analysis.topology.connectivity import Connectivity, connectivity
from sparsity.analysis.topology.density import Densities, densities
from sparsity.analysis.topology.flops import MultiplyAdds, known_multiply_adds
from sparsity.analysis.topology.graph_measures import GraphMeasures, graph_measures, layer_numbers, whole_numbers
from sparsity.analysis.topology.input_runs import Gaps, Runs, input_gaps, input_runs
from sparsity.analysis.topology.kernels import CommonKernels, KernelClusters, common_kernels, kernel_clusters
from sparsity.analysis.topology.unmasked import Unmasked, unmasked
from sparsity.errors import SparsityError
from sparsity.graph.sample import Given, shape_of
from sparsity.graph.weights import Array, FloatArray, Weights, layer_weights, unit_vectors


@dataclass(frozen=True, eq=False)
class Topology:
    """What is left of one network.

    Args:
        weights: Effective weights by layer name, in order.
        densities: Kept weights.
        unmasked: What no mask covers.
        connectivity: Effective density and dead units.
        costs: How often each weight, masked or not, is applied to one sample; None if not known.
        flops_dense: Multiply-adds of one sample if no weight were pruned; NaN if not known.
        flops_effective: Multiply-adds of one sample by the kept weights and those that no mask covers; NaN likewise.
        runs: By layer, runs of neighbouring kept inputs; filters are flattened.
        gaps: By layer, distances between successive kept inputs of a unit; filters are flattened.
        kernels: Connected components of kernels, by convolution with kernels larger than 1 x 1.
        common_kernels: The most common patterns among the kernels of the most frequent size larger than 1 x 1; None
            if there are none.
        first_layer: Sums of the first layer's weights over its units, as an image; None if it does not see images.
        graph: Degrees, spectra and paths; None of several networks together, which have no one graph.
    """

    weights: Weights
    densities: Densities
    unmasked: Unmasked
    connectivity: Connectivity
    costs: MultiplyAdds | None
    flops_dense: float
    flops_effective: float
    runs: Mapping[str, Runs]
    gaps: Mapping[str, Gaps]
    kernels: Mapping[str, KernelClusters]
    common_kernels: CommonKernels | None
    first_layer: Array | None
    graph: GraphMeasures | None


def topology(network: nn.Module, input_shape: Given = None) -> Topology:
    """Analyse one network.

    Args:
        network: Any network; left unchanged.
        input_shape: Shape of one sample, or a sample, as in `sparsity.graph.sample`; by default the network's own.

    Raises:
        SparsityError: If there is no layer, no input shape, a sample of that shape does not fit, or reachability is
            not defined, as in `effective_masks`. Multiply-adds that are not known are left out with a warning.
    """
    weights = layer_weights(network)
    counts = densities(network)
    connected = connectivity(network, input_shape)
    others = unmasked(network)
    costs = known_multiply_adds(network, input_shape)

    def multiply_adds(weights: Mapping[str, int]) -> float:
        return float("nan") if costs is None else costs.total({**weights, **others.weights})

    return Topology(
        weights=weights,
        densities=counts,
        unmasked=others,
        connectivity=connected,
        costs=costs,
        flops_dense=multiply_adds({name: layer.size for name, layer in counts.layers.items()}),
        flops_effective=multiply_adds({name: layer.kept for name, layer in counts.layers.items()}),
        runs={name: input_runs(weight) for name, weight in weights.items()},
        gaps={name: input_gaps(weight) for name, weight in weights.items()},
        kernels={name: kernel_clusters(weight) for name, weight in weights.items() if _has_kernels(weight)},
        common_kernels=_common_kernels(weights),
        first_layer=_first_layer(weights, shape_of(network, input_shape)),
        graph=graph_measures(network, weights, input_shape),
    )


def positive_shares(weight: Array) -> FloatArray:
    """The share of positive weights among the kept ones of each unit, `[units]`, in [0, 1]; NaN for empty units."""
    vectors = unit_vectors(weight)
    return _shares((vectors > 0).sum(axis=1), (vectors != 0).sum(axis=1))


def layer_table(topology: Topology) -> list[Row]:
    """One row per layer, and below one for each of the weights that no mask covers.

    Columns: `layer`, of an uncovered weight its full name; `masked`, False for weights that no mask covers; `units`;
    `kept`, `size`, `density`, `share` as in `LayerDensity`; `effective`, `effective_density`, `dead` (units) as in
    `LayerConnectivity`; `flops_dense` and `flops_effective` for one sample; `runs` of neighbouring kept inputs, their
    mean size `run_size` and `run_positive_share` as in `Runs`; the mean `gap` between kept inputs; `positive_share` of
    the kept weights; `kernel_score`, the mean cluster score of the
    kernels; of the layer's graph of units `in_degree` and `out_degree`, means with variance, maximum and Gini
    coefficient, `spectral_gap`, `weighted_spectral_gap`, `ramanujan` and `iterative_ramanujan` as in `Spectrum`. None
    where a number is not defined.
    """
    connected = layer_rows(topology.connectivity.layers)
    rows = [
        {
            "layer": counts["layer"],
            "masked": True,
            "units": len(topology.weights[name]),
            **counts,
            **connections,
            **_multiply_adds(
                topology, name, topology.densities.layers[name].kept, topology.densities.layers[name].size
            ),
            **_plain(_layer_numbers(topology, name)),
        }
        for name, counts, connections in zip(
            topology.weights, layer_rows(topology.densities.layers), connected, strict=True
        )
    ]
    nothing: Row = dict.fromkeys(rows[0])
    return rows + [
        {**nothing, "layer": name, "masked": False, "kept": size, "size": size, "density": 1.0}
        | _multiply_adds(topology, name, size, size)
        for name, size in topology.unmasked.weights.items()
    ]


def unit_table(topology: Topology) -> list[Row]:
    """One row per unit of every layer.

    Columns: `layer`, `unit`, `kept` weights, `no_input` and `no_output` as in `LayerConnectivity`, `positive_share`
    of the kept weights, `runs`, mean `gap`, `kernel_score`, the mean cluster score of a filter's kernels, and
    `path_share`, the share of all paths that runs through the unit's weights. None where a number is not defined.
    """
    rows = unit_rows(topology.connectivity.layers)
    columns = {
        "kept": [np.count_nonzero(unit_vectors(weight), axis=1) for weight in topology.weights.values()],
        "positive_share": [positive_shares(weight) for weight in topology.weights.values()],
        "runs": [runs.count for runs in topology.runs.values()],
        "gap": [gaps.mean for gaps in topology.gaps.values()],
        "kernel_score": [
            topology.kernels[name].score if name in topology.kernels else np.full(len(weight), np.nan)
            for name, weight in topology.weights.items()
        ],
        "path_share": _path_shares(topology),
    }
    numbers = {name: np.concatenate(layers).tolist() for name, layers in columns.items()}
    return [
        {**row, **_plain(dict(zip(numbers, values, strict=True)))}
        for row, values in zip(rows, zip(*numbers.values(), strict=True), strict=True)
    ]


def summary(topology: Topology) -> dict[str, Any]:
    """The numbers of the network as a whole, as plain values."""
    counts, connected = topology.densities, topology.connectivity
    return {
        "kept": counts.kept,
        "size": counts.size,
        "density": counts.density,
        "weights_dense": dict(topology.unmasked.weights),
        "density_all": topology.unmasked.density_of_all(counts.kept, counts.size),
        "effective": connected.effective,
        "effective_density": connected.effective_density,
        "units": sum(len(weight) for weight in topology.weights.values()),
        "dead": sum(layer.dead for layer in connected.layers.values()),
        "collapsed_layers": list(counts.collapsed),
        "disconnected_layers": list(connected.disconnected),
        **_plain({"flops_dense": topology.flops_dense, "flops_effective": topology.flops_effective}),
        **whole_numbers(topology.graph),
    }


def measures(topology: Topology) -> dict[str, float]:
    """Every number that `summary` and `layer_table` have, by name.

    Those of the network as in `summary`; of the masked layers `<column>, mean of layers`, of counts that `summary` does
    not have `<column>, sum of layers`, `<column>, lowest layer`, and `<column>/<layer>` for each. Numbers that are not
    defined are left out.
    """
    found: dict[str, float] = {name: float(value) for name, value in summary(topology).items() if _is_number(value)}
    rows = [row for row in layer_table(topology) if row["masked"]]
    for column in rows[0]:
        values = {str(row["layer"]): float(value) for row in rows if _is_number(value := row[column])}  # type: ignore[arg-type]
        if values:
            if not all(value is None or isinstance(value, int) for value in (row[column] for row in rows)):
                found[f"{column}, mean of layers"] = float(np.mean(list(values.values())))
            elif column not in found:
                found[f"{column}, sum of layers"] = sum(values.values())
            found[f"{column}, lowest layer"] = min(values.values())
            found |= {f"{column}/{layer}": value for layer, value in values.items()}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _multiply_adds(topology: Topology, weight: str, kept: int, size: int) -> Row:
    positions = None if topology.costs is None else topology.costs.positions[weight]
    return {
        "flops_dense": None if positions is None else round(size * positions),
        "flops_effective": None if positions is None else round(kept * positions),
    }


def _layer_numbers(topology: Topology, name: str) -> dict[str, float]:
    weight = topology.weights[name]
    runs, kernels = topology.runs[name], topology.kernels.get(name)
    return {
        "runs": int(runs.count.sum()),
        "run_size": runs.mean_size,
        "run_positive_share": runs.positive_share,
        "gap": topology.gaps[name].layer_mean,
        "positive_share": float(_shares(np.sum(weight > 0), np.count_nonzero(weight))),
        "kernel_score": kernels.mean_score if kernels else float("nan"),
        **layer_numbers(topology.graph, name),
    }


def _path_shares(topology: Topology) -> list[FloatArray]:
    paths = None if topology.graph is None else topology.graph.paths
    if paths is None:
        return [np.full(len(weight), np.nan) for weight in topology.weights.values()]
    return [paths.shares[name] for name in topology.weights]


def _plain(numbers: Mapping[str, float]) -> Row:
    return {name: None if np.isnan(value) else value for name, value in numbers.items()}


def _shares(part: Any, whole: Any) -> FloatArray:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole)
    shares: FloatArray = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares


def _has_kernels(weight: Array) -> bool:
    return weight.ndim == 4 and weight.shape[2] * weight.shape[3] > 1


def _common_kernels(weights: Weights) -> CommonKernels | None:
    kernels = Counter[tuple[int, int]]()
    for weight in filter(_has_kernels, weights.values()):
        kernels[weight.shape[2], weight.shape[3]] += weight.shape[0] * weight.shape[1]
    if not kernels:
        return None
    ((size, _),) = kernels.most_common(1)
    return common_kernels(weights.values(), size)


def _first_layer(weights: Weights, input_shape: Sequence[int]) -> Array | None:
    if len(input_shape) != 3:
        return None
    try:
        return first_layer_map(next(iter(weights.values())), input_shape)
    except SparsityError:  # the layer that is registered first is not the one that sees the images
        return None
