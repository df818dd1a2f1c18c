"""Two processes need no flag of ours: `--trainer.devices 2 --trainer.strategy ddp` alone."""

import inspect
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import sparsity.callbacks
from benchmarks.processes import PRUNERS, fit
from sparsity.callbacks import PruningCallback
from sparsity.datamodules import Digits
from sparsity.evaluation import known_accuracy, read_test_images
from sparsity.interop import load_network
from tests.every_pruner_on_two_ranks import BY_OWN_LOSS, FEW, TWO_OF_FOUR, fit_own_loss

ROOT = Path(__file__).parent.parent.parent


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
    (folder,) = (tmp_path / "lightning_logs").iterdir()
    assert folder.name == "version_0"
    images = Digits()
    images.setup("test")
    (tested,) = images.test_dataloader().dataset.labels.shape
    assert tested % 2 == 1  # of which no process may count one twice
    for name in ("best", "last"):
        network = load_network(folder / "checkpoints" / f"{name}.ckpt").eval()
        accuracy = json.loads((folder / "summary.json").read_text())["test_accuracy"][name]
        assert accuracy == pytest.approx(known_accuracy(network, *read_test_images(Digits())), abs=1e-6)


def test_masks_that_move_are_followed_on_two_ranks_as_on_one(tmp_path: Path) -> None:
    tables = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        run = subprocess.run(
            [sys.executable, "-m", "sparsity", "fit", "--data", "Digits", "--data.limit", "256",
             "--data.batch_size", str(32 // devices), "--model.network", "FC", "--model.network.width", "20",
             "--trainer.max_epochs", "3", "--trainer.precision", "64-true", "--pruner", "RigL",
             "--pruner.density", "0.2", "--pruner.interval", "4", "--trainer.accelerator", "cpu",
             "--trainer.devices", str(devices), "--trainer.strategy", "ddp" if devices > 1 else "auto",
             "--trainer.callbacks", "MaskDynamics", "--trainer.default_root_dir", str(folder),
             "--trainer.enable_progress_bar", "false"],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        (found,) = folder.glob("lightning_logs/version_*/analysis/dynamics")
        tables[devices] = [(found / name).read_text() for name in ("updates.csv", "layers.csv")]
        assert (found / "masks.gif").is_file()
    assert tables[1] == tables[2]
    assert len(tables[1][0].splitlines()) > 4


@pytest.mark.parametrize(
    ("ranks", "said"),
    [("[1]", ["error: this is wrong; do that",
              "error: another process of this fit has ended; --ckpt_path CHECKPOINT goes on from there"]),
     pytest.param("[0,1]", ["error: this is wrong; do that"], marks=pytest.mark.slow)],
    ids=["second", "all"],
)  # fmt: skip
def test_a_process_that_fails_ends_all_of_them_and_each_sentence_is_said_once(
    ranks: str, said: list[str], tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sparsity", "fit", "--data", "Digits", "--data.limit", "64", "--data.batch_size", "16",
         "--model.network", "FC", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu",
         "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.enable_progress_bar", "false",
         "--trainer.callbacks", "probes.FailOn", "--trainer.callbacks.ranks", ranks,
         "--trainer.default_root_dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    checkpoint = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    lines = run.stderr.replace(str(checkpoint), "CHECKPOINT").splitlines()
    assert sorted(line for line in lines if line.startswith("error")) == sorted(said)


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


@pytest.mark.parametrize("pruner", TWO_OF_FOUR)
def test_two_of_four_are_kept_after_every_step_and_the_same_ones_on_both_ranks(pruner: str, two_ranks: Path) -> None:
    first, second = (torch.load(two_ranks / f"{pruner}_two_of_four_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first) == len(second) == 8
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
        for layer, size in (("1", 20 * 784), ("3", 10 * 20)):
            mask, weight = one[f"{layer}.weight_mask"], one[f"{layer}.weight"]
            assert mask.view(-1, 4).sum(1).eq(2).all()
            assert int(mask.sum()) == size // 2
            assert weight[~mask.bool()].eq(0).all()
    moved = sum(not torch.equal(a["1.weight_mask"], b["1.weight_mask"]) for a, b in pairwise(first))
    assert moved >= 2 if pruner == "RigL" else moved == 0


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Equal masks; weights equal but for the order in which float64 gradients are added up."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-12 if tensor.is_floating_point() else 0)


@pytest.mark.parametrize("pruner", FEW)
def test_one_process_and_two_end_alike_and_one_goes_on_where_two_were_stopped(pruner: str, two_ranks: Path) -> None:
    one = fit(pruner, 1)
    for rank in (0, 1):
        assert_alike(one, torch.load(two_ranks / f"{pruner}_alike_{rank}.pt", weights_only=True))
    assert_alike(one, fit(pruner, 1, resume_from=str(two_ranks / f"{pruner}_2.ckpt")))


@pytest.mark.parametrize("pruner", BY_OWN_LOSS)
def test_two_processes_score_by_the_mean_gradient_of_what_each_of_them_sees(pruner: str, two_ranks: Path) -> None:
    whole = fit_own_loss(pruner, 1)
    for rank in (0, 1):
        found = torch.load(two_ranks / f"{pruner}_own_{rank}.pt", weights_only=True)
        assert all(torch.equal(mask, whole[name]) for name, mask in found.items())
    assert sum(int(mask.sum()) for mask in whole.values()) == 14


@pytest.mark.slow
def test_every_pruner_ends_alike_in_one_process_and_two_and_resumed_in_the_other_number() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "processes.py"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    cells = {row.split()[0]: re.findall(r"(\d+) bits, (\S+)", row) for row in run.stdout.splitlines()[1:]}
    assert set(cells) == set(PRUNERS)
    for name, runs in cells.items():
        assert len(runs) == 3
        assert all(bits == "0" and float(largest) < 1e-12 for bits, largest in runs), (name, runs)


def test_what_all_processes_have_to_say_is_said_by_one(two_ranks: Path) -> None:
    said = [torch.load(two_ranks / f"said_{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert sorted(of_both for of_both, _ in said) == [False, True]
    assert [own for _, own in said] == [True, True]


def test_every_pruner_is_among_them() -> None:
    concrete = {
        name
        for name, cls in vars(sparsity.callbacks).items()
        if inspect.isclass(cls) and issubclass(cls, PruningCallback) and not inspect.isabstract(cls)
    }
    assert set(PRUNERS) == concrete - {"MaskFrom"}  # which needs a file
