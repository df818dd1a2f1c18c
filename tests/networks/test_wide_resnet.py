from typing import Any

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.networks import WideResNet
from sparsity.networks.wide_resnet import PreActivationBlock


# The paper's table 4 gives 11.0 and 36.5 million for the wide ones.
@pytest.mark.parametrize(
    ("depth", "widen", "parameters"), [(22, 2, 1_079_642), (16, 8, 10_961_370), (28, 10, 36_479_194)]
)
def test_networks_of_the_paper_have_its_parameters(depth: int, widen: int, parameters: int) -> None:
    with torch.device("meta"):
        network = WideResNet(depth, widen)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_depth_counts_convolutions_shortcuts_that_change_shape_included() -> None:
    network = WideResNet(16, 2)
    # One at the front, four a segment on the way through and one on its shortcut: 1 + 3 * 5 = 16.
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 16
    assert [block.conv1.stride[0] for block in network.blocks] == [1, 1, 2, 1, 2, 1]


def test_images_become_logits() -> None:
    network = WideResNet(10, 1, input_shape=(1, 9, 9), num_classes=4)
    assert network.input_shape == (1, 9, 9)
    assert network(torch.zeros(2, 1, 9, 9)).shape == (2, 4)


def test_a_block_that_keeps_the_shape_adds_to_its_raw_input() -> None:
    block = PreActivationBlock(2, 2, stride=1).eval()
    x = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        block.conv2.weight.zero_()
    assert torch.equal(block(x), x)


def test_a_block_that_changes_the_shape_projects_its_normalised_positive_input() -> None:
    block = PreActivationBlock(1, 2, stride=2).eval()
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.bn1.running_mean.fill_(1)
        block.bn1.running_var.fill_(1)
        block.bn1.eps = 0.0
        block.shortcut.weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
    x = torch.tensor([[4.0, 9.0], [9.0, 9.0]]).view(1, 1, 2, 2)
    # (4 - 1) / 1 = 3, times 2 and -1.
    assert block(x).flatten().tolist() == [6, -3]
    assert block(-x).flatten().tolist() == [0, 0]


def test_dropout_works_in_training_alone() -> None:
    torch.manual_seed(0)
    network = WideResNet(10, 1, dropout=0.5)
    x = torch.rand(2, 3, 8, 8)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 20}, "6n"),
        ({"depth": 4}, "6n"),
        ({"widen": 0}, "positive sizes"),
        ({"dropout": 1.0}, r"a share in \[0, 1\), not 1.0"),
    ],
)
def test_what_makes_no_wide_resnet_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        WideResNet(**wrong)
