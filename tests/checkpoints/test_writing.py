"""Our own checkpoints survive a round trip; whatever is no checkpoint is refused without running it."""

import pickle
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sparsity.classifier import SparseClassifier
from sparsity.errors import SparsityError
from sparsity.interop import load_network, save_checkpoint
from sparsity.masks import add_masks, masks, set_mask
from sparsity.networks import FC, VGG13, ResNet, ResNet18, ResNet20, ViT, WideResNet

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "default FC": lambda: FC(),
    "flat FC": lambda: FC(input_shape=(7,), num_classes=2, depth=1, bias="all"),
    "FC without bias": lambda: FC(input_shape=(2, 3, 3), depth=3, width=4, bias="none"),
    "ResNet-20": lambda: ResNet20(width=2),
    "ResNet-8 with every option": lambda: ResNet(
        8, 3, (1, 9, 9), 4, affine=False, output_bias=False, shortcut_scale=True, shortcut="pad"
    ),
    "LeNet": lambda: FC(widths=[30, 10], bias="all"),
    "ResNet-18": lambda: ResNet18(width=2),
    "ResNet of two segments": lambda: ResNet(blocks=[1, 2], width=2, input_shape=(1, 8, 8)),
    "ResNet of one segment": lambda: ResNet(blocks=[2], width=2),
    "WRN-10-1": lambda: WideResNet(10, 1, (1, 9, 9), 4),
    "WRN-16-2": lambda: WideResNet(16, 2),
    "ViT": lambda: ViT(dim=12, depth=2, heads=3, mlp_dim=20, patch_size=8, num_classes=4),
    "VGG-13": lambda: VGG13(width=2, input_shape=(1, 16, 16), num_classes=4, conv_bias=True),
}


def half_masked(network: nn.Module) -> nn.Module:
    add_masks(network)
    set_mask(network, {name: torch.rand(mask.shape) < 0.5 for name, mask in masks(network).items()})
    return network


def assert_same(a: nn.Module, b: nn.Module) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_is_loaded_with_its_weights_masks_and_input_shape(name: str, tmp_path: Path) -> None:
    network: Any = half_masked(NETWORKS[name]())
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    save_checkpoint(network, tmp_path / "run.ckpt")
    loaded: Any = load_network(tmp_path / "run.ckpt")
    assert_same(network, loaded)
    assert loaded.input_shape == network.input_shape
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "ViT"])  # whose heads leave no trace
def test_a_checkpoint_without_hyper_parameters_is_understood_from_its_shapes(name: str, tmp_path: Path) -> None:
    network = half_masked(NETWORKS[name]())
    torch.save({"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "run.ckpt")
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    assert_same(network, load_network(tmp_path / "run.ckpt"))
    assert_same(network, load_network(tmp_path / "bare.pt"))


def test_the_network_named_in_the_hyper_parameters_is_rebuilt(tmp_path: Path) -> None:
    network = half_masked(ResNet20(width=2, input_shape=(1, 28, 28)))
    named = {"class_path": "sparsity.networks.ResNet20", "init_args": {"width": 2, "input_shape": [1, 28, 28]}}
    content = {"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}
    torch.save(content | {"hyper_parameters": {"network": named}}, tmp_path / "run.ckpt")
    loaded = load_network(tmp_path / "run.ckpt")
    assert isinstance(loaded, ResNet20)
    assert loaded.input_shape == (1, 28, 28)
    assert_same(network, loaded)


@pytest.mark.parametrize("network", [None, 3, {"class_path": ["x"]}, {"class_path": "sparsity.networks.FC",
    "init_args": "x"}])  # fmt: skip
def test_hyper_parameters_that_name_no_class_are_ignored(network: object, tmp_path: Path) -> None:
    ours = half_masked(FC(depth=2))
    content = {"state_dict": {f"network.{k}": v for k, v in ours.state_dict().items()}}
    torch.save(content | {"hyper_parameters": {"network": network}}, tmp_path / "run.ckpt")
    assert isinstance(load_network(tmp_path / "run.ckpt"), FC)


@pytest.mark.parametrize("class_path", ["antigravity.Network", "torch.nn.Linear"])
def test_a_network_that_is_not_ours_is_never_imported_nor_taken_for_one_of_ours(
    class_path: str, tmp_path: Path
) -> None:
    ours = half_masked(FC(depth=2))
    content = {"state_dict": {f"network.{k}": v for k, v in ours.state_dict().items()}}
    torch.save(content | {"hyper_parameters": {"network": {"class_path": class_path}}}, tmp_path / "run.ckpt")
    with pytest.raises(SparsityError, match=rf"of the class {class_path}, which .*; give the network"):
        load_network(tmp_path / "run.ckpt")
    assert "antigravity" not in sys.modules
    assert_same(load_network(tmp_path / "run.ckpt", network=FC(depth=2)), ours)


@pytest.mark.parametrize("arguments", [{"depth": 10**9 + 2}, {"blocks": [1, 10**9]}, {"blocks": [10**9, -(10**9)]}])
def test_more_layers_than_tensors_are_refused_before_any_is_made(arguments: dict[str, Any], tmp_path: Path) -> None:
    named = {"class_path": "sparsity.networks.ResNet", "init_args": arguments}
    state = {f"network.{k}": v for k, v in ResNet20(width=2).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"network": named}}, tmp_path / "run.ckpt")
    with pytest.raises(SparsityError, match=r"it names a network of at least|positive sizes"):
        load_network(tmp_path / "run.ckpt")


def test_a_network_that_leaves_no_trace_of_its_arguments_is_read_by_its_hyper_parameters(tmp_path: Path) -> None:
    small = {"dim": 6, "depth": 1, "heads": 2, "mlp_dim": 4, "input_shape": [1, 8, 8]}
    network = half_masked(ViT(**small))  # type: ignore[arg-type]
    named = {"class_path": "sparsity.networks.ViT", "init_args": small}
    state = {f"network.{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"network": named}}, tmp_path / "run.ckpt")
    assert_same(network, load_network(tmp_path / "run.ckpt"))
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    with pytest.raises(SparsityError, match="of no known layout"):
        load_network(tmp_path / "bare.pt")


def test_arguments_that_make_no_network_are_refused(tmp_path: Path) -> None:
    named = {"class_path": "sparsity.networks.FC", "init_args": {"width": "wide"}}
    state = {f"network.{k}": v for k, v in FC().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"network": named}}, tmp_path / "run.ckpt")
    with pytest.raises(SparsityError, match="cannot be built with the arguments"):
        load_network(tmp_path / "run.ckpt")


def test_layers_left_dense_stay_dense_and_a_network_without_masks_gets_full_ones(tmp_path: Path) -> None:
    network = FC(depth=3)
    save_checkpoint(network, tmp_path / "dense.ckpt")
    assert all(mask.all() for mask in masks(load_network(tmp_path / "dense.ckpt")).values())
    assert not masks(network)
    add_masks(network, exclude=["fc3"])
    save_checkpoint(network, tmp_path / "partly.ckpt")
    assert list(masks(load_network(tmp_path / "partly.ckpt"))) == ["fc1", "fc2"]


def test_sparse_classifier_loads_a_saved_checkpoint(tmp_path: Path) -> None:
    from sparsity.classifier import SparseClassifier

    network = half_masked(FC(depth=3, width=4))
    save_checkpoint(network, tmp_path / "run.ckpt")
    assert_same(network, SparseClassifier.load_from_checkpoint(tmp_path / "run.ckpt").network)
    partly = ResNet(8, 2, output_bias=False)
    add_masks(partly, exclude=["conv", "fc"])
    save_checkpoint(partly, tmp_path / "partly.ckpt")
    assert_same(partly, SparseClassifier.load_from_checkpoint(tmp_path / "partly.ckpt").network)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    path.write_bytes(b"precious")
    with pytest.raises(SparsityError, match="is not overwritten"):
        save_checkpoint(FC(), path)
    assert path.read_bytes() == b"precious"
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # as a disk that is nearly full
    try:
        with pytest.raises(SparsityError, match=r"cannot write .*run\.ckpt: File too large"):
            save_checkpoint(FC(), tmp_path / "run.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_saving_works_where_hard_links_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    save_checkpoint(FC(), tmp_path / "run.ckpt")
    load_network(tmp_path / "run.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]


def test_of_a_network_that_is_not_ours_the_class_is_not_recorded(tmp_path: Path) -> None:
    network = half_masked(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    path = tmp_path / "run.ckpt"
    save_checkpoint(network, path)
    with pytest.raises(SparsityError, match="of another class, which a file cannot name, give the network"):
        load_network(path)
    alike = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert_same(load_network(path, network=alike), network)
    assert_same(SparseClassifier.load_from_checkpoint(path, network=alike).network, network)


def test_checkpoints_are_saved_only_into_folders_that_exist_and_of_networks_with_weights(tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="ReLU has no Linear, convolution"):
        save_checkpoint(nn.ReLU(), tmp_path / "run.ckpt")
    with pytest.raises(SparsityError, match="cannot write"):
        save_checkpoint(FC(), tmp_path / "nowhere" / "run.ckpt")


class Malice:
    """Creates a file as soon as it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_file_is_not_run(save: Any, tmp_path: Path) -> None:
    proof = tmp_path / "was here"
    save({"fc1.weight": torch.ones(2, 2), "extra": Malice(proof)}, tmp_path / "bad.pt")
    with pytest.raises(SparsityError, match="expected a checkpoint of this package, or the state dict of a SynFlow"):
        load_network(tmp_path / "bad.pt")
    assert not proof.exists()


@pytest.mark.parametrize("path", ["missing.pt", "."])
def test_a_missing_file_is_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="there is no file"):
        load_network(tmp_path / path)


CONTENTS = [{}, [1, 2], {"state_dict": 3}, {"state_dict": {"epoch": 1}}, {1: torch.ones(2)}, torch.ones(3), None]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(SparsityError, match="holds no tensors by name; expected"):
        load_network(tmp_path / "file.pt")


def test_a_network_of_another_kind_is_refused_with_the_list_of_known_ones(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(3, 4)).state_dict(), tmp_path / "file.pt")
    with pytest.raises(SparsityError, match=r"file\.pt.*expected one of these: synflow_fc .*gem_miner_resnet"):
        load_network(tmp_path / "file.pt")


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(SparsityError):
        load_network(tmp_path / "file.pt")


@fuzz
@given(share=st.floats(0, 0.999))
def test_truncated_files_are_refused(share: float, tmp_path: Path) -> None:
    whole = tmp_path / "whole.ckpt"
    if not whole.exists():
        save_checkpoint(FC(input_shape=(4,), width=3), whole)
    content = whole.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(SparsityError):
        load_network(tmp_path / "cut.ckpt")
