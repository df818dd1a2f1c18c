"""A small vision transformer (Dosovitskiy et al. 2021) for images as small as CIFAR's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights

_EMBEDDING_STD = 0.02
"""Of the class token and the position embedding at the start (Touvron et al. 2021)."""


class SelfAttention(nn.Module):
    """Attention of every token to all, in several heads (Vaswani et al. 2017, section 3.2).

    Args:
        dim: Features of a token.
        heads: Number of heads, a divisor of `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `[batch, tokens, dim]` to the same shape."""
        # [batch, tokens, 3 dim] -> three times [batch, heads, tokens, dim / heads]
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(attended)
        return out


class EncoderBlock(nn.Module):
    """Attention and a two-layer MLP with GELU, each after LayerNorm and with a shortcut around it.

    Args:
        dim: Features of a token.
        heads: Number of heads, a divisor of `dim`.
        mlp_dim: Hidden units of the MLP.
        dropout: Share of what attention and MLP give that is zeroed in training, in [0, 1).
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `[batch, tokens, dim]` to the same shape."""
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens)))
        hidden = F.gelu(self.fc1(self.norm2(tokens)))
        out: Tensor = tokens + self.dropout(self.fc2(hidden))
        return out


class ViT(nn.Module):
    """A vision transformer: patches of the image and a class token through encoder blocks, and one Linear.

    The defaults are those of ViT-Tiny (Touvron et al. 2021) with half its depth and patches of 4 pixels a side, 65
    tokens for CIFAR.

    Args:
        patch_size: Height and width of a patch, a divisor of the image's.
        dim: Features of a token.
        depth: Number of encoder blocks.
        heads: Number of heads of each attention, a divisor of `dim`.
        mlp_dim: Hidden units of each block's MLP.
        input_shape: `[channels, height, width]` of one image.
        num_classes: Number of outputs.
        init: How the weights start, see `initialise_weights`.
        dropout: Share of what attentions and MLPs give that is zeroed in training, in [0, 1).

    Raises:
        SparsityError: If a size is not positive, patches do not tile the image, heads do not divide the features, or
            the dropout is out of range.
    """

    def __init__(
        self,
        patch_size: int = 4,
        dim: int = 192,
        depth: int = 6,
        heads: int = 3,
        mlp_dim: int = 768,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        init: WeightInit = "standard",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sizes("a ViT", patch_size=patch_size, dim=dim, depth=depth, heads=heads, mlp_dim=mlp_dim,
                      input_shape=input_shape, num_classes=num_classes)  # fmt: skip
        channels, height, width = input_shape
        if height % patch_size or width % patch_size:
            raise SparsityError(f"patch_size={patch_size} does not divide the {height} x {width} pixels of the images")
        if dim % heads:
            raise SparsityError(f"heads={heads} does not divide dim={dim}; give a divisor")
        if not 0 <= dropout < 1:
            raise SparsityError(f"a ViT's dropout is a share in [0, 1), not {dropout}")
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        tokens = 1 + (height // patch_size) * (width // patch_size)
        self.patches = nn.Conv2d(channels, dim, patch_size, patch_size)
        self.class_token = nn.Parameter(_embedding(1, 1, dim))
        self.positions = nn.Parameter(_embedding(1, tokens, dim))
        self.blocks = nn.Sequential(*(EncoderBlock(dim, heads, mlp_dim, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, num_classes)
        initialise_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, *input_shape]` to logits `[batch, num_classes]`."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        # Not `len`, by which an exported graph would take one number of images for all.
        class_token = self.class_token.expand(images.shape[0], -1, -1)
        tokens = self.blocks(torch.cat([class_token, patches], dim=1) + self.positions)
        logits: Tensor = self.fc(self.norm(tokens[:, 0]))
        return logits


def _embedding(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=_EMBEDDING_STD)
