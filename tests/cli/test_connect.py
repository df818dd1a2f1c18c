"""`connect`, through the command line."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsity.interop import load_network, save_checkpoint
from sparsity.networks import FC, ResNet
from tests.analysis.comparison.test_alignment import relabelled
from tests.cli.test_analyze import sparse_checkpoint


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("align", ["weights", "activations"])
def test_a_relabelled_copy_has_no_barrier_once_it_is_aligned(sparsity: Any, tmp_path: Path, align: str) -> None:
    fit = sparsity("fit", "--data", "Digits", "--model.network", "FC", "--model.network.width", "16",
                   "--pruner", "SynFlow", "--pruner.density", "0.5", "--trainer.max_epochs", "3",
                   "--trainer.accelerator", "cpu", "--trainer.default_root_dir", tmp_path)  # fmt: skip
    assert fit.code == 0, fit.err
    path = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    network = load_network(path)
    save_checkpoint(relabelled(network, (1, 28, 28), 1), tmp_path / "b.ckpt")
    out = tmp_path / "out"
    outcome = sparsity("connect", path, tmp_path / "b.ckpt", "--output", out, "--data", "Digits", "--align", align,
                       "--points", "5")  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads((out / "summary.json").read_text())
    assert found["barriers"]["aligned"]["error"] == 0
    assert found["barriers"]["aligned"]["loss"] == pytest.approx(0, abs=1e-5)
    assert found["barriers"]["given order"]["loss"] > 1e-3
    assert found["cosine"]["aligned"] == pytest.approx(1)
    lines = rows(out / "connect.csv")
    assert [line["order"] for line in lines] == ["given order"] * 5 + ["aligned"] * 5
    assert [float(line["position"]) for line in lines[:5]] == [0, 0.25, 0.5, 0.75, 1]
    assert (out / "connect.png").read_bytes().startswith(b"\x89PNG")


def test_networks_with_normalisation_have_statistics_of_training_images(sparsity: Any, tmp_path: Path) -> None:
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.ckpt")
        save_checkpoint(ResNet(8, width=2, input_shape=(1, 28, 28)), paths[-1])
    out = tmp_path / "out"
    outcome = sparsity("connect", *paths, "--output", out, "--data", "Digits", "--points", "3", "--images", "50")
    assert outcome.code == 0, outcome.err
    # What the networks say with the statistics that they were saved with is no more than a guess.
    assert len({row["loss"] for row in rows(out / "connect.csv")}) == 3


@pytest.mark.parametrize("step", [0, 3])
def test_children_of_one_fit_part_after_a_step(sparsity: Any, tmp_path: Path, step: int) -> None:
    config = tmp_path / "fit.yaml"
    config.write_text(
        yaml.safe_dump({
            "seed_everything": 1,
            "data": {"class_path": "Digits", "init_args": {"limit": 300, "batch_size": 64}},
            "model": {"network": {"class_path": "FC", "init_args": {"width": 8, "depth": 2}}},
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
            "pruner": {"class_path": "SynFlow", "init_args": {"density": 0.3, "iterations": 3}},
        })
    )  # fmt: skip
    out = tmp_path / "out"
    outcome = sparsity("connect", "--spawn", config, "--step", step, "--output", out, "--data", "Digits",
                       "--points", "3", "--order_seeds", "[4, 5]")  # fmt: skip
    assert outcome.code == 0, outcome.err
    first, second = (load_network(path) for path in json.loads((out / "summary.json").read_text())["checkpoints"])
    assert isinstance(first, FC)
    assert all(torch.equal(first.state_dict()[n], m) for n, m in second.state_dict().items() if n.endswith("_mask"))
    assert not all(torch.equal(first.state_dict()[n], t) for n, t in second.state_dict().items())
    assert (tmp_path / "out_runs" / "parent").exists() == bool(step)


def test_one_order_makes_one_child_twice(sparsity: Any, tmp_path: Path) -> None:
    arguments = ["fit", "--data", "Digits", "--data.limit", "300", "--model.network", "FC", "--seed_everything", "3",
                 "--model.network.width", "8", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]  # fmt: skip
    states = []
    for name, extra in (("a", []), ("b", []), ("c", ["--data.order_seed", "3"]), ("d", ["--data.order_seed", "4"])):
        outcome = sparsity(*arguments, *extra, "--trainer.default_root_dir", tmp_path / name)
        assert outcome.code == 0, outcome.err
        path = tmp_path / name / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
        states.append(torch.load(path)["state_dict"])
    same = [all(torch.equal(t, state[n]) for n, t in states[0].items()) for state in states]
    assert same == [True, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.ckpt"], "1 checkpoints were given"),
        (["a.ckpt", "a.ckpt", "--spawn", "x.yaml"], "2 checkpoints were given"),
        (["--spawn", "nowhere.yaml"], "no config nowhere.yaml"),
        (["a.ckpt", "other.ckpt"], "one architecture"),
        (["a.ckpt", "a.ckpt", "--points", "1"], "points"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_folder(
    sparsity: Any, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sparse_checkpoint(tmp_path / "a.ckpt", 0)
    save_checkpoint(FC(depth=2, width=9), tmp_path / "other.ckpt")
    outcome = sparsity("connect", *arguments, "--data", "Digits", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
