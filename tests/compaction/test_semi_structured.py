import pytest
import torch
from torch import nn

from sparsity.compaction.semi_structured import to_semi_structured
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, masks, set_mask
from sparsity.pruning.pattern import Pattern, selector
from sparsity.pruning.saliency import magnitude_saliency


def two_of_four() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
    add_masks(network)
    count = sum(m.numel() for m in masks(network).values()) // 2
    choose = selector(Pattern.parse("2:4"), network)
    set_mask(network, choose(magnitude_saliency(network), count, masks(network), 0).masks)
    return network


def test_a_network_on_no_card_is_refused_in_one_sentence_and_left_as_it_was() -> None:
    network = two_of_four()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(SparsityError, match=r"^semi-structured weights need a CUDA card, and the network is on cpu; "):
        to_semi_structured(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_without_masked_linear_layers_is_refused() -> None:
    for network in (nn.Sequential(nn.Linear(8, 8)), nn.Sequential(nn.Conv2d(4, 4, 1))):
        if isinstance(network[0], nn.Conv2d):
            add_masks(network)
        with pytest.raises(SparsityError, match="no Linear layer with a mask; prune it with pattern 2:4"):
            to_semi_structured(network)


@pytest.fixture
def _sparse_tensor_cores() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a card with sparse tensor cores")


@pytest.mark.gpu
@pytest.mark.usefixtures("_sparse_tensor_cores")
def test_converted_layers_compute_what_they_did() -> None:
    network = two_of_four().cuda().half()
    images = torch.randn(128, 128, device="cuda", dtype=torch.float16)
    with torch.no_grad():
        expected = network(images)
        assert to_semi_structured(network) == ["0", "2"]  # ten rows are too few
        assert torch.allclose(network(images), expected, atol=2e-2)
    assert list(masks(network)) == ["4"]


@pytest.mark.gpu
@pytest.mark.usefixtures("_sparse_tensor_cores")
def test_what_cannot_be_converted_is_refused_on_a_card() -> None:
    with pytest.raises(SparsityError, match=r"no layer can be converted: 0 is torch\.float32; convert the network"):
        to_semi_structured(two_of_four().cuda())
    dense = nn.Sequential(nn.Linear(128, 128)).cuda().half()
    add_masks(dense)
    with pytest.raises(SparsityError, match="no layer can be converted: 0 is not 2:4 sparse"):
        to_semi_structured(dense)
