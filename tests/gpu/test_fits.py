"""Fits of the command line on a GPU: as they go on, what they leave, and several on one card."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from sparsity.study.mps import CONTROL

_FIT = (
    "fit --data Digits --data.limit 640 --model.network FC --model.optimizer SGD --model.optimizer.lr 0.05 "
    "--model.optimizer.momentum 0.9 --pruner SynFlow --pruner.density 0.1 --trainer.max_epochs 4 "
    "--trainer.enable_progress_bar false --trainer.devices 1 --trainer.accelerator"
)
FIT = _FIT.split()


def last(folder: Path) -> dict[str, Tensor]:
    """The newest run's last checkpoint, on the CPU."""
    path = max(folder.glob("lightning_logs/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return state


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_a_fit_that_goes_on_ends_bit_by_bit_like_one_that_was_not_interrupted(
    accelerator: str, sparsity: Any, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit = [*FIT, accelerator, "--trainer.default_root_dir"]
    assert sparsity(*fit, whole).code == 0
    assert sparsity(*fit, broken, "--trainer.max_epochs", "2").code == 0
    (stopped,) = broken.glob("lightning_logs/*/checkpoints/last.ckpt")
    assert torch.load(stopped, weights_only=True, map_location="cpu")["epoch"] == 1
    resumed = sparsity(*fit, broken, "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err
    assert any(name.endswith("_mask") for name in last(whole))
    assert equal(last(whole), last(broken))


def test_a_fit_with_all_analyses_leaves_what_it_does_on_the_cpu(
    accelerator: str, sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity(
        *FIT, accelerator, "--test_after_fit", "true",
        "--trainer.callbacks+=TopologyAnalysis", "--trainer.callbacks.figures", "false",
        "--trainer.callbacks+=NetworkComparison", "--trainer.callbacks.figures", "false",
        "--trainer.default_root_dir", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "failed" not in outcome.err
    assert ("multiplied as TF32" in outcome.err) == (accelerator == "gpu")
    assert "Tensor Cores" not in outcome.err
    (run,) = tmp_path.glob("lightning_logs/*")
    assert (run / "analysis" / "topology_final" / "layers.csv").is_file()
    assert (run / "analysis" / "comparison" / "correlations.csv").is_file()
    summary = yaml.safe_load((run / "summary.json").read_text())
    assert summary["kept"] == round(0.1 * summary["weights"])
    assert summary["float32_products"] == ("TF32" if accelerator == "gpu" else "float32")
    assert summary["test_accuracy"]["last"] > 0.3
    tested = sparsity("test", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert tested.code == 0, tested.err


@pytest.mark.parametrize(
    "accelerator", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("gpu", marks=pytest.mark.gpu)]
)
def test_four_fits_on_one_card_are_what_they_are_one_after_the_other(
    accelerator: str, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if accelerator == "gpu":
        if shutil.which(CONTROL) is None:
            pytest.skip(f"needs {CONTROL}")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study = {
        "set": {
            "data": "Digits", "data.limit": 640, "model.network": "FC", "pruner": "SynFlow", "pruner.density": 0.1,
            "trainer.max_epochs": 3, "trainer.accelerator": accelerator, "trainer.devices": 1,
        },
        "axes": [{"seed_everything": [1, 2, 3, 4]}],
    }  # fmt: skip
    file = tmp_path / "four.yaml"
    file.write_text(yaml.safe_dump(study))
    found = {}
    for jobs in (1, 4):
        folder = tmp_path / str(jobs)
        outcome = sparsity("study", "--config", file, "--output", folder, "--jobs", jobs)
        assert outcome.code == 0, outcome.err
        assert "take turns" not in outcome.out
        with (folder / "results.csv").open() as table:
            rows = {row["seed_everything"]: row for row in csv.DictReader(table)}
        found[jobs] = {
            seed: torch.load(Path(row["folder"]) / "checkpoints/last.ckpt", weights_only=True, map_location="cpu")
            for seed, row in rows.items()
        }
    assert len(found[1]) == 4
    for seed, alone in found[1].items():
        beside = found[4][seed]["state_dict"]
        masks = [name for name in alone["state_dict"] if name.endswith("_mask")]
        assert masks
        assert all(torch.equal(alone["state_dict"][name], beside[name]) for name in masks)
