"""The networks of other programs, built again in small; no tests here."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def with_statistics(network: nn.Module) -> nn.Module:
    """Give BatchNorm the weights and statistics of a network that was trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
    return network.eval()


def binary(*shape: int) -> Tensor:
    return (torch.rand(shape) < 0.6).int()


@torch.no_grad()
def masked_by(network: nn.Module, masks_by_name: dict[str, Tensor]) -> nn.Module:
    for name, mask in masks_by_name.items():
        network.get_parameter(name).mul_(mask)
    return network


class LeNet(nn.Module):
    """As OpenLTH's `mnist_lenet`."""

    def __init__(self, *plan: int) -> None:
        super().__init__()
        sizes = [16, *plan]
        self.fc_layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, plan, strict=False))
        self.fc = nn.Linear(sizes[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.fc_layers:
            x = F.relu(layer(x))
        return self.fc(x)


class Block(nn.Module):
    """As in OpenLTH's and akamaster's ResNets."""

    def __init__(self, before: int, channels: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.channels, self.pads = channels, stride != 1 and option == "A"
        self.shortcut = nn.Sequential()
        if stride != 1 and option == "B":
            self.shortcut = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        quarter = self.channels // 4
        if self.pads:
            return F.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter), "constant", 0))
        return F.relu(out + self.shortcut(x))


class OpenLTHResNet(nn.Module):
    """As OpenLTH's `cifar_resnet`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        plan = [(4, 4, 1), (4, 4, 1), (4, 8, 2), (8, 8, 1), (8, 16, 2), (16, 16, 1)]
        self.blocks = nn.Sequential(*(Block(*sizes, "B") for sizes in plan))
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.avg_pool2d(out, out.shape[3]).flatten(1))


class OpenLTHModule(nn.Module):
    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class OpenLTHVGG(nn.Module):
    """As OpenLTH's `cifar_vgg_11`, of a 32nd of its width."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for filters in (2, 0, 4, 0, 8, 8, 0, 16, 16, 0, 16, 16):
            layers.append(OpenLTHModule(before, filters) if filters else nn.MaxPool2d(2, 2))
            before = filters or before
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.AvgPool2d(2)(self.layers(x)).flatten(1))


class SegmentResNet(nn.Module):
    """As akamaster's `resnet`, and with four segments and option B as kuangliu's `ResNet18`."""

    def __init__(self, option: str = "A", segments: int = 3, blocks: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        before, self.names = 4, [f"layer{number + 1}" for number in range(segments)]
        for number, name in enumerate(self.names):
            channels = 4 * 2**number
            first = Block(before, channels, 2 if number else 1, option)
            rest = [Block(channels, channels, 1, option) for _ in range(blocks - 1)]
            setattr(self, name, nn.Sequential(first, *rest))
            before = channels
        self.linear = nn.Linear(before, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        for name in self.names:
            out = getattr(self, name)(out)
        return self.linear(F.avg_pool2d(out, out.shape[3]).flatten(1))
