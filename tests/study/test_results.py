import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sparsity.study.results import run_row, seed_means, summary_table, write_results
from sparsity.study.running import Run, status, summary

AXES = ["pruner", "pruner.density", "seed_everything"]


def finished(root: Path, accuracy: float, seed: int, pruner: str = "SET", version: int = 0) -> Run:
    run = Run(root / f"{pruner}-{seed}", {"pruner": pruner, "pruner.density": "0.1", "seed_everything": str(seed)}, "")
    folder = run.folder / "lightning_logs" / f"version_{version}"
    folder.mkdir(parents=True)
    found = {
        "method": pruner, "density_asked": 0.1, "density": 0.1, "kept": 10, "weights": 100, "flops_dense": 200,
        "flops_effective": 20, "git_commit": "abc", "seed": seed, "epochs": 3, "seconds": 1.5,
        "test_accuracy": {"best": accuracy, "last": accuracy - 0.1},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(found))
    return run


def test_a_row_has_the_axes_and_what_the_run_came_to(tmp_path: Path) -> None:
    row = run_row(finished(tmp_path, 0.9, 21))
    assert row is not None
    assert {key: row[key] for key in AXES} == {"pruner": "SET", "pruner.density": "0.1", "seed_everything": "21"}
    assert row["test_accuracy_best"] == 0.9
    assert row["flops_effective"] == 20
    assert row["folder"].endswith("version_0")
    assert row["error"] is None


def test_a_failed_run_has_its_last_words_and_one_that_goes_on_has_no_row(tmp_path: Path) -> None:
    run = Run(tmp_path / "a", {"pruner": "SET"}, "")
    assert run_row(run) is None
    row = run_row(run, "error: no")
    assert row is not None
    assert (row["error"], row["method"]) == ("error: no", None)


def test_means_and_deviations_are_over_seeds_alone(tmp_path: Path) -> None:
    rows = [run_row(finished(tmp_path, a, s)) for a, s in ((0.90, 1), (0.94, 2), (0.98, 3))]
    rows += [
        run_row(finished(tmp_path, 0.5, 1, "RigL")),
        run_row(Run(tmp_path / "x", dict.fromkeys(AXES, 1), ""), "no"),
    ]
    means = seed_means([row for row in rows if row], AXES)
    assert [(mean["method"], mean["runs"]) for mean in means] == [("SET", 3), ("RigL", 1)]
    assert means[0]["test_accuracy_best"] == pytest.approx(0.94)
    assert means[0]["test_accuracy_best_deviation"] == pytest.approx(0.04)
    assert means[1]["test_accuracy_best_deviation"] is None
    table = summary_table(means, AXES)
    assert "| SET | 10 % | 10 % | 3 | 94.00 ± 4.00 | 84.00 ± 4.00 |" in table
    assert "| RigL | 10 % | 10 % | 1 | 50.00 | 40.00 |" in table


def test_variants_of_a_method_are_told_apart(tmp_path: Path) -> None:
    rows = [run_row(finished(tmp_path, 0.9, s)) for s in (1, 2)]
    variants = [{**row, "pruner": pruner} for row in rows if row for pruner in ("SET", "SET with rate 0.1")]
    means = seed_means(variants, AXES)
    assert [(mean["pruner"], mean["runs"]) for mean in means] == [("SET", 2), ("SET with rate 0.1", 2)]
    assert "| SET with rate 0.1 | SET | 10 % |" in summary_table(means, AXES)


def test_tables_are_written_for_programs_and_for_people(tmp_path: Path) -> None:
    rows = [row for s in (1, 2) if (row := run_row(finished(tmp_path, 0.9, s)))]
    write_results(tmp_path, rows, AXES)
    with (tmp_path / "results.csv").open() as file:
        read: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [row["seed_everything"] for row in read] == ["1", "2"]
    assert (tmp_path / "summary.csv").read_text().count("\n") == 2
    assert "90.00 ± 0.00" in (tmp_path / "summary.md").read_text()


def test_of_several_sessions_the_last_one_counts(tmp_path: Path) -> None:
    run = Run(tmp_path / "SET-1", {}, "")
    assert status(run) == "new"
    (run.folder / "lightning_logs" / "version_0" / "checkpoints").mkdir(parents=True)
    assert status(run) == "new"
    (run.folder / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt").touch()
    assert status(run) == "interrupted"
    finished(tmp_path, 0.9, 1, version=1)
    assert status(run) == "finished"
    assert summary(run)["folder"].endswith("version_1")  # type: ignore[index]
