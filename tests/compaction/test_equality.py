"""What every pruner leaves of every kind of network is made smaller, written and read back, and computes the same."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torchvision
from torch import nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from sparsity.callbacks import (
    LAMP,
    SET,
    SNIP,
    Clustered,
    EdgePopup,
    GemMiner,
    GradualMagnitude,
    GraSP,
    IterativeMagnitude,
    Magnitude,
    PruningCallback,
    Random,
    RigL,
    SynFlow,
)
from sparsity.classifier import SparseClassifier
from sparsity.compaction import compact
from sparsity.compaction.export import read_back, write_network
from sparsity.compaction.outputs import deviation, random_batches
from sparsity.errors import SparsityError
from sparsity.graph.sample import sample_of
from sparsity.masks import density, remove_masks
from sparsity.networks import FC, VGG, ResNet20, ViT

PRUNERS: dict[str, Callable[[float], PruningCallback]] = {
    "Random": Random,
    "Clustered": Clustered,
    "Magnitude": Magnitude,
    "LAMP": LAMP,
    "SNIP": partial(SNIP, samples_per_class=2),
    "GraSP": partial(GraSP, samples_per_class=2),
    "SynFlow": partial(SynFlow, iterations=5),
    "GemMiner": partial(GemMiner, search_epochs=2, min_kept=1),
    "EdgePopup": EdgePopup,
    "IterativeMagnitude": partial(IterativeMagnitude, rounds=2),
    "GradualMagnitude": partial(GradualMagnitude, interval=2),
    "SET": partial(SET, interval=2),
    "RigL": partial(RigL, interval=2),
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "FC": (FC, (1, 28, 28)),
    "LeNet-300-100": (lambda: FC(widths=[300, 100]), (1, 28, 28)),
    "ResNet-20": (lambda: ResNet20(width=8), (3, 32, 32)),
    "VGG": (lambda: VGG(depth=11, width=8), (3, 32, 32)),
    "MobileNetV2": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=10), (3, 32, 32)),
    "ViT": (lambda: ViT(dim=24, depth=2, heads=3, mlp_dim=48), (3, 32, 32)),
}
DENSITIES = (0.1, 0.05, 0.02, 0.01)

ALL = list(itertools.product(PRUNERS, NETWORKS, DENSITIES))
FEW = [("SynFlow", name, 0.05) for name in NETWORKS if name != "MobileNetV2"] + [
    ("SNIP", "FC", 0.01),
    ("GemMiner", "ResNet-20", 0.02),
]


def trained(pruner: str, name: str, kept: float) -> nn.Module:
    """After a few steps, so that no bias, shift or statistic is where it started."""
    make, shape = NETWORKS[name]
    module = SparseClassifier(make(), optimizer=partial(Adam, lr=0.01))
    images, labels = torch.randn((40, *shape)), torch.arange(40) % 10
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PRUNERS[pruner](kept)],
    )
    trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size=20))
    return module.network.eval()


def assert_exported_equal(pruner: str, name: str, kept: float, folder: Path) -> None:
    torch.manual_seed(0)
    network = trained(pruner, name, kept)
    assert density(network) == pytest.approx(kept, rel=0.05)
    remove_masks(network)
    shape = NETWORKS[name][1]
    found = compact(network, shape)
    sample = sample_of(network, shape)
    batches = list(itertools.islice(random_batches(sample), 2)) + list(random_batches(sample))[-1:]
    assert found.deviation <= 1e-9
    assert deviation(network, found.network, batches) <= 1e-5
    for format in ("pytorch", "safetensors"):
        write_network(found.network, network, sample, format, folder)
        back = read_back(folder, format, network)
        saved = back.state_dict()
        assert all(torch.equal(tensor, saved[key]) for key, tensor in found.network.state_dict().items())
        assert deviation(network, back, batches) <= 1e-5
    assert sum(layer.units for layer in compact(back, shape).layers.values()) == sum(
        layer.units for layer in found.layers.values()
    )  # nothing more is found in what was written


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("pruner", "name", "kept"), FEW)
def test_a_few(pruner: str, name: str, kept: float, tmp_path: Path) -> None:
    assert_exported_equal(pruner, name, kept, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("pruner", "name", "kept"), ALL)
def test_all(pruner: str, name: str, kept: float, tmp_path: Path) -> None:
    try:
        assert_exported_equal(pruner, name, kept, tmp_path)
    except SparsityError as error:  # of the pruner, for a network or density that it has nothing for
        pytest.skip(str(error))
