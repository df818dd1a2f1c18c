"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016)."""

from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights

_STEM = 16
"""Filters of the first convolution, whatever the width."""


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, and a shortcut around them (He et al. 2016b).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
        dropout: Share of the activations between the convolutions that are zeroed in training, in [0, 1).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.changes_shape = stride != 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if self.changes_shape else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, height, width]` to `[batch, channels, height / stride, width / stride]`."""
        activated = F.relu(self.bn1(x))
        residual = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(activated)))))
        out: Tensor = residual + self.shortcut(activated if self.changes_shape else x)
        return out


class WideResNet(nn.Module):
    """WRN-`depth`-`widen`: one convolution, three segments with 16, 32 and 64 times `widen` filters, one Linear.

    Args:
        depth: Number of layers, 6n + 4: three segments of n blocks with two convolutions each, and their shortcuts.
        widen: How many times as many filters as a thin ResNet.
        input_shape: `[channels, height, width]` of one image.
        num_classes: Number of outputs.
        init: How weights start, see `initialise_weights`.
        dropout: Share of the activations within a block that are zeroed in training, in [0, 1).

    Raises:
        SparsityError: If the depth is not 6n + 4, a size is not positive, or the dropout is out of range.
    """

    def __init__(
        self,
        depth: int = 22,
        widen: int = 2,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        init: WeightInit = "kaiming_normal",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise SparsityError(f"a WideResNet has 6n + 4 layers (10, 16, 22, 28, 40, ...), not {depth}")
        require_sizes("a WideResNet", widen=widen, num_classes=num_classes, input_shape=input_shape)
        if not 0 <= dropout < 1:
            raise SparsityError(f"a WideResNet's dropout is a share in [0, 1), not {dropout}")
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.conv = nn.Conv2d(input_shape[0], _STEM, 3, padding=1, bias=False)
        blocks = []
        in_channels = _STEM
        for segment in range(3):
            channels = 16 * widen * 2**segment
            for number in range((depth - 4) // 6):
                stride = 2 if segment > 0 and number == 0 else 1
                blocks.append(PreActivationBlock(in_channels, channels, stride, dropout))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)
        initialise_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, *input_shape]` to logits `[batch, num_classes]`."""
        out = F.relu(self.bn(self.blocks(self.conv(images))))
        logits: Tensor = self.fc(out.mean(dim=(2, 3)))
        return logits
