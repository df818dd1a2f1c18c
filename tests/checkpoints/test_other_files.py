"""Files that others write: pruned by torch's own utilities, as safetensors, or with a module around the network."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm

from sparsity.checkpoints.starting import load_weights
from sparsity.errors import SparsityError
from sparsity.interop import load_masks, load_network
from sparsity.masks import add_masks, masks
from sparsity.networks import FC, VGG11, ResNet20
from tests.checkpoints.foreign_networks import OpenLTHVGG, SegmentResNet, binary, masked_by, with_statistics

Build = Callable[[], nn.Module]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


PRUNED_BY_TORCH: dict[str, tuple[Build, tuple[int, ...]]] = {
    "our FC": (lambda: FC((1, 4, 4), 3, depth=3, width=5), (1, 4, 4)),
    "our ResNet": (lambda: with_statistics(ResNet20(width=2)), (3, 8, 8)),
    "our VGG": (lambda: with_statistics(VGG11(width=2)), (3, 16, 16)),
    "an MLP as SynFlow names it": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)),
        (1, 4, 4),
    ),
    "akamaster's ResNet": (lambda: with_statistics(SegmentResNet()), (3, 16, 16)),
}


@pytest.mark.parametrize("name", PRUNED_BY_TORCH)
def test_networks_that_torch_pruned_compute_the_same_with_its_masks(name: str, tmp_path: Path) -> None:
    build, shape = PRUNED_BY_TORCH[name]
    theirs = build().eval()
    drawn = []
    for layer in [module for module in theirs.modules() if isinstance(module, nn.Linear | nn.Conv2d)]:
        drawn.append(binary(*layer.weight.shape))
        prune.custom_from_mask(layer, "weight", drawn[-1])
    torch.save(theirs.state_dict(), tmp_path / "pruned.pt")
    network = load_network(tmp_path / "pruned.pt").eval()
    images = torch.randn(3, *shape)
    torch.testing.assert_close(network(images), theirs(images), atol=1e-6, rtol=1e-6)
    # A shortcut is registered after the convolutions around which it goes, there and here.
    for mask, expected in zip(masks(network).values(), drawn, strict=True):
        assert torch.equal(mask, expected.bool())


def test_biases_and_norms_that_torch_pruned_are_multiplied_in(tmp_path: Path) -> None:
    theirs = with_statistics(OpenLTHVGG())
    prune.random_unstructured(theirs.get_submodule("fc"), "bias", 2)
    prune.random_unstructured(theirs.get_submodule("fc"), "weight", 5)
    prune.random_unstructured(theirs.get_submodule("layers.0.bn"), "weight", 1)
    torch.save(theirs.state_dict(), tmp_path / "pruned.pt")
    network = load_network(tmp_path / "pruned.pt").eval()
    assert list(masks(network)) == ["fc"]
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(images), theirs(images), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((5, 16), 0.5), "is damaged: fc1.weight_mask is no mask"),
        (torch.ones(2), r"is damaged: the mask fc1.weight_mask is shaped \[2\], and fc1.weight_orig \[5, 16\]"),
    ],
)
def test_a_mask_of_torchs_that_does_not_fit_is_refused(mask: Tensor, message: str, tmp_path: Path) -> None:
    state = FC((1, 4, 4), 3, depth=2, width=5).state_dict()
    state = {"fc1.weight_orig": state.pop("fc1.weight"), "fc1.weight_mask": mask, **state}
    torch.save(state, tmp_path / "pruned.pt")
    with pytest.raises(SparsityError, match=message):
        load_network(tmp_path / "pruned.pt")


def test_weights_that_a_parametrisation_has_yet_to_make_are_refused(tmp_path: Path) -> None:
    network = FC((1, 4, 4), 3, depth=2, width=5)
    sparsifier = WeightNormSparsifier(sparsity_level=0.5)
    sparsifier.prepare(network, [{"tensor_fqn": "fc1.weight"}])
    sparsifier.step()
    torch.save(network.state_dict(), tmp_path / "prepared.pt")
    expected = r"prepared.pt was saved with a parametrisation on it \(fc1.parametrizations.weight.original\)"
    plain = FC((1, 4, 4), 3, depth=2, width=5)
    for read in (load_network, lambda path: load_network(path, network=plain), lambda path: load_weights(plain, path)):
        with pytest.raises(SparsityError, match=expected):
            read(tmp_path / "prepared.pt")
    sparsifier.squash_mask()
    torch.save(network.state_dict(), tmp_path / "squashed.pt")
    with pytest.warns(match="has zeros and no masks"):
        found = masks(load_network(tmp_path / "squashed.pt"))
    assert torch.equal(found["fc1"], network.get_parameter("fc1.weight") != 0)


def test_a_network_that_is_parametrised_itself_is_read(tmp_path: Path) -> None:
    def parametrised() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), spectral_norm(nn.Linear(3, 2)))

    saved = parametrised()
    torch.save(saved.state_dict(), tmp_path / "own.pt")
    fresh = parametrised()
    add_masks(fresh, exclude=["1"])
    load_weights(fresh, tmp_path / "own.pt")
    name = "1.parametrizations.weight.original"
    assert torch.equal(fresh.get_parameter(name), saved.get_parameter(name))


def masked_fc() -> nn.Module:
    network = FC((1, 4, 4), 3, widths=[7, 5])
    add_masks(network)
    for mask in masks(network).values():
        mask.copy_(binary(*mask.shape))
    return masked_by(network, {f"{name}.weight": mask for name, mask in masks(network).items()})


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
@pytest.mark.parametrize("prefix", ["", "network.", "model."])
def test_safetensors_files_are_read_with_masks_of_any_dtype(dtype: torch.dtype, prefix: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    ours = masked_fc()
    state = {f"{prefix}{key}": t.to(dtype) if key.endswith("mask") else t for key, t in ours.state_dict().items()}
    safetensors.save_file(state, tmp_path / "network.safetensors", metadata={"format": "pt"})
    network = load_network(tmp_path / "network.safetensors")
    assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in network.state_dict().items())
    assert masks(network).keys() == masks(ours).keys()


def test_safetensors_files_that_are_none_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    torch.save(masked_fc().state_dict(), tmp_path / "network.safetensors")
    with pytest.raises(SparsityError, match="is damaged, holds more than tensors and plain values, or is something"):
        load_network(tmp_path / "network.safetensors")
    with pytest.raises(SparsityError, match="there is no file"):
        load_network(tmp_path / "none.safetensors")


def test_without_safetensors_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(SparsityError, match=r"is not installed; run pip install safetensors$"):
        load_network(tmp_path / "network.safetensors")


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "module.", "module.model."])
def test_what_wraps_a_network_of_another_lightning_module_is_left_out_and_said(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = masked_fc()
    state = {f"{prefix}{key}": tensor for key, tensor in ours.state_dict().items()}
    content = {"state_dict": state, "pytorch-lightning_version": "2.6.1", "hyper_parameters": {"lr": 0.1}}
    torch.save(content, tmp_path / "other.ckpt")
    with caplog.at_level(logging.INFO):
        network = load_network(tmp_path / "other.ckpt")
    assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in network.state_dict().items())
    assert f"other.ckpt: all names start with '{prefix}', which is left out" in caplog.text


def test_a_prefix_that_only_some_tensors_have_stays(tmp_path: Path) -> None:
    state = {f"model.{key}": tensor for key, tensor in masked_fc().state_dict().items()}
    torch.save({"state_dict": state | {"criterion.weight": torch.ones(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(SparsityError, match=r"its keys \(model.fc1.weight"):
        load_network(tmp_path / "other.ckpt")


class Wrapper(nn.Module):
    """A network whose own names start with a wrapper's."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def test_a_prefix_that_the_network_itself_has_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved, fresh = Wrapper(nn.Sequential(nn.Linear(4, 3))), Wrapper(nn.Sequential(nn.Linear(4, 3)))
    for network in (saved, fresh):
        add_masks(network)
    torch.save(saved.state_dict(), tmp_path / "own.pt")
    load_weights(fresh, tmp_path / "own.pt")
    assert torch.equal(fresh.get_parameter("model.0.weight"), saved.get_parameter("model.0.weight"))
    assert load_masks(tmp_path / "own.pt", fresh).keys() == {"model.0"}
    assert not caplog.text
