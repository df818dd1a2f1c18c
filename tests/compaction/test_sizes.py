"""What a network and its compact form cost."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sparsity.compaction.sizes import multiply_adds_of_all, real_size
from sparsity.networks import FC, ResNet20


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
