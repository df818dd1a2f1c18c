"""Image data sets as LightningDataModules: in memory, augmented in batches, resumable to the bit."""

from sparsity.datamodules.cifar import CIFAR10, CIFAR100
from sparsity.datamodules.digits import Digits
from sparsity.datamodules.images import ImageDataModule
from sparsity.datamodules.mnist import MNIST, FashionMNIST

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "Digits", "FashionMNIST", "ImageDataModule"]
