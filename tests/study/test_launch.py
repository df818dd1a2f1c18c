"""Studies through the command line, with real fits in processes of their own."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsity.study.locks import try_lock_to_pass_on
from sparsity.study.starting import CAN_FORK
from tests.study.processes import command, wait_until

ROOT = Path(__file__).parent.parent.parent
BASE = {
    "data": {"class_path": "Digits", "init_args": {"limit": 320, "batch_size": 64}},
    "model": {"network": {"class_path": "FC", "init_args": {"width": 20}}},
    "pruner": {"class_path": "GemMiner", "init_args": {"density": 0.1, "min_kept": 1}},
    "trainer": {"max_epochs": 4, "accelerator": "cpu"},
}


@pytest.fixture
def study(tmp_path: Path) -> Any:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))

    def write(*axes: dict[str, Any], **settings: Any) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({"config": "base.yaml", "set": settings, "axes": list(axes)}))
        return path

    return write


def results(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return {Path(row["folder"]).parents[1].name: row for row in csv.DictReader(file)}


def final_masks(folder: Path) -> dict[str, torch.Tensor]:
    paths = sorted(folder.glob("runs/*/lightning_logs/version_*/checkpoints/last.ckpt"), key=os.path.getmtime)
    found = {}
    for path in paths:  # the last session of each run
        state = torch.load(path, weights_only=True)["state_dict"]
        found |= {f"{path.parents[3].name} {n}": t for n, t in state.items()}
    return found


def test_a_study_runs_skips_what_is_finished_and_tries_again_what_failed(
    study: Any, sparsity: Any, tmp_path: Path
) -> None:
    file = study({"pruner.density": [0.2, 1e-9]}, **{"trainer.max_epochs": 2, "pruner": "Random"})
    folder = tmp_path / "o"
    dry = sparsity("study", "--config", file, "--output", folder, "--dry_run")
    assert "2 runs (2 new)" in dry.out
    assert not folder.exists()

    first = sparsity("study", "--config", file, "--output", folder)
    assert first.code == 1
    assert "1 of 2 runs finished" in first.out
    assert "keeps none of" in first.err
    (good,) = (row for row in results(folder).values() if not row["error"])
    assert (good["method"], good["density"], good["epochs"]) == ("Random", "0.2", "2")
    assert float(good["test_accuracy_best"]) > 0
    assert int(good["flops_effective"]) < int(good["flops_dense"])
    written = Path(good["folder"]).stat().st_mtime_ns

    again = sparsity("study", "--config", file, "--output", folder)
    assert again.code == 1
    assert "2 runs (1 finished, 1 new)" in again.out
    assert Path(good["folder"]).stat().st_mtime_ns == written
    by_hand = sparsity("fit", "--config", Path(good["folder"]).parents[1] / "run.yaml", "--print_config")
    assert by_hand.code == 0

    # As if it had been killed between its last epoch and its end.
    (Path(good["folder"]) / "summary.json").unlink()
    sparsity("study", "--config", file, "--output", folder)
    (ended,) = (row for row in results(folder).values() if not row["error"])
    assert ended["folder"] != good["folder"]
    for column in ("density", "test_accuracy_best", "test_accuracy_last", "epochs"):
        assert ended[column] == good[column]


MISTAKES = [
    ({"pruner": ["NoSuch"]}, "the run 1-NoSuch cannot be"),
    ({"pruner.densty": [0.1]}, "densty"),
    ({"trainer.max_epochs": ["many"]}, "many"),
    ({"trainer.logger": [False]}, "sets trainer.logger false, and tables are made of logs"),
    ({"trainer.fast_dev_run": [True]}, "sets trainer.fast_dev_run, with which there are no results"),
]


@pytest.mark.parametrize(("axis", "message"), MISTAKES)
def test_a_wrong_run_is_named_before_anything_starts(
    axis: dict[str, Any], message: str, study: Any, sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity("study", "--config", study({"seed_everything": [1]}, axis), "--output", tmp_path / "o")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_the_folder_of_another_study_or_of_something_else_is_refused(study: Any, sparsity: Any, tmp_path: Path) -> None:
    file, folder = study(), tmp_path / "o"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    outcome = sparsity("study", "--config", file, "--output", folder)
    assert (outcome.code, "holds something else" in outcome.err) == (2, True)
    (folder / "study.name").write_text("other\n")
    outcome = sparsity("study", "--config", file, "--output", folder)
    assert (outcome.code, "is of the study 'other'" in outcome.err) == (2, True)


def children(pid: int) -> list[int]:
    return [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()]


def fits(pid: int) -> list[int]:
    """The processes of a study's runs: its children, or what its fork server has forked."""
    return [fit for child in children(pid) for fit in children(child)] if CAN_FORK else children(pid)


@pytest.mark.skipif(not Path("/usr/bin/pgrep").exists(), reason="needs pgrep to find the processes of a study")
def test_killed_and_started_again_it_ends_with_the_same_results_and_repeats_nothing(study: Any, tmp_path: Path) -> None:
    file = study({"seed_everything": [1, 2, 3]}, **{"trainer.max_epochs": 16})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert subprocess.run(command(file, whole, "--jobs", "1"), cwd=ROOT, capture_output=True).returncode == 0

    running = subprocess.Popen(command(file, broken, "--jobs", "1"), cwd=ROOT, stdout=subprocess.DEVNULL)
    # A child is killed in its search.
    wait_until(lambda: list(broken.glob("runs/1-*/lightning_logs/*/checkpoints/last.ckpt")))
    os.kill(wait_until(lambda: fits(running.pid))[0], signal.SIGKILL)
    # The study goes on with the second run, in which it is killed itself; that run's process lives on.
    wait_until(lambda: list(broken.glob("runs/2-*/lightning_logs/*/checkpoints/last.ckpt")))
    assert "ended by signal 9" in (broken / "results.csv").read_text()
    other = subprocess.run(command(file, broken), cwd=ROOT, capture_output=True, text=True)
    assert (other.returncode, "a study is running in" in other.stderr) == (2, True)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()

    # Bit by bit needs the same number of threads, and so of jobs.
    again = subprocess.run(command(file, broken, "--jobs", "1"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "3 of 3 runs finished" in again.stdout
    sessions = {
        f.name.split("-")[0]: len(list(f.glob("lightning_logs/version_*"))) for f in (broken / "runs").iterdir()
    }
    assert sessions == {"1": 2, "2": 1, "3": 1}
    expected, found = results(whole), results(broken)
    for name, row in expected.items():
        for column in ("density", "kept", "test_accuracy_best", "test_accuracy_last", "epochs"):
            assert found[name][column] == row[column], (name, column)
    masks, expected_masks = final_masks(broken), final_masks(whole)
    assert masks.keys() == expected_masks.keys()
    assert all(torch.equal(t, masks[n]) for n, t in expected_masks.items())


def test_interrupted_it_ends_its_runs_and_says_how_to_go_on(study: Any, tmp_path: Path) -> None:
    file, folder = study({"seed_everything": [1, 2]}, **{"trainer.max_epochs": 3000}), tmp_path / "o"
    with subprocess.Popen(command(file, folder), cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: list(folder.glob("runs/1-*/lightning_logs/*/checkpoints/last.ckpt")))
        running.send_signal(signal.SIGINT)
        try:
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()  # or this would be waited for, whatever the deadline
    assert running.returncode == 130
    assert "the same command goes on where it was" in said
    locks = [try_lock_to_pass_on(path / ".lock") for path in (folder / "runs").iterdir()]
    assert locks
    assert None not in locks  # no process holds one
    for lock in filter(None, locks):
        os.close(lock)


def test_on_ray_the_masks_are_the_same(study: Any, sparsity: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='needs pip install -e ".[ray]"')
    file = study({"seed_everything": [1, 2]})
    assert sparsity("study", "--config", file, "--output", tmp_path / "local").code == 0
    assert sparsity("study", "--config", file, "--output", tmp_path / "ray", "--engine", "ray").code == 0
    local, ray = final_masks(tmp_path / "local"), final_masks(tmp_path / "ray")
    assert local.keys() == ray.keys()
    assert all(torch.equal(t, ray[n]) for n, t in local.items())


def test_without_ray_the_engine_says_how_to_install_it(
    study: Any, sparsity: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = sparsity("study", "--config", study(), "--output", tmp_path / "o", "--engine", "ray")
    assert outcome.code == 2
    assert 'pip install -e ".[ray]"' in outcome.err
