"""`report` on runs and files of networks whose class is not one of ours."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsity.networks import FC

OWN = """
import torch
from torch import nn


class Tanh(nn.Module):
    \"\"\"Called like the layers of an FC, and another function.\"\"\"

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, width)
        self.fc2 = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc2(self.fc1(x.flatten(1)).tanh())
"""


@pytest.fixture
def runs(sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of a network of somebody's own, and its file `tanh_net.yaml`."""
    (tmp_path / "tanh_net.py").write_text(OWN)
    (tmp_path / "tanh_net.yaml").write_text("class_path: tanh_net.Tanh\ninit_args:\n  width: 5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        fitted = sparsity(
            "fit", "--data", "Digits", "--data.limit", "64", "--model.network", "tanh_net.yaml",
            "--pruner", "Random", "--pruner.density", "0.2", "--trainer.max_epochs", "1", "--seed_everything", seed,
            "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
        )  # fmt: skip
        assert fitted.code == 0, fitted.err
    return tmp_path / "lightning_logs"


def test_what_a_config_names_is_made_if_it_is_trusted_and_not_taken_for_ours_else(sparsity: Any, runs: Path) -> None:
    outcome = sparsity("report", runs, "--output", "untrusted")
    assert outcome.code == 2
    assert "its network is of a class that its config.yaml names, which is not imported unasked" in outcome.err
    assert not Path("untrusted").exists()

    outcome = sparsity("report", runs, "--output", "trusted", "--trust_config", "true", "--data", "Digits")
    assert outcome.code == 0, outcome.err
    page = Path("trusted/index.html").read_text()
    assert "Tanh, 2 layers, 3,970 weights" in page
    assert "--trust_config true" in page
    assert json.loads((runs / "version_0" / "summary.json").read_text())["input_shape"] == [1, 28, 28]


def test_files_beside_networks_of_ours_are_read_if_the_user_names_the_class(sparsity: Any, runs: Path) -> None:
    torch.save(importlib.import_module("tanh_net").Tanh(width=5).state_dict(), "own_1.pt")
    torch.save(FC(depth=3, width=4).state_dict(), "ours_1.pt")
    outcome = sparsity("report", runs / "version_0", "own_1.pt", "ours_1.pt", "--output", "named",
                       "--network", "tanh_net.yaml", "--input_shape", "[1,28,28]")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.err
    page = Path("named/index.html").read_text()
    assert "Tanh, 2 layers" in page
    assert "FC, 3 layers" in page


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"class_path": "os.system", "init_args": {"command": "touch ran"}}, "os.system"),
        ({"class_path": "tanh_net.Tahn"}, "names the network tanh_net.Tahn, and making it fails: "),
        ({"class_path": "tanh_net.Tanh", "init_args": {"width": -1}}, "names the network tanh_net.Tanh, and making it"),
        ("tanh_net.Tanh", "names no network under model.network"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_sentence_and_runs_nothing(
    sparsity: Any, runs: Path, network: object, message: str
) -> None:
    file = runs / "version_0" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["model"]["network"] = network
    file.write_text(yaml.safe_dump(config))
    outcome = sparsity("report", runs / "version_0", "--output", "out", "--trust_config", "true")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert not Path("ran").exists()
