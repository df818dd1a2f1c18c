from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparsity.interop import save_checkpoint
from sparsity.masks import add_masks
from sparsity.networks import FC, ResNet
from sparsity.report.networks import (
    MOST_COMPARED,
    TrainedNetwork,
    by_setting,
    compared,
    method_order,
    read_runs,
    setting_labels,
)
from sparsity.report.sources import find_sources

SaveRun = Callable[..., Path]
SaveNetwork = Callable[..., float]


def read(*paths: Path) -> list[TrainedNetwork]:
    return read_runs(find_sources([str(path) for path in paths], "best").finished)


def sparse_file(path: Path, kept: int) -> Path:
    """An FC of 784 x 4 + 4 x 10 weights that keeps the first ones of its first layer."""
    network = FC(depth=2, width=4)
    add_masks(network)
    mask = torch.arange(784 * 4).view(4, 784) < kept
    network.fc1.weight_mask.copy_(mask)
    network.fc1.weight.data.mul_(mask)
    save_checkpoint(network, path)
    return path


def test_seeds_of_a_method_are_repeats_and_settings_go_from_dense_to_sparse(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", "SynFlow", 0.05, seed=1)
    save_run("version_1", "SynFlow", 0.2, seed=1)
    save_run("version_2", "Random", 0.05, seed=1)
    save_run("version_3", "SynFlow", 0.05, seed=2)
    settings = by_setting(read(tmp_path))
    found = [
        (setting.density, {method: [run.name for run in runs] for method, runs in repeats.items()})
        for setting, repeats in settings.items()
    ]
    assert found == [
        (0.2, {"SynFlow": ["SynFlow 1"]}),
        (0.05, {"SynFlow": ["SynFlow 1", "SynFlow 2"], "Random": ["Random 1"]}),
    ]
    assert method_order(settings) == ["SynFlow", "Random"]
    assert list(setting_labels(settings).values()) == ["20 % density", "5 % density"]


def test_runs_of_other_settings_are_not_averaged(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", seed=1, pruner={"init_args": {"rescale": "none"}})
    save_run("version_1", seed=2, pruner={"init_args": {"rescale": "none"}})
    save_run("version_2", seed=1, pruner={"init_args": {"rescale": "kept_fan_in"}})
    (repeats,) = by_setting(read(tmp_path)).values()
    assert {method: len(runs) for method, runs in repeats.items()} == {
        "Random (rescale=kept_fan_in)": 1,
        "Random (rescale=none)": 2,
    }


def test_what_tells_runs_apart_at_one_density_is_told_at_all_of_them(save_run: SaveRun, tmp_path: Path) -> None:
    for number, (asked, rescale) in enumerate([(0.2, "none"), (0.2, "kept"), (0.1, "none")]):
        save_run(f"version_{number}", asked=asked, pruner={"init_args": {"rescale": rescale}})
    assert [run.method for run in read(tmp_path)] == [
        "Random (rescale=none)",
        "Random (rescale=kept)",
        "Random (rescale=none)",
    ]


def test_a_run_that_was_made_twice_has_two_names(save_run: SaveRun, tmp_path: Path) -> None:
    save_run("version_0", "Random", seed=1)
    save_run("version_1", "Random", seed=1)
    assert [run.name for run in read(tmp_path)] == ["Random 1", "Random 1 #2"]


def test_files_of_one_family_are_compared_at_the_density_that_most_of_them_reached(tmp_path: Path) -> None:
    files = [("synflow_10_1", 318), ("synflow_10_2", 318), ("gem_10_1", 100), ("dense_1", 784 * 4)]
    runs = read(*(sparse_file(tmp_path / f"{name}.ckpt", kept) for name, kept in files))
    # 318 and the 40 weights of the last layer, of 3,176: 0.1127.
    assert [run.setting.density for run in runs] == [0.113, 0.113, 0.113, 1.0]
    assert [run.method for run in runs] == ["synflow", "synflow", "gem", "dense"]
    assert [run.name for run in runs] == ["synflow_10_1", "synflow_10_2", "gem_10_1", "dense_1"]


def test_architectures_are_settings_apart_and_told_in_the_label(tmp_path: Path) -> None:
    resnet = ResNet(depth=8, width=2)
    add_masks(resnet)
    save_checkpoint(resnet, tmp_path / "dense_2.ckpt")
    settings = by_setting(read(sparse_file(tmp_path / "dense_1.ckpt", 784 * 4), tmp_path / "dense_2.ckpt"))
    fc, other = setting_labels(settings).values()
    assert fc == "100 % density (FC, 2 layers, 3,176 weights)"
    assert other.startswith("100 % density (ResNet, ")


def test_accuracies_are_measured_only_where_nobody_says(save_run: SaveRun, tmp_path: Path) -> None:
    run = save_run("version_0", accuracy=0.9)
    file = sparse_file(tmp_path / "file.ckpt", 50)
    sources = find_sources([str(run), str(file)], "best").finished
    assert [run.accuracy for run in read_runs(sources, measure=lambda network, count: 0.5)] == [0.9, 0.5]
    assert [run.accuracy for run in read_runs(sources)] == [0.9, None]


@pytest.mark.parametrize(("each", "expected"), [(MOST_COMPARED // 2, MOST_COMPARED), (MOST_COMPARED // 2 + 1, 2)])
def test_of_very_many_runs_each_methods_first_is_compared(tmp_path: Path, each: int, expected: int) -> None:
    (run,) = read(sparse_file(tmp_path / "file.ckpt", 50))
    assert len(compared({"a": [run] * each, "b": [run] * each})) == expected


def test_networks_of_different_data_are_not_compared(save_run: SaveRun, tmp_path: Path) -> None:
    for number, (method, data) in enumerate([("A", "MNIST"), ("B", "MNIST"), ("A", "Digits")]):
        save_run(f"version_{number}", method, seed=number, data={"class_path": f"sparsity.datamodules.{data}"})
    found = by_setting(read_runs(find_sources([str(tmp_path / "runs")], "best").finished))
    assert [(setting.architecture.rpartition(", ")[2], sorted(runs)) for setting, runs in found.items()] == [
        ("MNIST", ["A", "B"]),
        ("Digits", ["A"]),
    ]
