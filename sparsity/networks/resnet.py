"""Residual networks for CIFAR (He et al. 2016, section 4.2), with 1x1 convolutions in shortcuts that change shape."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights


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


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        affine: Whether BatchNorm has a trained weight and bias.
        shortcut_scale: Whether an identity shortcut has a trained factor per channel.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, affine: bool = True, shortcut_scale: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, affine=affine)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, affine=affine)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
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
    """A CIFAR ResNet: one convolution, three segments of blocks with 1, 2 and 4 times `width` filters, one Linear.

    Args:
        depth: Number of layers, 6n + 2.
        width: Filters of the first segment.
        input_shape: `[channels, height, width]` of one image.
        num_classes: Number of outputs.
        init: How weights start, see `initialise_weights`.
        affine: Whether BatchNorm has a trained weight and bias.
        output_bias: Whether the output layer has a bias.
        shortcut_scale: Whether identity shortcuts have a trained factor per channel.

    Raises:
        SparsityError: If the depth is not 6n + 2, or a size is not positive.
    """

    def __init__(
        self,
        depth: int,
        width: int = 16,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        init: WeightInit = "kaiming_normal",
        affine: bool = True,
        output_bias: bool = True,
        shortcut_scale: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise SparsityError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, 26, 32, ...), not {depth}")
        require_sizes("a ResNet", width=width, num_classes=num_classes, input_shape=input_shape)
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.conv = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width, affine=affine)
        blocks = []
        in_channels = width
        for segment in range(3):
            channels = width * 2**segment
            for number in range((depth - 2) // 6):
                stride = 2 if segment > 0 and number == 0 else 1
                blocks.append(BasicBlock(in_channels, channels, stride, affine, shortcut_scale))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(in_channels, num_classes, bias=output_bias)
        initialise_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, *input_shape]` to logits `[batch, num_classes]`."""
        out = F.relu(self.bn(self.conv(images)))
        out = self.blocks(out)
        logits: Tensor = self.fc(out.mean(dim=(2, 3)))
        return logits


class ResNet20(ResNet):
    """ResNet with 20 layers, 270,896 maskable weights for CIFAR-10.

    Args:
        kwargs: As for `ResNet`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=20, **kwargs)


class ResNet32(ResNet):
    """ResNet with 32 layers.

    Args:
        kwargs: As for `ResNet`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=32, **kwargs)


class ResNet44(ResNet):
    """ResNet with 44 layers.

    Args:
        kwargs: As for `ResNet`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=44, **kwargs)


class ResNet56(ResNet):
    """ResNet with 56 layers.

    Args:
        kwargs: As for `ResNet`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=56, **kwargs)


class ResNet110(ResNet):
    """ResNet with 110 layers.

    Args:
        kwargs: As for `ResNet`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=110, **kwargs)
