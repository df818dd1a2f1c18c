"""Plain networks without masks inside."""

from sparsity.networks.fc import FC
from sparsity.networks.resnet import ResNet, ResNet18, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110
from sparsity.networks.vgg import VGG, VGG11, VGG13, VGG16, VGG19
from sparsity.networks.vit import ViT
from sparsity.networks.wide_resnet import WideResNet

__all__ = ["FC", "VGG", "VGG11", "VGG13", "VGG16", "VGG19", "ResNet", "ResNet18", "ResNet20", "ResNet32", "ResNet44",
           "ResNet56", "ResNet110", "ViT", "WideResNet"]  # fmt: skip
