"""What `export` wrote, read without trust."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.checkpoints.exported import MARK, file_in, from_texts, is_exported, with_texts
from sparsity.checkpoints.networks import NetworkConfig
from sparsity.checkpoints.writing import exported_checkpoint
from sparsity.classifier import SparseClassifier
from sparsity.errors import SparsityError
from sparsity.interop import load_network, save_checkpoint
from sparsity.masks import masks
from sparsity.networks import FC, ResNet

CONFIG: NetworkConfig = {
    "class_path": "sparsity.networks.FC",
    "init_args": {"input_shape": [6], "num_classes": 3, "depth": 2, "width": 8},
}


def smaller(**arguments: Any) -> FC:
    return FC(**{"input_shape": (6,), "num_classes": 3, "depth": 2, "width": 5, "bias": "all", **arguments})


def test_texts_of_a_safetensors_file_bring_tensors_and_class_back() -> None:
    state = smaller().state_dict()
    content = from_texts(*with_texts(state, CONFIG))
    assert content["hyper_parameters"] == {"network": CONFIG}
    assert content[MARK]
    assert all(torch.equal(tensor, content["state_dict"][key]) for key, tensor in state.items())
    assert from_texts(state, {"format": "pt"}) == state  # somebody else's


@pytest.mark.parametrize("said", ["", "[", "[]", "3", "{}", '{"network": null, "packed": []}', "[" * 10_000])
def test_texts_that_are_damaged_are_refused(said: str) -> None:
    with pytest.raises(SparsityError, match="is damaged"):
        from_texts({}, {MARK: said})


def test_texts_may_name_shapes_that_are_none() -> None:
    for shapes in ({"w": 3}, {"w": [3]}, {"w": ["x"]}):
        with pytest.raises(SparsityError):
            from_texts({"v": torch.ones(1)}, {MARK: json.dumps({"network": None, "packed": shapes})})


def write(folder: Path, network: FC, config: NetworkConfig | None = CONFIG) -> Path:
    path = folder / "model.pt"
    path.write_bytes(exported_checkpoint(network, config))
    (folder / "report.json").write_text("{}")
    return path


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    path = write(tmp_path, smaller())
    assert file_in(tmp_path) == path
    assert file_in(path) == path
    assert is_exported(tmp_path)
    assert is_exported(path)
    assert not is_exported(tmp_path / "report.json")
    assert not is_exported("")
    assert load_network(tmp_path).fc1.out_features == 5  # type: ignore[union-attr]
    path.rename(tmp_path / "model.onnx")
    with pytest.raises(SparsityError, match=r"has model\.onnx, which holds operations and no network to read"):
        load_network(tmp_path)


def test_a_classifier_is_made_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, smaller())
    module = SparseClassifier.load_from_checkpoint(tmp_path, map_location="cpu", label_smoothing=0.1)
    assert masks(module.network)["fc1"].shape == (5, 6)
    assert module.label_smoothing == 0.1
    assert module(torch.zeros(2, 6)).shape == (2, 3)


def test_without_a_class_of_ours_a_network_has_to_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, smaller(), None)
    with pytest.raises(SparsityError, match="it names none; give the network"):
        load_network(path)
    given = FC((6,), 3, depth=2, width=8)
    loaded = load_network(path, network=given)
    assert loaded.fc2.in_features == 5  # type: ignore[union-attr]
    assert given.fc2.in_features == 8
    module = SparseClassifier.load_from_checkpoint(tmp_path, network=given)
    assert module.network.fc1.bias.shape == (5,)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (smaller(width=9), "must be shaped"),
        (smaller(depth=3), "no place for"),
        (smaller(depth=1), "is missing"),
        (smaller(input_shape=(7,)), "must be shaped"),
    ],
)
def test_what_its_class_cannot_have_been_is_refused(network: FC, message: str, tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match=message):
        load_network(write(tmp_path, network))


def test_an_enormous_class_takes_no_room_for_small_tensors(tmp_path: Path) -> None:
    config: NetworkConfig = {**CONFIG, "init_args": {**CONFIG["init_args"], "width": 10**10}}
    assert load_network(write(tmp_path, smaller(), config)).fc1.out_features == 5  # type: ignore[union-attr]


def test_a_smaller_network_is_no_checkpoint_of_its_class(tmp_path: Path) -> None:
    network = ResNet(depth=8, width=4)
    network.blocks[0].conv1 = torch.nn.Conv2d(4, 3, 3, padding=1, bias=False)
    with pytest.raises(SparsityError, match="the layers of this ResNet are smaller than its class makes them"):
        save_checkpoint(network, tmp_path / "network.ckpt")
    assert not list(tmp_path.iterdir())
