"""Residual networks for CIFAR (He et al. 2016): the thin ones of section 4.2, and the wide ResNet-18."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights

Shortcut = Literal["conv", "pad"]
"""What a shortcut does where the shape changes: a 1x1 convolution with BatchNorm (option B of He et al. 2016), or every
second pixel with channels of zeros around (option A), which has no weights."""


class ChannelScale(nn.Module):
    """A trained factor per channel, as the identity shortcuts of some published networks have it.

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale `[batch, channels, height, width]` channel by channel."""
        return x * self.weight


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, between channels of zeros: the shortcut without weights (He et al. 2016, option A).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output, at least as many; half of the new ones come before the old, half after.
        stride: Step between the pixels that stay.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        before = (channels - in_channels) // 2
        self.padding = (0, 0, 0, 0, before, channels - in_channels - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, height, width]` to `[batch, channels, height / stride, width / stride]`."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        affine: Whether BatchNorm has a trained weight and bias.
        shortcut_scale: Whether an identity shortcut has a trained factor per channel.
        shortcut: What the shortcut does where the shape changes, see `Shortcut`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        affine: bool = True,
        shortcut_scale: bool = False,
        shortcut: Shortcut = "conv",
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, affine=affine)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, affine=affine)
        self.shortcut: nn.Module = nn.Identity()
        changes_shape = stride != 1 or in_channels != channels
        if changes_shape and shortcut == "pad":
            self.shortcut = PaddedShortcut(in_channels, channels, stride)
        elif changes_shape:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels, affine=affine)
            )
        elif shortcut_scale:
            self.shortcut = ChannelScale(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, height, width]` to `[batch, channels, height / stride, width / stride]`."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A CIFAR ResNet: one convolution, segments of blocks with 1, 2, 4, ... times `width` filters, one Linear.

    Args:
        depth: Number of layers, 6n + 2: three segments of n blocks with two convolutions each.
        width: Filters of the first segment.
        input_shape: `[channels, height, width]` of one image.
        num_classes: Number of outputs.
        init: How weights start, see `initialise_weights`.
        affine: Whether BatchNorm has a trained weight and bias.
        output_bias: Whether the output layer has a bias.
        shortcut_scale: Whether identity shortcuts have a trained factor per channel.
        shortcut: What shortcuts do where the shape changes, at the first block of every segment but the first:
            a 1x1 convolution (`conv`), or take every second pixel and pad with channels of zeros (`pad`).
        blocks: Blocks of each segment; instead of `depth`.

    Raises:
        SparsityError: If neither or both of `depth` and `blocks` are given, the depth is not 6n + 2, a size is not
            positive, or there is no such shortcut.
    """

    def __init__(
        self,
        depth: int | None = None,
        width: int = 16,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        init: WeightInit = "kaiming_normal",
        affine: bool = True,
        output_bias: bool = True,
        shortcut_scale: bool = False,
        shortcut: Shortcut = "conv",
        blocks: list[int] | None = None,
    ) -> None:
        super().__init__()
        blocks = _blocks_per_segment(depth, blocks)
        require_sizes("a ResNet", width=width, num_classes=num_classes, input_shape=input_shape, blocks=blocks)
        if shortcut not in get_args(Shortcut):
            raise SparsityError(f"a ResNet's shortcut is one of {', '.join(get_args(Shortcut))}, not {shortcut!r}")
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.conv = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width, affine=affine)
        layers = []
        in_channels = width
        for segment, count in enumerate(blocks):
            channels = width * 2**segment
            for number in range(count):
                stride = 2 if segment > 0 and number == 0 else 1
                layers.append(BasicBlock(in_channels, channels, stride, affine, shortcut_scale, shortcut))
                in_channels = channels
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(in_channels, num_classes, bias=output_bias)
        initialise_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, *input_shape]` to logits `[batch, num_classes]`."""
        out = F.relu(self.bn(self.conv(images)))
        out = self.blocks(out)
        logits: Tensor = self.fc(out.mean(dim=(2, 3)))
        return logits


def _blocks_per_segment(depth: int | None, blocks: list[int] | None) -> list[int]:
    if depth is None and blocks is not None:
        return blocks
    if depth is None or blocks is not None:
        raise SparsityError(f"a ResNet takes depth or blocks, one of them, not depth={depth} and blocks={blocks}")
    if depth < 8 or depth % 6 != 2:
        raise SparsityError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, 26, 32, ...), not {depth}")
    return [(depth - 2) // 6] * 3


class ResNet18(ResNet):
    """The wide ResNet with 18 layers, as for ImageNet but for a 3x3 stem without pooling; 11,173,962 parameters.

    Four segments of two blocks with 64 to 512 filters (He et al. 2016, table 1), as the pruning literature trains it
    on CIFAR-10.

    Args:
        width: Filters of the first segment.
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, width: int = 64, **kwargs: Any) -> None:
        super().__init__(depth=None, width=width, blocks=[2, 2, 2, 2], **kwargs)


class ResNet20(ResNet):
    """ResNet with 20 layers, 270,896 maskable weights for CIFAR-10.

    Args:
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=20, blocks=None, **kwargs)


class ResNet32(ResNet):
    """ResNet with 32 layers.

    Args:
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=32, blocks=None, **kwargs)


class ResNet44(ResNet):
    """ResNet with 44 layers.

    Args:
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=44, blocks=None, **kwargs)


class ResNet56(ResNet):
    """ResNet with 56 layers.

    Args:
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=56, blocks=None, **kwargs)


class ResNet110(ResNet):
    """ResNet with 110 layers.

    Args:
        kwargs: As for `ResNet`, without `depth` and `blocks`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=110, blocks=None, **kwargs)
