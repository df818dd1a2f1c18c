"""The topology of sparse networks: pure functions over weights, masks and activations.

Nothing here trains, prunes or plots. Functions take a network, or its effective weights as a map from layer name to
array (`layer_weights`), or one layer's array; results are small frozen dataclasses, which `to_dict`, `layer_rows` and
`unit_rows` turn into JSON and CSV.
"""

from sparsity.analysis.connectivity import Connectivity, LayerConnectivity, connectivity, effective_masks
from sparsity.analysis.correlation import ActivationCorrelation, LayerCorrelation, activation_correlation
from sparsity.analysis.density import Densities, LayerDensity, densities
from sparsity.analysis.distance import Align, LayerDistance, NetworkDistance, layer_distance, network_distance
from sparsity.analysis.flops import flops, output_positions
from sparsity.analysis.kernels import CommonKernels, KernelClusters, common_kernels, kernel_clusters
from sparsity.analysis.maps import ExcitingPatches, exciting_patches, feature_maps, first_layer_map
from sparsity.analysis.overlap import LayerOverlap, MaskOverlap, mask_overlap
from sparsity.analysis.records import layer_rows, to_dict, unit_rows
from sparsity.analysis.responses import Point, responses
from sparsity.analysis.runs import Gaps, Runs, input_gaps, input_runs, kept_per_input, weight_positions
from sparsity.analysis.unit_distance import Measure, unit_distances
from sparsity.analysis.weights import Weights, layer_masks, layer_weights

__all__ = [
    "ActivationCorrelation",
    "Align",
    "CommonKernels",
    "Connectivity",
    "Densities",
    "ExcitingPatches",
    "Gaps",
    "KernelClusters",
    "LayerConnectivity",
    "LayerCorrelation",
    "LayerDensity",
    "LayerDistance",
    "LayerOverlap",
    "MaskOverlap",
    "Measure",
    "NetworkDistance",
    "Point",
    "Runs",
    "Weights",
    "activation_correlation",
    "common_kernels",
    "connectivity",
    "densities",
    "effective_masks",
    "exciting_patches",
    "feature_maps",
    "first_layer_map",
    "flops",
    "input_gaps",
    "input_runs",
    "kept_per_input",
    "kernel_clusters",
    "layer_distance",
    "layer_masks",
    "layer_rows",
    "layer_weights",
    "mask_overlap",
    "network_distance",
    "output_positions",
    "responses",
    "to_dict",
    "unit_distances",
    "unit_rows",
    "weight_positions",
]
