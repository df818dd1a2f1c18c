"""Paths from input to output: how many there are, path norms, and what share of them each unit carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from sparsity.analysis.topology.left_out import known
from sparsity.graph.layers import analysed, parameter_names, without_parametrisations
from sparsity.graph.linearised import linearised
from sparsity.graph.paths import path_sum
from sparsity.graph.sample import Given, trace_of
from sparsity.graph.scaled import ScaledRun
from sparsity.graph.weights import FloatArray, layer_masks


@dataclass(frozen=True, eq=False)
class Paths:
    """What lies between a network's input and its output.

    Args:
        log10_count: Logarithm to base 10 of the number of paths of kept weights; minus infinity if there is none.
        log10_l1: Of the l1 path norm, the sum over paths of the products of their weights' magnitudes.
        log10_l2: Of the l2 path norm, the root of the sum of those products' squares.
        shares: By layer name `[units]`, the share of all paths that runs through the weights of each unit, in [0, 1].
    """

    log10_count: float
    log10_l1: float
    log10_l2: float
    shares: Mapping[str, FloatArray]


def paths(network: nn.Module, input_shape: Given = None) -> Paths:
    """Count a network's paths and weigh them.

    Neyshabur et al. 2015, "Norm-Based Capacity Control in Neural Networks", for path norms; Gebhart et al. 2021 and
    Patil and Dovrolis 2021 for paths of sparse networks. Everything is a sum over the graph of the forward pass, in
    which activation functions are the identity and biases start nothing; a convolution's weight makes a path at each of
    its positions. Batch normalisation multiplies by its factor, and does not when paths are counted. An average over n
    places counts 1/n of what comes from each, and of a largest value the largest counts alone: of networks that have
    neither, `log10_count` is that of a whole number. Attention counts as an average over positions.

    Powers of two are kept apart, so that no number of layers over- or underflows.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `effective_masks`.

    Raises:
        SparsityError: If there is no layer, it cannot be traced, or what an operation does to paths is not known.
    """
    network = without_parametrisations(network)
    places, names, masks = analysed(network), parameter_names(network), layer_masks(network)
    kept = {names[p.weight]: p.from_units(torch.from_numpy(masks[name])) for name, p in places.items()}
    run = ScaledRun(linearised(trace_of(network, input_shape), torch.device("cpu")))
    count = path_sum(run, network, kept, 0, tuple(kept))
    l1, l2 = (path_sum(run, network, kept, power) for power in (1, 2))
    shares = {name: p.by_unit(count.shares[names[p.weight]]).flatten(1).sum(1).numpy() for name, p in places.items()}
    return Paths(count.log10, l1.log10, l2.log10 / 2, shares)


def known_paths(network: nn.Module, input_shape: Given = None) -> Paths | None:
    """As `paths`, or None and a warning that says why they are not known.

    Args:
        network: Any network; left unchanged.
        input_shape: As in `paths`.
    """
    return known("paths", partial(paths, network, input_shape))
