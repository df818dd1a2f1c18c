import math

import pytest
import torch
from torch import nn

from sparsity.networks import FC
from sparsity.networks.initialisation import initialise_weights, signed_constant


def test_signed_constant_keeps_signs_of_the_standard_draw() -> None:
    torch.manual_seed(3)
    standard = FC(init="standard")
    torch.manual_seed(3)
    constant = FC(init="signed_constant")
    weight = constant.fc2.weight
    assert torch.equal(weight.sign(), standard.fc2.weight.sign())
    assert torch.allclose(weight.abs(), torch.tensor(math.sqrt(2 / 100)))


def test_fan_in_of_a_convolution_counts_its_kernel() -> None:
    weight = signed_constant(nn.Conv2d(3, 4, 5).weight)
    assert torch.allclose(weight.abs(), torch.tensor(math.sqrt(2 / 75)))


def test_fan_in_of_a_transposed_convolution_counts_what_a_unit_reads() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2))
    initialise_weights(network, "signed_constant")
    assert torch.allclose(network[0].weight.abs(), torch.tensor(math.sqrt(2 / (2 * 9))))


@pytest.mark.parametrize("init", ["kaiming_normal", "kaiming_uniform"])
def test_kaiming_weights_have_variance_two_over_fan_in(init: str) -> None:
    network = nn.Sequential(nn.Linear(400, 500))
    initialise_weights(network, init)  # type: ignore[arg-type]
    assert network[0].weight.var().item() == pytest.approx(2 / 400, rel=0.02)
    bounded = bool(network[0].weight.abs().max() <= math.sqrt(6 / 400))
    assert bounded == (init == "kaiming_uniform")
