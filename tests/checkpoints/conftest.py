"""The reference folder with published networks and real images, for those who have it."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

Images = tuple[Tensor, Tensor]


@pytest.fixture(scope="session")
def mnist_test(reference: Path) -> Images:
    """MNIST's 10,000 test images, normalised as the thesis did."""
    folder = reference / "data" / "MNIST" / "raw"
    pixels = np.fromfile(folder / "t10k-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 1, 28, 28)
    labels = np.fromfile(folder / "t10k-labels-idx1-ubyte", np.uint8, offset=8)
    return (torch.from_numpy(pixels) / 255 - 0.1307) / 0.3081, torch.from_numpy(labels).long()


@pytest.fixture(scope="session")
def cifar_test(reference: Path) -> Images:
    """8,000 of CIFAR-10's test images, normalised as the thesis did."""
    pytest.importorskip("numpy._core", reason="the file was pickled by numpy 2")
    with (reference / "data" / "cifar-10-batches-py" / "test_batch").open("rb") as file:
        batch = pickle.load(file, encoding="latin1")
    pixels = torch.from_numpy(np.asarray(batch["data"])).view(-1, 3, 32, 32) / 255
    mean = torch.tensor([0.491, 0.482, 0.447]).view(3, 1, 1)
    std = torch.tensor([0.247, 0.243, 0.262]).view(3, 1, 1)
    return (pixels - mean) / std, torch.tensor(batch["labels"])
