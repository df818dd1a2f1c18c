"""Published networks of the thesis evaluate as recorded, and keep the weights that were counted in them."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsity.interop import load_network
from sparsity.masks import density, kept, masked, masks, sizes
from sparsity.networks import FC, ResNet


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of images classified rightly."""
    network.eval().to(memory_format=torch.channels_last)  # half the time for convolutions
    images = images.contiguous(memory_format=torch.channels_last)
    predictions = torch.cat([network(batch).argmax(1) for batch in torch.split(images, 100)])
    return 100 * (predictions == labels).double().mean().item()


def published_file(folder: Path, stem: str) -> Path | None:
    return next((path for path in folder.glob(f"{stem}.pt*")), None)


def without_shortcuts(counts: dict[str, int]) -> list[int]:
    return [count for name, count in counts.items() if "shortcut" not in name]


def test_every_published_fc_network_evaluates_to_its_recorded_accuracy(
    reference: Path, mnist_test: tuple[Tensor, Tensor]
) -> None:
    checked = 0
    for row in csv.DictReader((reference / "golden" / "fc_mnist_test_accuracy.csv").read_text().splitlines()):
        label = "" if row["density_label"] in ("0", "100") else f"_{row['density_label']}"
        path = published_file(reference / "published" / "FC", f"{row['method']}{label}_{row['seed']}")
        if path is None:
            continue
        network = load_network(path)
        assert isinstance(network, FC)
        assert accuracy(network, *mnist_test) == pytest.approx(float(row["recorded_acc"]), abs=0.02), path.name
        assert density(network) == pytest.approx(float(row["effective_density"]), abs=1e-6), path.name
        assert density(load_network(path, mask="flag")) == pytest.approx(float(row["flag_density"]), abs=1e-6)
        checked += 1
    folder = reference / "published" / "FC"
    not_recorded = {"_init", "_before_finetune"}
    expected = [path for path in folder.iterdir() if not any(path.stem.endswith(ending) for ending in not_recorded)]
    assert checked == len(expected)


def test_every_published_resnet_evaluates_to_its_recorded_accuracy(
    reference: Path, cifar_test: tuple[Tensor, Tensor]
) -> None:
    for row in csv.DictReader((reference / "golden" / "resnet20_cifar10_accuracy.csv").read_text().splitlines()):
        path = published_file(reference / "published" / "ResNet20", row["network"])
        assert path is not None
        network = load_network(path)
        assert isinstance(network, ResNet)
        recorded = float(row["test_acc_on_reference_8000"])
        assert accuracy(network, *cifar_test) == pytest.approx(recorded, abs=0.05), path.name


def test_kept_weights_of_every_layer_are_those_counted_in_the_files(reference: Path) -> None:
    goldens = sorted((reference / "golden" / "networks").glob("*.json"))
    assert goldens
    for golden in goldens:
        facts = json.loads(golden.read_text())
        architecture, _, stem = golden.stem.partition("_")
        path = published_file(reference / "published" / architecture, stem)
        assert path is not None
        network = load_network(path)
        assert without_shortcuts(kept(network)) == facts["kept"], golden.name
        assert without_shortcuts(sizes(network)) == facts["size"], golden.name


def test_weights_off_the_mask_are_stored_as_zero_in_every_published_network(reference: Path) -> None:
    for path in (reference / "published").glob("*/*.pt*"):
        for name, place in masked(load_network(path)).items():
            assert (place.weight[~place.mask] == 0).all(), f"{path.name}: {name}"


def test_gem_miner_scores_before_finetuning_fold_to_the_mask_after_it(reference: Path) -> None:
    folder = reference / "published" / "FC"
    before = masks(load_network(folder / "gem_miner_10_21_before_finetune.pth"))
    after = masks(load_network(folder / "gem_miner_10_21.pth"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_initial_networks_are_dense_where_the_method_prunes_later(reference: Path) -> None:
    published = reference / "published"
    assert density(load_network(published / "FC" / "synflow_10_21_init.pt")) == 1
    assert density(load_network(published / "ResNet20" / "synflow_10_21_init.pt")) == 1
    assert density(load_network(published / "FC" / "gem_miner_10_21_init.pth", mask="flag")) == 1


def test_trained_shortcut_scales_are_applied_and_unit_ones_dropped(reference: Path) -> None:
    folder = reference / "published" / "ResNet20"
    gem_miner = load_network(folder / "gem_miner_10_21.pth").state_dict()
    published = torch.load(folder / "gem_miner_10_21.pth", weights_only=True, map_location="cpu")
    assert torch.equal(gem_miner["blocks.4.shortcut.weight"], published["layer2.1.shortcut.weight"])
    assert "blocks.4.shortcut.weight" not in load_network(folder / "synflow_10_21.pt").state_dict()
