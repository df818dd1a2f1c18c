"""What a network's graphs say: degrees and spectra of every layer's, paths through all of them, and the whole one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from sparsity.analysis.topology.communities import WholeGraph, whole_graph
from sparsity.analysis.topology.paths import Paths, known_paths
from sparsity.analysis.topology.spectra import Spectrum, spectrum
from sparsity.analysis.topology.unit_degrees import Degrees, degrees, unit_matrix
from sparsity.graph.layers import analysed
from sparsity.graph.sample import Given
from sparsity.graph.weights import Weights
from sparsity.masks import Place


@dataclass(frozen=True, eq=False)
class GraphMeasures:
    """Of one network.

    Args:
        inputs: By layer, how many units before it each unit reads.
        outputs: By layer, by how many of its units each unit before it is read.
        spectra: By layer.
        paths: None if they are not known.
        whole: Of all units.
    """

    inputs: Mapping[str, Degrees]
    outputs: Mapping[str, Degrees]
    spectra: Mapping[str, Spectrum]
    paths: Paths | None
    whole: WholeGraph


def graph_measures(network: nn.Module, weights: Weights, input_shape: Given = None) -> GraphMeasures:
    """Look at all graphs of a network.

    Args:
        network: Any network; left unchanged.
        weights: Its effective weights.
        input_shape: As in `effective_masks`.

    Raises:
        SparsityError: As `whole_graph`. Paths that are not known are left out with a warning.
    """
    places = analysed(network)
    matrices = {name: unit_matrix(weight, _groups(places[name])) for name, weight in weights.items()}
    return GraphMeasures(
        inputs={name: degrees(np.count_nonzero(matrix, axis=1)) for name, matrix in matrices.items()},
        outputs={name: degrees(np.count_nonzero(matrix, axis=0)) for name, matrix in matrices.items()},
        spectra={name: spectrum(matrix) for name, matrix in matrices.items()},
        paths=known_paths(network, input_shape),
        whole=whole_graph(network, input_shape),
    )


def layer_numbers(found: GraphMeasures | None, layer: str) -> dict[str, float]:
    """The columns of one layer, NaN where nothing is known."""
    if found is None:
        return dict.fromkeys(_COLUMNS, float("nan"))
    inputs, outputs, of = found.inputs[layer], found.outputs[layer], found.spectra[layer]
    numbers = [
        inputs.mean, inputs.variance, inputs.largest, inputs.gini,
        outputs.mean, outputs.variance, outputs.largest, outputs.gini,
        of.gap, of.weighted_gap, of.ramanujan, of.iterative_ramanujan,
    ]  # fmt: skip
    return dict(zip(_COLUMNS, numbers, strict=True))


def whole_numbers(found: GraphMeasures | None) -> dict[str, Any]:
    """The numbers of a network as a whole; none of several networks together."""
    if found is None:
        return {}
    paths = found.paths
    return {
        "log10_paths": None if paths is None else paths.log10_count,
        "log10_path_norm_l1": None if paths is None else paths.log10_l1,
        "log10_path_norm_l2": None if paths is None else paths.log10_l2,
        **asdict(found.whole),
    }


_COLUMNS = (
    "in_degree", "in_degree_variance", "in_degree_max", "in_degree_gini",
    "out_degree", "out_degree_variance", "out_degree_max", "out_degree_gini",
    "spectral_gap", "weighted_spectral_gap", "ramanujan", "iterative_ramanujan",
)  # fmt: skip


def _groups(place: Place) -> int:
    groups = getattr(place.module, "groups", 1) if place.weight.ndim > 2 else 1
    return groups if isinstance(groups, int) else 1
