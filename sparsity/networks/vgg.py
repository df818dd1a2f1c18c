"""VGG networks for CIFAR (Simonyan and Zisserman 2015), with BatchNorm and one Linear, as in the pruning literature."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sparsity.errors import SparsityError, require_sizes
from sparsity.networks.initialisation import WeightInit, initialise_weights

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""By depth the convolutions of each segment; between segments the image is halved."""

_SMALLEST_IMAGE = 16
"""Pixels a side, that four halvings leave one of."""


class ConvModule(nn.Module):
    """A 3x3 convolution, BatchNorm and ReLU.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        bias: Whether the convolution has a bias, which BatchNorm takes away again.
    """

    def __init__(self, in_channels: int, channels: int, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, height, width]` to `[batch, channels, height, width]`."""
        return F.relu(self.bn(self.conv(x)))


class VGG(nn.Module):
    """A CIFAR VGG: five segments of convolutions with 1, 2, 4, 8 and 8 times `width` filters, and one Linear.

    The CIFAR version of Liu et al. 2019 and of Tanaka et al. 2020: max pooling between the segments, a mean over what
    is left of the image, and a single Linear instead of three. Layers have OpenLTH's and SynFlow's names.

    Args:
        depth: Number of layers of the ImageNet original, with its three Linear: 11, 13, 16 or 19.
        width: Filters of the first segment.
        input_shape: `[channels, height, width]` of one image, at least 16 pixels high and wide.
        num_classes: Number of outputs.
        init: How weights start, see `initialise_weights`.
        conv_bias: Whether convolutions have a bias, as in OpenLTH's; it does not change what can be computed.

    Raises:
        SparsityError: If there is no VGG of this depth, a size is not positive, or the image is too small.
    """

    def __init__(
        self,
        depth: int = 16,
        width: int = 64,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        init: WeightInit = "kaiming_normal",
        conv_bias: bool = False,
    ) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise SparsityError(f"a VGG has {', '.join(map(str, CONVOLUTIONS))} layers, not {depth}")
        require_sizes("a VGG", width=width, num_classes=num_classes, input_shape=input_shape)
        if min(input_shape[1:]) < _SMALLEST_IMAGE:
            raise SparsityError(
                f"a VGG halves its image four times and needs at least {_SMALLEST_IMAGE} x {_SMALLEST_IMAGE} pixels, "
                f"not input_shape={tuple(input_shape)}"
            )
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        in_channels = input_shape[0]
        for segment, count in enumerate(CONVOLUTIONS[depth]):
            if segment > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                channels = width * 2 ** min(segment, 3)
                layers.append(ConvModule(in_channels, channels, conv_bias))
                in_channels = channels
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(in_channels, num_classes)
        initialise_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[batch, *input_shape]` to logits `[batch, num_classes]`."""
        logits: Tensor = self.fc(self.layers(images).mean(dim=(2, 3)))
        return logits


class VGG11(VGG):
    """VGG-11.

    Args:
        kwargs: As for `VGG`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=11, **kwargs)


class VGG13(VGG):
    """VGG-13.

    Args:
        kwargs: As for `VGG`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=13, **kwargs)


class VGG16(VGG):
    """VGG-16, 14,715,584 maskable weights for CIFAR-10.

    Args:
        kwargs: As for `VGG`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=16, **kwargs)


class VGG19(VGG):
    """VGG-19.

    Args:
        kwargs: As for `VGG`, without `depth`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(depth=19, **kwargs)
