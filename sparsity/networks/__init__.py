"""Plain networks without masks inside."""

from sparsity.networks.fc import FC
from sparsity.networks.resnet import ResNet, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110

__all__ = ["FC", "ResNet", "ResNet20", "ResNet32", "ResNet44", "ResNet56", "ResNet110"]
