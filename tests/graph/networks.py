"""Networks that several tests of the graph read."""

from collections.abc import Callable
from functools import cache

import torch
import torchvision
from torch import Tensor, nn


class Calls(nn.Module):
    """A network that is one function of its input."""

    def __init__(self, function: object, **members: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)  # type: ignore[operator]


def last_step(kind: type[nn.RNNBase] = nn.LSTM) -> nn.Module:
    """A recurrent layer and a Linear that reads its last step."""
    layers = {"layer": kind(4, 5, batch_first=True), "head": nn.Linear(5, 3)}
    return Calls(lambda self, x: self.head(self.layer(x)[0][:, -1]), **layers)


def small_unet() -> nn.Module:
    """One step down, one step up by a transposed convolution, and a connection around both."""
    parts = {
        "enter": nn.Conv2d(3, 4, 3, padding=1),
        "down": nn.Conv2d(4, 6, 3, stride=2, padding=1),
        "up": nn.ConvTranspose2d(6, 4, 2, stride=2),
        "leave": nn.Conv2d(8, 2, 1),
    }

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        first = self.enter(x).relu()
        return self.leave(torch.cat([first, self.up(self.down(first).relu())], 1))

    return Calls(forward, **parts)


def grouped() -> nn.Module:
    """A grouped and a depthwise convolution, and a grouped transposed one."""
    layers = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)
    return nn.Sequential(*layers, nn.ConvTranspose2d(8, 6, 3, groups=2))


IMAGE = (1, 3, 64, 64)
IMAGE_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4]),
    "densenet121": torchvision.models.densenet121,
    "convnext_tiny": torchvision.models.convnext_tiny,
    "shufflenet": torchvision.models.shufflenet_v2_x0_5,
    "efficientnet_b0": torchvision.models.efficientnet_b0,
    "googlenet": lambda: torchvision.models.googlenet(aux_logits=False, init_weights=False),
    "small_unet": small_unet,
    "grouped": grouped,
}
"""Networks of images of 64 x 64, by name."""


@cache
def image_network(name: str) -> nn.Module:
    """One of them in evaluation mode, made once."""
    return IMAGE_NETWORKS[name]().eval()


def vision_transformer() -> nn.Module:
    """A small vision transformer of images of 32 x 32."""
    return torchvision.models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
