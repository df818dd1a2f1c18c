import math
from typing import Any

import pytest
import torch
from torch import nn

from sparsity.errors import SparsityError
from sparsity.masks import add_masks, sizes
from sparsity.networks import ViT
from sparsity.networks.vit import SelfAttention


def small(**options: Any) -> ViT:
    return ViT(
        **{"dim": 6, "heads": 2, "depth": 2, "mlp_dim": 8, "input_shape": (1, 8, 8), "num_classes": 3, **options}
    )


def test_parameters_are_as_counted_by_hand() -> None:
    network = ViT()
    d, h, tokens = 192, 768, 8 * 8 + 1
    attention = 3 * (d * d + d) + d * d + d
    block = attention + (d * h + h) + (h * d + d) + 2 * 2 * d
    patches, embeddings, head = 3 * 4 * 4 * d + d, d + tokens * d, 2 * d + 10 * d + 10
    assert sum(p.numel() for p in network.parameters()) == 6 * block + patches + embeddings + head
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_every_linear_and_the_patches_can_be_masked() -> None:
    network = small(depth=1)
    add_masks(network)
    assert sizes(network) == {
        "patches": 6 * 16, "blocks.0.attention.qkv": 18 * 6, "blocks.0.attention.proj": 36, "blocks.0.fc1": 48,
        "blocks.0.fc2": 48, "fc": 18,
    }  # fmt: skip


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(6, 3), nn.MultiheadAttention(6, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    tokens = torch.randn(2, 5, 6)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


def test_attention_by_hand() -> None:
    attention = SelfAttention(1, 1)
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.tensor([[1.0], [1.0], [1.0]]))
        attention.qkv.bias.zero_()
        attention.proj.weight.fill_(2)
        attention.proj.bias.zero_()
    # Two tokens, 0 and 1: the first attends to both alike, the second with weights 1 : e.
    first, second = attention(torch.tensor([[[0.0], [1.0]]])).flatten().tolist()
    assert first == pytest.approx(2 * 0.5)
    assert second == pytest.approx(2 * math.e / (1 + math.e))


def test_the_place_of_a_patch_matters() -> None:
    network = small().eval()
    image = torch.rand(1, 1, 8, 8)
    assert not torch.allclose(network(image), network(image.flip(2).flip(3)), atol=1e-6)
    with torch.no_grad():
        network.positions.zero_()
    moved = image.roll(4, dims=2)  # patches change places
    torch.testing.assert_close(network(image), network(moved))


def test_it_can_be_exported() -> None:
    network = small().eval()
    images = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(network, (images,), strict=False).module()
    torch.testing.assert_close(exported(images), network(images))


def test_dropout_works_in_training_alone() -> None:
    network = small(dropout=0.5)
    images = torch.rand(2, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patch_size": 3}, "patch_size=3 does not divide the 8 x 8 pixels"),
        ({"heads": 4}, "heads=4 does not divide dim=6"),
        ({"depth": 0}, "positive sizes"),
        ({"dropout": -0.1}, r"a share in \[0, 1\), not -0.1"),
    ],
)
def test_what_makes_no_vit_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        small(**wrong)
