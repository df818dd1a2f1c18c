"""The topology of sparse networks: pure functions over weights, masks and activations.

Nothing here trains, prunes or plots. Functions take a network, or its effective weights as a map from layer name to
array (`layer_weights`), or one layer's array; results are small frozen dataclasses, which `to_dict`, `layer_rows` and
`unit_rows` turn into JSON and CSV.
"""

from sparsity.analysis.activations.correlation import ActivationCorrelation, LayerCorrelation, activation_correlation
from sparsity.analysis.activations.maps import ExcitingPatches, exciting_patches, feature_maps, first_layer_map
from sparsity.analysis.activations.responses import Point, responses
from sparsity.analysis.activations.similarity import (
    RepresentationSimilarity,
    Similarity,
    linear_cka,
    procrustes_similarity,
    rbf_cka,
    representation_similarity,
    svcca,
)
from sparsity.analysis.comparison.aligned import Alignment, align, apply
from sparsity.analysis.comparison.distance import layer_distance, network_distance, unit_distances
from sparsity.analysis.comparison.measures import MEASURES, DistanceMeasure, Measure
from sparsity.analysis.comparison.overlap import LayerOverlap, MaskOverlap, mask_overlap
from sparsity.analysis.comparison.prepared import Align
from sparsity.analysis.comparison.results import LayerDistance, NetworkDistance
from sparsity.analysis.landscape.curvature import (
    TraceEstimate,
    gradient_norm,
    hessian_eigenvalues,
    hessian_trace,
    sharpness,
)
from sparsity.analysis.landscape.curvature_summary import Curvature, curvature
from sparsity.analysis.landscape.trainability import Isometry, TangentKernel, isometry, tangent_kernel
from sparsity.analysis.records import layer_rows, to_dict, unit_rows
from sparsity.analysis.topology.communities import WholeGraph, communities, modularity, whole_graph
from sparsity.analysis.topology.connectivity import Connectivity, LayerConnectivity, connectivity, effective_masks
from sparsity.analysis.topology.density import Densities, LayerDensity, densities
from sparsity.analysis.topology.flops import MultiplyAdds, multiply_adds
from sparsity.analysis.topology.input_runs import Gaps, Runs, input_gaps, input_runs, kept_per_input, weight_positions
from sparsity.analysis.topology.kernels import CommonKernels, KernelClusters, common_kernels, kernel_clusters
from sparsity.analysis.topology.paths import Paths, paths
from sparsity.analysis.topology.spectra import Spectrum, spectrum
from sparsity.analysis.topology.unit_degrees import Degrees, degrees, gini, unit_matrix
from sparsity.graph.weights import Weights, layer_masks, layer_weights

__all__ = [
    "MEASURES",
    "ActivationCorrelation",
    "Align",
    "Alignment",
    "CommonKernels",
    "Connectivity",
    "Curvature",
    "Degrees",
    "Densities",
    "DistanceMeasure",
    "ExcitingPatches",
    "Gaps",
    "Isometry",
    "KernelClusters",
    "LayerConnectivity",
    "LayerCorrelation",
    "LayerDensity",
    "LayerDistance",
    "LayerOverlap",
    "MaskOverlap",
    "Measure",
    "MultiplyAdds",
    "NetworkDistance",
    "Paths",
    "Point",
    "RepresentationSimilarity",
    "Runs",
    "Similarity",
    "Spectrum",
    "TangentKernel",
    "TraceEstimate",
    "Weights",
    "WholeGraph",
    "activation_correlation",
    "align",
    "apply",
    "common_kernels",
    "communities",
    "connectivity",
    "curvature",
    "degrees",
    "densities",
    "effective_masks",
    "exciting_patches",
    "feature_maps",
    "first_layer_map",
    "gini",
    "gradient_norm",
    "hessian_eigenvalues",
    "hessian_trace",
    "input_gaps",
    "input_runs",
    "isometry",
    "kept_per_input",
    "kernel_clusters",
    "layer_distance",
    "layer_masks",
    "layer_rows",
    "layer_weights",
    "linear_cka",
    "mask_overlap",
    "modularity",
    "multiply_adds",
    "network_distance",
    "paths",
    "procrustes_similarity",
    "rbf_cka",
    "representation_similarity",
    "responses",
    "sharpness",
    "spectrum",
    "svcca",
    "tangent_kernel",
    "to_dict",
    "unit_distances",
    "unit_matrix",
    "unit_rows",
    "weight_positions",
    "whole_graph",
]
