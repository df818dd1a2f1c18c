import pytest
import torch

from sparsity.analysis.topology.network import layer_table, measures, summary, topology
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC


def test_measures_are_the_numbers_of_the_network_and_of_its_layers() -> None:
    torch.manual_seed(0)
    network = FC((6,), 3, depth=2, width=4)
    add_masks(network)
    # 6 of 24 weights, and 12 of 12.
    first = torch.zeros(4, 6, dtype=torch.bool)
    first[0] = True
    set_mask(network, {"fc1": first, "fc2": torch.ones(3, 4, dtype=torch.bool)})
    found = topology(network)
    numbers = measures(found)
    assert numbers["density"] == 18 / 36
    assert numbers["density/fc1"] == 0.25
    assert numbers["density, mean of layers"] == pytest.approx((0.25 + 1) / 2)
    assert numbers["density, lowest layer"] == 0.25
    assert numbers["runs, sum of layers"] == numbers["runs/fc1"] + numbers["runs/fc2"] == 1 + 3
    assert "kept, sum of layers" not in numbers  # is kept
    assert "collapsed_layers" not in numbers  # is a list
    assert "kernel_score/fc1" not in numbers  # is not defined
    assert "masked/fc1" not in numbers  # is no number
    whole = {name for name in numbers if name in summary(found)}
    assert {"effective_density", "dead", "flops_effective"} <= whole
    columns = set(layer_table(found)[0])
    assert {name.split("/")[0].split(",")[0] for name in numbers} <= columns | set(summary(found))
