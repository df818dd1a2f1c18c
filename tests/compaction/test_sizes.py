"""What a network and its compact form cost."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sparsity.compaction.compact import compact
from sparsity.compaction.sizes import multiply_adds_of_all, real_size
from sparsity.errors import SparsityError
from sparsity.masks import maskable
from sparsity.networks import FC, ResNet20
from tests.networks_of_strangers import NETWORKS


def test_parameters_and_multiply_adds_of_both_are_counted_with_their_zeros() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        network[2].weight[:, 1] = 0
        network[0].weight[0, 0] = 0
    found = real_size(network, (4,))
    assert (found.dense.parameters, found.dense.multiply_adds) == (15 + 8, 12 + 6)
    assert (found.compact.parameters, found.compact.multiply_adds) == (10 + 6, 8 + 4)
    assert found.dense.seconds > 0 < found.compact.seconds


def test_multiply_adds_are_those_of_torchs_counter() -> None:
    for network in (FC(), ResNet20(width=4)):
        with FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, *network.input_shape))
        assert 2 * multiply_adds_of_all(network) == counter.get_total_flops()


@pytest.mark.parametrize("network", [*NETWORKS, "ResNet"])
def test_counting_by_the_dense_network_is_counting_on_the_compact_ones_own_graph(network: str) -> None:
    made = ResNet20(width=4) if network == "ResNet" else NETWORKS[network]()
    with torch.no_grad():
        for place in maskable(made).values():
            if place.stored is not None:
                place.stored[::2] = 0
    try:
        smaller = compact(made).network
    except SparsityError:
        with pytest.raises(SparsityError):
            real_size(made)
        return
    found = real_size(made)
    assert found.dense.multiply_adds == multiply_adds_of_all(made)
    assert found.compact.multiply_adds == multiply_adds_of_all(smaller)
