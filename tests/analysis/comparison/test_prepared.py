"""Of each network that is compared everything is read once, however many pairs it is in."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import sparsity.graph.architecture
import sparsity.graph.weights
from sparsity.analysis import activation_correlation, mask_overlap, network_distance
from sparsity.analysis.comparison import prepared
from sparsity.analysis.comparison.networks import compare
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC

IMAGES = 70
BATCHES = 3  # of at most 32


@pytest.fixture
def networks() -> dict[str, FC]:
    found = {}
    for k in range(9):
        network = FC((6,), 3, depth=3, width=5).eval()
        add_masks(network)
        set_mask(network, {name: torch.rand(mask.shape) < 0.6 for name, mask in masks(network).items()})
        found[f"net {k}"] = network
    return found


@pytest.fixture
def calls(networks: dict[str, FC], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted = Counter[str]()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*arguments, **options)

        return called

    weights = sparsity.graph.weights
    monkeypatch.setattr(weights, "layer_weights", counting("weights read", weights.layer_weights))
    monkeypatch.setattr(prepared, "layer_masks", counting("masks read", prepared.layer_masks))
    graphs = sparsity.graph.architecture
    monkeypatch.setattr(graphs, "trace", counting("traces", graphs.trace))
    monkeypatch.setattr(graphs, "_traces", OrderedDict())
    monkeypatch.setattr(prepared, "outgoing_signatures", counting("descriptions", prepared.outgoing_signatures))
    for network in networks.values():
        network.register_forward_hook(lambda *_: counted.update(["forward passes"]))
    return counted


def test_nine_networks_are_read_traced_and_run_nine_times(networks: dict[str, FC], calls: Counter[str]) -> None:
    found = compare(networks, torch.randn(IMAGES, 6), align="propagate")
    assert len(found.pairs) == 36
    # The hook that counts is another one in each network, so that each is traced, which runs it once.
    passes = 9 * BATCHES + 9
    assert calls == {"weights read": 9, "masks read": 9, "traces": 9, "descriptions": 9, "forward passes": passes}


def test_networks_of_one_architecture_are_traced_once(networks: dict[str, FC], calls: Counter[str]) -> None:
    for network in networks.values():
        network._forward_hooks.clear()
    compare(networks, align="propagate")
    assert calls["traces"] == 1


def test_what_is_not_asked_for_is_not_read(networks: dict[str, FC], calls: Counter[str]) -> None:
    compare(networks)
    assert calls == {"weights read": 9, "masks read": 9}


@pytest.mark.parametrize("align", ["independent", "propagate"])
def test_networks_together_are_compared_as_each_two_alone(networks: dict[str, FC], align: Any) -> None:
    images = torch.randn(IMAGES, 6)
    together = compare(networks, images, align)
    for pair, (a, b) in zip(together.pairs, combinations(networks.values(), 2), strict=True):
        assert pair.overlap == mask_overlap(a, b)
        for measure, distance in pair.distances.items():
            assert distance.mean == network_distance(a, b, measure, align).mean
        assert pair.correlation is not None
        alone = activation_correlation(a, b, images)
        for name, layer in alone.layers.items():
            np.testing.assert_array_equal(pair.correlation.layers[name].correlation, layer.correlation)


def test_an_alignment_that_is_not_there_is_refused(networks: dict[str, FC]) -> None:
    with pytest.raises(SparsityError, match="there is no alignment called 'sideways'; there are independent"):
        compare(networks, align="sideways")  # type: ignore[arg-type]
