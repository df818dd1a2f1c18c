"""Whatever an analysis does, and whatever is raised meanwhile, the network and the random states are as before."""

import inspect
import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import sparsity.analysis
from sparsity.analysis import Alignment, connectivity, densities
from sparsity.analysis.comparison.networks import comparable_groups, compare, require_alignable, require_comparable
from sparsity.analysis.topology.network import topology
from sparsity.errors import SparsityError
from tests.networks_of_strangers import NETWORKS

PUBLIC = [getattr(sparsity.analysis, name) for name in sparsity.analysis.__all__]
OF_A_NETWORK = {
    f.__name__: f
    for f in [*PUBLIC, compare, comparable_groups, require_alignable, require_comparable, topology]
    if inspect.isfunction(f)
    and "nn.Module" in str(inspect.get_annotations(f)).replace("torch.nn.modules.module.", "nn.")
}


OF_DERIVATIVES = {
    "curvature", "gradient_norm", "hessian_eigenvalues", "hessian_trace", "isometry", "sharpness", "tangent_kernel",
}  # fmt: skip
"""They need no single layer's answers."""


def picture(network: nn.Module) -> list[object]:
    """Everything that must not change; tensors as their identity and a copy."""
    named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    tensors = [(name, id(tensor), tensor.dtype, tensor.detach().tolist()) for name, tensor in named]
    gradients = [(id(p.grad), p.requires_grad) for p in network.parameters()]
    modules = [
        (m.training, {name: len(value) if "hooks" in name else id(value) for name, value in vars(m).items()})
        for m in network.modules()
    ]
    numpy_state = np.random.get_state()  # noqa: NPY002
    states = random.getstate(), [*numpy_state[:1], numpy_state[1].tolist(), *numpy_state[2:]]
    return [tensors, gradients, modules, states, torch.get_rng_state().tolist()]


def arguments(function: Callable[..., Any], network: nn.Module) -> dict[str, Any]:
    known: dict[str, Any] = {
        "network": network, "network_a": network, "network_b": network, "a": network, "b": network,
        "networks": {"one": network, "other": network}, "images": torch.rand(3, *network.input_shape),
        "layer": next((n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)), ""),
        "labels": torch.tensor([0, 1, 1]), "input_shape": network.input_shape,
        "measure": "sasd", "align": "propagate", "point": "post", "alignment": Alignment((), (), 1.0, 1.0),
    }  # fmt: skip
    return {name: known[name] for name in inspect.signature(function).parameters if name in known}


def test_the_functions_that_take_a_network_are_found() -> None:
    expected = {"connectivity", "densities", "effective_masks", "responses", "multiply_adds", "topology", "compare"}
    assert expected <= OF_A_NETWORK.keys()
    assert not {"layer_distance", "to_dict"} & OF_A_NETWORK.keys()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", OF_A_NETWORK)
def test_an_analysis_leaves_a_network_and_the_random_states_as_they_were(name: str, kind: str, training: bool) -> None:
    network = NETWORKS[kind]().train(training)
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    given = arguments(OF_A_NETWORK[name], network)
    before = picture(network)
    with suppress(SparsityError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of multiply-adds that are not known
        OF_A_NETWORK[name](**given)
    assert picture(network) == before


@pytest.mark.parametrize("kind", ["chain", "shared layer", "weight norm", "frozen", "tied linears", "counting"])
@pytest.mark.parametrize("name", sorted(OF_A_NETWORK.keys() - {"exciting_patches"}))
def test_shared_tied_parametrised_and_frozen_layers_are_analysed(name: str, kind: str) -> None:
    network = NETWORKS[kind]()
    given = arguments(OF_A_NETWORK[name], network)
    if kind in ("tied linears", "counting") and "align" in given:
        given["align"] = "independent"  # they are not chains
    if kind == "tied linears" and "images" in given and name not in OF_DERIVATIVES | {"align"}:
        with pytest.raises(SparsityError, match=r"layers 'layers.0' and 'layers.2' share one weight"):
            OF_A_NETWORK[name](**given)
    elif kind == "weight norm" and name == "apply":
        with pytest.raises(SparsityError, match="remove_parametrizations"):
            OF_A_NETWORK[name](**given)
    else:
        OF_A_NETWORK[name](**given)


def test_connectivity_counts_a_shared_weight_at_each_of_its_layers() -> None:
    network = NETWORKS["tied linears"]()
    network.layers[0].weight.data[1] = 0  # unit 1 of both layers, and by the second reading its weights of it
    found = connectivity(network, (6,))
    assert [layer.no_input.tolist().index(True) for layer in found.layers.values()] == [1, 1]
    assert [layer.effective for layer in found.layers.values()] == [30, 30]


def test_connectivity_sees_through_a_parametrised_layer() -> None:
    found = connectivity(NETWORKS["weight norm"](), (6,))
    assert found.effective_density == 1
    assert [layer.dead for layer in found.layers.values()] == [0, 0, 0]


def test_a_weight_that_is_made_anew_in_every_pass_is_refused() -> None:
    network = NETWORKS["chain"]()
    prune.identity(network.layers[0], "weight")
    with pytest.raises(SparsityError, match=r"layer 'layers.0' computes its weight anew in every pass"):
        connectivity(network, (6,))
    with pytest.raises(SparsityError, match="the network itself has no weights before its first pass"):
        densities(nn.LazyLinear(3))
