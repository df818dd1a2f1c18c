"""Two processes need no flag of ours: `--trainer.devices 2 --trainer.strategy ddp` alone."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sparsity.callbacks
from sparsity.callbacks import PruningCallback
from tests.every_pruner_on_two_ranks import PRUNERS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "pruner",
    [["SynFlow", "--pruner.iterations", "5"], ["Random", "--pruner.rescale", "kept_fan_in"],
     ["GemMiner", "--pruner.search_epochs", "2"]],
    ids=lambda pruner: pruner[0],
)  # fmt: skip
def test_both_ranks_end_with_the_same_masks_and_weights_at_the_exact_density(pruner: list[str], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sparsity", "fit", "--data", "Digits", "--data.limit", "256", "--data.batch_size", "32",
         "--model.network", "FC", "--trainer.max_epochs", "3", "--pruner", *pruner, "--pruner.density", "0.1",
         "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
         "--trainer.callbacks", "probes.SaveRank", "--trainer.callbacks.folder", str(tmp_path),
         "--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false",
         "--test_after_fit", "true"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first if "running" not in name)
    assert sum(int(t.sum()) for n, t in first.items() if n.endswith("weight_mask")) == 11_940
    assert run.stdout.count("density 0.1 asked, 0.1 reached") == 1
    assert [p.name for p in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_ranks")
    run = subprocess.run(
        [sys.executable, ROOT / "tests" / "every_pruner_on_two_ranks.py", folder],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("pruner", PRUNERS)
def test_ranks_that_were_not_seeded_alike_end_with_the_same_masks_and_weights(pruner: str, two_ranks: Path) -> None:
    first, second = (torch.load(two_ranks / f"{pruner}_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_every_pruner_is_among_them() -> None:
    concrete = {
        name
        for name, cls in vars(sparsity.callbacks).items()
        if inspect.isclass(cls) and issubclass(cls, PruningCallback) and not inspect.isabstract(cls)
    }
    assert set(PRUNERS) == concrete - {"MaskFrom"}  # which needs a file
