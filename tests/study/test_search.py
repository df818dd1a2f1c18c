"""Searches through the command line, with real fits in processes of their own."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from sparsity.cli.fit_configs import FitConfigs
from sparsity.study.grid import read_grid
from sparsity.study.judging import attempt_judged
from sparsity.study.places import Place
from sparsity.study.planning import plan
from sparsity.study.running import Run, status
from sparsity.study.search import search
from sparsity.study.starting import start_anew
from tests.pages import SHORT, steps
from tests.study.processes import command, wait_until

pytest.importorskip("optuna", reason='needs pip install -e ".[search]"')
ROOT = Path(__file__).parent.parent.parent
BASE = {
    "data": {"class_path": "Digits", "init_args": {"limit": 320, "batch_size": 64}},
    "model": {"network": {"class_path": "FC", "init_args": {"width": 20}}, "optimizer": {"class_path": "SGD"}},
    "pruner": {"class_path": "Random", "init_args": {"density": 0.3}},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
}
LR = {"model.optimizer.lr": {"low": 0.001, "high": 0.5, "log": True}}


@pytest.fixture
def study(tmp_path: Path) -> Any:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))

    def write(*axes: dict[str, Any], trials: int | None = 3, **settings: Any) -> Path:
        path = tmp_path / "small.yaml"
        content = {"config": "base.yaml", "set": settings, "axes": list(axes), "trials": trials}
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def table(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


def figures(folder: Path) -> list[list[str]]:
    """Rows of results without what differs from machine to machine and from day to day."""
    idle = {"seconds", "folder", "git_commit"}
    return [[value for key, value in row.items() if key not in idle] for row in table(folder / "results.csv")]


def sessions(folder: Path) -> dict[str, int]:
    return {path.name: len(list(path.glob("lightning_logs/*"))) for path in (folder / "runs").iterdir()}


def test_two_combinations_are_searched_by_three_trials_each(study: Any, sparsity: Any, tmp_path: Path) -> None:
    file, folder = study({"pruner": ["Random", "SynFlow"]}, LR), tmp_path / "o"
    dry = sparsity("study", "--config", file, "--output", folder, "--dry_run")
    assert dry.code == 0, dry.err
    assert "SynFlow: model.optimizer.lr 0.001 to 0.5 (log); 3 trials" in dry.out
    assert "2 searches, 6 runs (6 new)" in dry.out
    assert not folder.exists()

    found = sparsity("study", "--config", file, "--output", folder, "--jobs", "2")
    assert found.code == 0, found.err
    rows = table(folder / "results.csv")
    assert sorted(row["pruner"] for row in rows) == ["Random"] * 3 + ["SynFlow"] * 3
    assert all(0.001 <= float(row["model.optimizer.lr"]) <= 0.5 for row in rows)
    assert len({row["model.optimizer.lr"] for row in rows}) == 6
    for row in rows:
        config = yaml.safe_load((Path(row["folder"]).parents[1] / "run.yaml").read_text())
        assert config["model"]["optimizer"]["init_args"]["lr"] == float(row["model.optimizer.lr"])
        assert config["pruner"]["class_path"].endswith(row["method"])
    for best in table(folder / "best.csv"):
        own = [row for row in rows if row["pruner"] == best["pruner"]]
        highest = max(own, key=lambda row: float(row["val_accuracy"]))
        assert (best["val_accuracy"], best["finished"]) == (highest["val_accuracy"], "3")
    assert (folder / "best.md").read_text() in found.out
    assert (folder / "study.runs").read_text().split() == [
        path.name for path in sorted((folder / "runs").iterdir(), key=lambda path: order(rows, path))
    ]

    again = sparsity("study", "--config", file, "--output", folder)
    assert again.code == 0
    assert "2 searches, 6 runs (6 finished); in" in again.out
    assert set(sessions(folder).values()) == {1}
    assert table(folder / "results.csv") == sorted(rows, key=lambda row: order(rows, Path(row["folder"]).parents[1]))
    dry = sparsity("study", "--config", file, "--output", folder, "--dry_run")
    assert "2 searches, 6 runs (6 finished)" in dry.out

    repeated = sparsity("study", "--config", folder / "small_best.yaml", "--output", tmp_path / "b", "--dry_run")
    assert "6 runs (6 new)" in repeated.out  # two combinations, three seeds

    more = study({"pruner": ["Random", "SynFlow"]}, LR, trials=4)
    assert "8 runs (6 finished, 2 new)" in sparsity("study", "--config", more, "--output", folder, "--dry_run").out


def order(rows: list[dict[str, str]], folder: Path) -> tuple[str, int]:
    """By search, and in it as the runs were drawn."""
    name = folder.name.split("-")[0]
    own = [Path(row["folder"]).parents[1].name for row in rows if row["pruner"] == name]
    return name, own.index(folder.name)


def test_a_report_takes_no_two_trials_for_seeds_of_one_method(study: Any, sparsity: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file, folder = study(LR), tmp_path / "o"
    assert sparsity("study", "--config", file, "--output", folder).code == 0
    assert sparsity("report", folder, "--output", tmp_path / "page").code == 0
    page = (tmp_path / "page" / "index.html").read_text()
    for row in table(folder / "results.csv"):
        assert f"Random (lr={row['model.optimizer.lr']})" in page
    assert "Nothing is significant" in page
    assert "±" not in page.split('id="results"')[1].split("<tbody>")[1].split("</tbody>")[0]


@pytest.mark.skipif(not Path("/usr/bin/pgrep").exists(), reason="needs pgrep to find the processes of a study")
def test_killed_and_started_again_it_draws_the_same_and_resumes_what_was_going_on(study: Any, tmp_path: Path) -> None:
    file = study(LR, trials=3, **{"trainer.max_epochs": 12})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert subprocess.run(command(file, whole, "--jobs", "1"), cwd=ROOT, capture_output=True).returncode == 0
    running = subprocess.Popen(command(file, broken, "--jobs", "1"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_until(lambda: len(list(broken.glob("runs/*/lightning_logs/*/checkpoints/best.ckpt"))) == 2)
    running.send_signal(signal.SIGINT)  # in the second trial
    assert running.wait(60) == 130
    running = subprocess.Popen(command(file, broken, "--jobs", "1"), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_until(lambda: len(list(broken.glob("runs/*/lightning_logs/*/checkpoints/best.ckpt"))) >= 3)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    again = subprocess.run(command(file, broken, "--jobs", "1"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "3 runs (3 finished); tables in" in again.stdout
    assert figures(broken) == figures(whole)
    assert sessions(broken).keys() == sessions(whole).keys()


def test_what_learns_nothing_or_diverges_ends_early_and_is_no_failure(
    study: Any, sparsity: Any, tmp_path: Path
) -> None:
    lr = {"model.optimizer.lr": {"choices": [0.1, 0.12, 0.14, 0.16, 0.18, 0.0, 1e30]}}
    file, folder = study(lr, trials=11, **{"trainer.max_epochs": 150}), tmp_path / "o"
    found = sparsity("study", "--config", file, "--output", folder, "--jobs", "2")
    assert found.code == 0, found.err
    rows = table(folder / "results.csv")
    diverged = [row for row in rows if row["model.optimizer.lr"] == "1e+30"]
    idle = [row for row in rows if row["model.optimizer.lr"] == "0.0"]
    assert diverged
    assert all("training diverged" in row["ended_early"] for row in diverged)
    assert idle
    assert "below the median of the others after 50 epochs" in idle[0]["ended_early"]
    # A slow machine may not look before the idle one has ended by itself, and it keeps its accuracies then.
    for row in (*diverged, *(row for row in idle if not row["test_accuracy_best"])):
        assert (row["val_accuracy"], row["test_accuracy_best"], row["error"]) == ("", "", "")
        # It was ended on the way.
        (session,) = (folder / "runs" / Path(row["folder"]).name / "lightning_logs").iterdir()
        assert (session / "checkpoints" / "last.ckpt").is_file()
        assert (session / "ended_early.txt").read_text().strip() == row["ended_early"]
    (best,) = table(folder / "best.csv")
    assert float(best["model.optimizer.lr"]) in (0.1, 0.12, 0.14, 0.16, 0.18)
    written = figures(folder)
    again = sparsity("study", "--config", file, "--output", folder)
    assert again.code == 0
    assert sorted(figures(folder)) == sorted(written)
    page = sparsity("report", folder, "--output", tmp_path / "page")
    assert "and it was ended early: training diverged" in page.err


class Harsh:
    """A judge that has no patience once there is a checkpoint."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def gives_up(self) -> bool:
        return any(self._run.folder.glob("lightning_logs/*/checkpoints/last.ckpt"))


def test_a_run_that_is_given_up_is_ended_on_the_way(study: Any, tmp_path: Path) -> None:
    file = study({"seed_everything": [1]}, trials=None, **{"trainer.max_epochs": 100_000})
    (run,) = plan(read_grid(file), tmp_path / "o", FitConfigs().complete)
    attempt_judged(run, Harsh(run), Place(1), Event(), start_anew)  # type: ignore[arg-type]
    assert status(run) == "interrupted"


def test_a_run_that_fails_is_told_and_tried_again_with_its_values(study: Any, sparsity: Any, tmp_path: Path) -> None:
    file, folder = study({"model.network.width": {"choices": [0, 20]}}, trials=3), tmp_path / "o"
    found = sparsity("study", "--config", file, "--output", folder, "--jobs", "1")
    assert found.code == 1
    failed = [row for row in table(folder / "results.csv") if row["error"]]
    assert {row["model.network.width"] for row in failed} == {"0"}
    assert "FC network needs positive sizes" in failed[0]["error"]
    assert f"failed: {Path(failed[0]['folder']).name}: " in found.err
    count = sum("failed" in line for line in found.out.splitlines() if line.startswith("failed"))
    assert 0 < count < 3
    dry = sparsity("study", "--config", file, "--output", folder, "--dry_run")
    assert f"1 search, 3 runs ({3 - count} finished, {count} interrupted)" in dry.out

    again = sparsity("study", "--config", file, "--output", folder, "--jobs", "1")
    assert again.code == 1
    assert {row["model.network.width"] for row in table(folder / "results.csv")} == {"0", "20"}
    assert again.err == found.err


def test_a_working_directory_that_changes_while_configs_are_made_complete_moves_nothing(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does for a moment while a config is read, in which other threads write and start processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sparsity.study.engines.CAN_FORK", False)  # a fork has the directory of its server
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    complete = FitConfigs().complete

    def slowly(arguments: Sequence[str]) -> str:
        os.chdir(elsewhere)
        time.sleep(1)
        os.chdir(tmp_path)
        return complete(arguments)

    points = read_grid(Path(study(LR, trials=4).name))
    assert search(points, Path("small.yaml"), Path("o"), slowly, jobs=2)
    assert list(elsewhere.iterdir()) == []
    assert len(table(tmp_path / "o" / "results.csv")) == 4
    assert yaml.safe_load((tmp_path / "o" / "small_best.yaml").read_text())["config"] == ["../base.yaml"]


MISTAKES = [
    ([LR], {"trials": None}, [], "and does not say how often; add trials"),
    ([{"pruner": ["SET"]}], {}, [], "has trials, and no axis with a distribution"),
    ([{"model.optimizer.lr": {"low": 1, "high": 0.1}}], {}, [], "needs low below high, not 1 and 0.1"),
    ([{"model.optimizer.rate": {"low": 0.1, "high": 0.2}}], {}, [], "the run 0.1 cannot be"),
    ([LR], {}, ["--engine", "ray"], "is searched, which is done on one machine; leave --engine ray out"),
]


@pytest.mark.parametrize(("axes", "settings", "arguments", "message"), MISTAKES, ids=[one[-1][:20] for one in MISTAKES])
def test_a_mistake_is_named_before_anything_starts(
    axes: Any, settings: Any, arguments: Any, message: str, study: Any, sparsity: Any, tmp_path: Path
) -> None:
    found = sparsity("study", "--config", study(*axes, **settings), "--output", tmp_path / "o", *arguments)
    assert found.code == 2
    assert message in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_without_optuna_a_search_says_how_to_install_it(
    study: Any, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = sparsity("study", "--config", study(LR), "--output", tmp_path / "o")
    assert (found.code, 'install it with pip install -e ".[search]"' in found.err) == (2, True)
    assert not (tmp_path / "o").exists()


def test_a_search_by_what_no_run_leaves_ends_with_one_sentence(study: Any, sparsity: Any, tmp_path: Path) -> None:
    file = study(LR, **{"trainer.limit_val_batches": 0})
    found = sparsity("study", "--config", file, "--output", tmp_path / "o", "--jobs", "1")
    assert found.code == 2
    assert "has no best.ckpt, and so no validation accuracy to search by" in found.err
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 1


@pytest.mark.parametrize("ends", [min, max])
def test_a_sweep_needs_nothing_but_the_command(
    ends: Any, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its arguments put in as `wandb agent` does, and without a logger that needs an account."""
    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    (text,) = (step.text for step in steps(page) if step.file == "sweep.yaml")
    sweep = yaml.safe_load(text)
    values = {key: ends(value.get("values") or [value.get("value") or value[ends.__name__]])
              for key, value in sweep["parameters"].items()}  # fmt: skip
    words = [word for word in sweep["command"] if word != "--trainer.logger=WandbLogger"]
    assert len(words) == len(sweep["command"]) - 1
    assert words[:5] == ["${env}", "python", "-m", "sparsity", "fit"]
    at = words.index("${args}")
    words[at : at + 1] = [f"--{key}={value}" for key, value in values.items()]
    monkeypatch.chdir(ROOT)
    root = f"--trainer.default_root_dir={tmp_path}"
    found = sparsity(*words[4:], root, "--trainer.max_epochs=1", *SHORT)
    assert found.code == 0, found.err
    config = yaml.safe_load(next(tmp_path.glob("lightning_logs/*/config.yaml")).read_text())
    assert config["model"]["optimizer"]["init_args"]["lr"] == values["model.optimizer.lr"]
    assert config["model"]["network"]["init_args"]["width"] == values["model.network.width"]
