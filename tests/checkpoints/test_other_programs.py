"""Networks of other programs, built again in small, compute here what they compute there, with the same masks."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsity.checkpoints.starting import load_weights
from sparsity.errors import SparsityError
from sparsity.interop import load_masks, load_network, save_checkpoint
from sparsity.masks import add_masks, masks
from sparsity.networks import FC, VGG, ResNet, ResNet18, ResNet20
from tests.checkpoints.foreign_networks import (
    LeNet,
    OpenLTHResNet,
    OpenLTHVGG,
    SegmentResNet,
    binary,
    masked_by,
    with_statistics,
)  # fmt: skip

Build = Callable[[], nn.Module]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


OPEN_LTH: dict[str, tuple[Build, type[nn.Module], tuple[int, ...]]] = {
    "lenet": (lambda: LeNet(30, 10), FC, (1, 4, 4)),
    "lenet of one width": (lambda: LeNet(5, 5, 5), FC, (1, 4, 4)),
    "resnet": (OpenLTHResNet, ResNet, (3, 16, 16)),
    "vgg": (OpenLTHVGG, VGG, (3, 32, 32)),
}


def maskable_weights(network: nn.Module) -> dict[str, Tensor]:
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return {f"{name}.weight": layer.weight for name, layer in layers.items()}


def write_open_lth(network: nn.Module, folder: Path) -> dict[str, Tensor]:
    """Save a model with weights that the last step moved away from zero, and its masks beside it."""
    drawn = {name: binary(*weight.shape) for name, weight in maskable_weights(network).items()}
    torch.save(network.state_dict(), folder / "model_ep160_it0.pth")
    torch.save(drawn, folder / "mask.pth")
    return drawn


@pytest.mark.parametrize("name", OPEN_LTH)
def test_open_lths_networks_compute_the_same_with_the_masks_beside_them(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build, ours, shape = OPEN_LTH[name]
    theirs = with_statistics(build())
    drawn = write_open_lth(theirs, tmp_path)
    with caplog.at_level(logging.INFO):
        network = load_network(tmp_path / "model_ep160_it0.pth").eval()
    assert isinstance(network, ours)
    images = torch.randn(4, *shape)
    torch.testing.assert_close(network(images), masked_by(theirs, drawn)(images), atol=1e-6, rtol=1e-6)
    # Layers are registered in the same order there and here.
    for found, expected in zip(masks(network).values(), drawn.values(), strict=True):
        assert torch.equal(found, expected.bool())
    assert f"{tmp_path / 'model_ep160_it0.pth'}: the masks are those in mask.pth beside it" in caplog.text


@pytest.mark.parametrize("name", OPEN_LTH)
def test_open_lths_networks_are_dense_without_masks_beside_them(name: str, tmp_path: Path) -> None:
    build, _, shape = OPEN_LTH[name]
    theirs = with_statistics(build())
    torch.save(theirs.state_dict(), tmp_path / "model_ep0_it0.pth")
    network = load_network(tmp_path / "model_ep0_it0.pth").eval()
    assert all(mask.all() for mask in masks(network).values())
    images = torch.randn(4, *shape)
    torch.testing.assert_close(network(images), theirs(images), atol=1e-6, rtol=1e-6)


def test_a_converted_open_lth_network_is_the_same(tmp_path: Path) -> None:
    write_open_lth(with_statistics(OpenLTHVGG()), tmp_path)
    network = load_network(tmp_path / "model_ep160_it0.pth").eval()
    save_checkpoint(network, tmp_path / "ours.ckpt")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_network(tmp_path / "ours.ckpt").eval()(images), network(images))


def test_masks_beside_a_file_of_another_name_are_nobodys(tmp_path: Path) -> None:
    network = LeNet(5)
    write_open_lth(network, tmp_path)
    torch.save(network.state_dict(), tmp_path / "network.pth")
    assert all(mask.all() for mask in masks(load_network(tmp_path / "network.pth")).values())


def test_masks_alone_are_not_taken_for_weights(tmp_path: Path) -> None:
    network = LeNet(30, 10)
    drawn = write_open_lth(network, tmp_path)
    torch.save({name: mask.int() for name, mask in drawn.items()}, tmp_path / "mask.pth")
    refused = "fc1.weight.* is torch.int32, which weights are not; of masks in a file of their own, give the file"
    with pytest.raises(SparsityError, match=refused):
        load_network(tmp_path / "mask.pth")
    ours = FC((1, 4, 4), 3, widths=[30, 10])
    add_masks(ours)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    named = {f"fc{number}.weight": mask.int() for number, mask in enumerate(drawn.values(), 1)}
    torch.save({**ours.state_dict(), **named}, tmp_path / "masks.pt")
    with pytest.raises(SparsityError, match=refused):
        load_weights(ours, tmp_path / "masks.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


def test_open_lths_masks_and_weights_start_a_network_of_ours(tmp_path: Path) -> None:
    drawn = write_open_lth(LeNet(30, 10), tmp_path)
    network = FC((1, 4, 4), 3, bias="all", widths=[30, 10])
    add_masks(network)
    expected = dict(zip(["fc1", "fc2", "fc3"], drawn.values(), strict=True))
    for name, mask in load_masks(tmp_path / "model_ep160_it0.pth", network).items():
        assert torch.equal(mask, expected[name].bool())
    load_weights(network, tmp_path / "model_ep160_it0.pth")
    same = load_network(tmp_path / "model_ep160_it0.pth").state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "mask.pth holds no masks by the names of weights"),
        ({"fc.weight": 1}, "mask.pth holds no masks by the names of weights"),
        ({"conv.weight": torch.ones(2)}, "mask.pth has a mask for 'conv.weight', which .* does not have; give files"),
        ({"fc.weight": torch.ones(2)}, r"mask.pth does not fit .*: the mask fc.weight is shaped \[2\]"),
        ({"fc.weight": torch.full((3, 5), 0.5)}, "mask.pth does not fit .*: fc.weight is no mask: it has values other"),
    ],
)
def test_a_mask_file_that_does_not_fit_is_named(content: object, message: str, tmp_path: Path) -> None:
    torch.save(LeNet(5).state_dict(), tmp_path / "model_ep0_it0.pth")
    torch.save(content, tmp_path / "mask.pth")
    with pytest.raises(SparsityError, match=message):
        load_network(tmp_path / "model_ep0_it0.pth")


def test_a_damaged_mask_file_is_named(tmp_path: Path) -> None:
    torch.save(LeNet(5).state_dict(), tmp_path / "model_ep0_it0.pth")
    (tmp_path / "mask.pth").write_bytes(b"no archive")
    with pytest.raises(SparsityError, match=r"mask\.pth is damaged.*as OpenLTH saves them"):
        load_network(tmp_path / "model_ep0_it0.pth")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("option", ["A", "B"])
def test_akamasters_resnets_compute_the_same_with_either_shortcut(option: str, wrapped: bool, tmp_path: Path) -> None:
    theirs = with_statistics(SegmentResNet(option))
    state = {f"{'module.' if wrapped else ''}{key}": tensor for key, tensor in theirs.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "resnet14.th")
    network = load_network(tmp_path / "resnet14.th").eval()
    assert isinstance(network, ResNet)
    assert ("blocks.2.shortcut.0.weight" in network.state_dict()) == (option == "B")
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(network(images), theirs(images), atol=1e-6, rtol=1e-6)


def test_a_file_from_before_batchnorm_counted_its_batches_is_read(tmp_path: Path) -> None:
    theirs = with_statistics(SegmentResNet(blocks=3))
    old = {key: tensor for key, tensor in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "resnet20.th")
    network = ResNet20(width=4, num_classes=3, shortcut="pad")
    add_masks(network)
    network.get_buffer("blocks.0.bn1.num_batches_tracked").fill_(7)
    load_weights(network, tmp_path / "resnet20.th")
    images = torch.randn(2, 3, 16, 16)
    for loaded in (network, load_network(tmp_path / "resnet20.th")):
        torch.testing.assert_close(loaded.eval()(images), theirs(images), atol=1e-6, rtol=1e-6)
        assert loaded.get_buffer("blocks.0.bn1.num_batches_tracked") == 0


def test_a_resnet18_of_four_segments_computes_the_same(tmp_path: Path) -> None:
    theirs = with_statistics(SegmentResNet("B", segments=4))
    torch.save({"net": 1, "state_dict": theirs.state_dict()}, tmp_path / "resnet18.pth")
    network = load_network(tmp_path / "resnet18.pth").eval()
    assert network.state_dict().keys() - {f"{name}.weight_mask" for name in masks(network)} == (
        ResNet18(width=4, num_classes=3).state_dict().keys()
    )
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(network(images), theirs(images), atol=1e-6, rtol=1e-6)


def test_akamasters_weights_start_a_network_with_padded_shortcuts(tmp_path: Path) -> None:
    theirs = with_statistics(SegmentResNet(blocks=3))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "resnet20.th")
    network = ResNet20(width=4, num_classes=3, shortcut="pad")
    add_masks(network)
    load_weights(network, tmp_path / "resnet20.th")
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network.eval()(images), theirs(images), atol=1e-6, rtol=1e-6)


def test_a_block_that_is_missing_is_named(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in SegmentResNet().state_dict().items() if key != "layer2.1.bn1.running_mean"}
    torch.save(state, tmp_path / "resnet14.th")
    with pytest.raises(SparsityError, match=r"'blocks\.3\.bn1\.running_mean', which the ResNet needs, is missing"):
        load_network(tmp_path / "resnet14.th")


def test_synflows_vgg_computes_the_same_with_masks_everywhere(tmp_path: Path) -> None:
    theirs = with_statistics(OpenLTHVGG())
    state = theirs.state_dict()
    drawn = {name: binary(*parameter.shape).float() for name, parameter in theirs.named_parameters()}
    torch.save(state | {f"{name}_mask": mask for name, mask in drawn.items()}, tmp_path / "model.pt")
    network = load_network(tmp_path / "model.pt").eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images), masked_by(theirs, drawn)(images), atol=1e-6, rtol=1e-6)
    assert all(torch.equal(mask, drawn[f"{name}.weight"].bool()) for name, mask in masks(network).items())
