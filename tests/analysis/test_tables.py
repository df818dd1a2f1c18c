"""Small tables: densities, mask overlap, FLOPs, and results as plain data."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from sparsity.analysis import (
    densities,
    input_runs,
    layer_masks,
    layer_rows,
    layer_weights,
    mask_overlap,
    multiply_adds,
    network_distance,
    to_dict,
    unit_rows,
)
from sparsity.analysis.records import PER_UNIT
from sparsity.errors import NonFiniteError, SparsityError
from sparsity.masks import add_masks, masks, set_mask, sizes
from sparsity.networks import FC, ResNet20


def test_effective_weights_are_copies_in_registration_order():
    network = FC((6,), 3, depth=3, width=4)
    add_masks(network, exclude=["fc3"])
    set_mask(network, {"fc1": torch.eye(4, 6, dtype=torch.bool)})
    weights = layer_weights(network)
    assert list(weights) == ["fc1", "fc2"]
    assert np.count_nonzero(weights["fc1"]) == 4
    weights["fc2"][:] = 0
    assert network.fc2.weight.all()
    assert list(layer_weights(FC((6,), 3, depth=3))) == ["fc1", "fc2", "fc3"]


def test_half_precision_weights_are_read_and_bad_ones_named():
    network = FC((6,), 3, depth=2, width=4).bfloat16()
    assert layer_weights(network)["fc1"].dtype == np.float32
    network.fc2.weight.data[0, 0] = torch.inf
    with pytest.raises(NonFiniteError, match="'fc2'"):
        layer_weights(network)
    with pytest.raises(SparsityError, match="no Linear, convolution, attention or recurrent layer"):
        layer_weights(nn.ReLU())


def test_densities_count_masks_and_not_weights_that_happen_to_be_zero():
    network = FC((6,), 3, depth=2, width=4)
    add_masks(network)
    set_mask(network, {"fc1": torch.zeros(4, 6, dtype=torch.bool)})
    network.fc2.weight.data.zero_()
    counted = densities(network)
    assert counted.kept == 12
    assert counted.density == 12 / 36
    assert counted.collapsed == ("fc1",)
    assert [layer.share for layer in counted.layers.values()] == [0, 1]
    assert densities(layer_weights(network)).kept == 0
    assert [mask.sum() for mask in layer_masks(network).values()] == [0, 12]


def test_overlap_of_masks_against_chance():
    rng = np.random.default_rng(0)
    a = {"x": rng.random((40, 50)) < 0.3, "y": np.ones((2, 3)), "z": np.zeros((2, 2))}
    b = {"x": rng.random((40, 50)) < 0.2, "y": np.ones((2, 3)), "z": np.zeros((2, 2))}
    found = mask_overlap(a, b)
    x = found.layers["x"]
    both, either = (a["x"] & b["x"]).sum(), (a["x"] | b["x"]).sum()
    assert x.intersection == both
    assert x.iou == both / either
    draws = [(rng.permutation(a["x"].ravel()) & b["x"].ravel()).sum() for _ in range(2000)]
    assert x.chance_intersection == pytest.approx(np.mean(draws), rel=0.01)
    assert x.z == pytest.approx((both - np.mean(draws)) / np.std(draws), abs=0.2)
    assert found.layers["y"].iou == found.layers["y"].chance_iou == found.layers["z"].iou == 1
    assert found.layers["y"].z == found.layers["z"].z == 0
    assert found.overall.intersection == both + 6
    assert mask_overlap(a, a).overall.iou == 1
    with pytest.raises(SparsityError, match="same layer shapes"):
        mask_overlap(a, {"x": a["x"]})


def test_multiply_adds_are_weights_times_positions():
    network = ResNet20()
    add_masks(network)
    costs = multiply_adds(network, (3, 32, 32))
    assert costs.positions["conv"] == 1024
    assert costs.positions["blocks.3.shortcut.0"] == 256
    assert costs.positions["fc"] == 1
    assert costs.total(sizes(network)) == 40_813_184
    grouped = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Flatten(), nn.Linear(8, 2), nn.Linear(2, 2)).train()
    costs = multiply_adds(grouped, (4, 3, 3))
    assert costs.total({"0": grouped[0].weight.numel()}) == 8 * 9
    assert grouped.training
    with pytest.raises(SparsityError, match="no output positions are given for layer 'head'"):
        costs.total({"head": 3})
    with pytest.raises(SparsityError, match="Sequential cannot be traced: "):
        multiply_adds(grouped, (5, 3, 3))


def test_layers_that_run_often_or_never_or_on_sequences_are_counted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.twice(self.twice(x))

    assert multiply_adds(Net(), (7, 3)).positions == {"twice": 14, "never": 0}


def test_results_are_json_and_rows():
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 4)) * (rng.random((4, 4)) < 0.3) for name in "ab"}
    distance = network_distance(weights, weights, "nnstd")
    assert json.loads(json.dumps(to_dict(distance), allow_nan=False))["layers"]["a"]["matching"] is not None
    assert layer_rows(distance.layers)[1] == {"layer": "b", "mean_matched": 0.0, "whole_layer": 0.0}
    runs = {name: input_runs(weight) for name, weight in weights.items()}
    assert [row["count"] for row in unit_rows(runs)] == [*runs["a"].count, *runs["b"].count]
    assert set(layer_rows(runs)[0]) == {"layer", "mean_size", "positive_share"}
    assert to_dict(densities(weights))["collapsed"] == []


def test_undefined_values_become_null():
    @dataclass(frozen=True)
    class Result:
        mean: float
        per_unit: np.ndarray = field(metadata=PER_UNIT)

    result = Result(float("nan"), np.array([1.0, np.nan]))
    assert to_dict(result) == {"mean": None, "per_unit": [1.0, None]}
    assert layer_rows({"a": result}) == [{"layer": "a", "mean": None}]
    assert unit_rows({"a": result})[1] == {"layer": "a", "unit": 1, "per_unit": None}


def test_masks_of_a_network_are_the_ones_it_has():
    network = FC((6,), 3, depth=2, width=4)
    add_masks(network)
    assert all(
        np.array_equal(ours, m.numpy())
        for ours, m in zip(layer_masks(network).values(), masks(network).values(), strict=True)
    )
