import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsity.study.best import Outcome, best_of, best_rows, best_table, repeated, write_best
from sparsity.study.distributions import Distribution, Range
from sparsity.study.grid import Point, read_grid
from sparsity.study.running import Run
from sparsity.study.trials import Search

DRAWN: dict[str, Distribution] = {"lr": Range(0.001, 1.0, log=True)}


def search(tmp_path: Path, pruner: str | None = "SET", config: str = "base.yaml", **listed: Any) -> Search:
    (tmp_path / config).touch()
    axes = {"pruner": str(pruner), "lr": "0.001 to 1 (log)", **{key: str(value) for key, value in listed.items()}}
    settings = {"pruner": pruner, "pruner.density": 0.1, "epochs": 3, **listed}
    if pruner is None:
        del settings["pruner.density"]
    name = "-".join(text for key, text in axes.items() if key != "lr")
    return Search(name, Point(axes, (tmp_path / config,), settings, DRAWN, 9))


def outcome(of: Search, tmp_path: Path, lr: float, accuracy: float | None, reason: str | None = None) -> Outcome:
    run = Run(tmp_path / "runs" / f"{of.name}-{lr}", of.point.at({"lr": lr}).axes, "")
    if accuracy is None:
        return Outcome(of.name, run, {"lr": lr}, "ended early" if lr < 1 else "failed", reason=reason)
    folder = run.folder / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    # The test images would choose another one.
    tested = {"best": 1 - accuracy, "last": 0.25}
    found = {"method": of.point.settings["pruner"], "density_asked": 0.1, "density": 0.1, "test_accuracy": tested}
    (folder / "summary.json").write_text(json.dumps(found))
    return Outcome(of.name, run, {"lr": lr}, "finished", accuracy)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


@pytest.fixture
def two(tmp_path: Path) -> tuple[list[Search], list[Outcome]]:
    """Two searches, of which the second has finished nothing."""
    one, other = search(tmp_path), search(tmp_path, "RigL")
    return [one, other], [
        outcome(one, tmp_path, 0.01, 0.75),
        outcome(one, tmp_path, 0.02, 0.875),
        outcome(one, tmp_path, 0.03, 0.875),
        outcome(one, tmp_path, 0.04, None, "it was below the others"),
        outcome(other, tmp_path, 1.0, None, "error: no"),
    ]


def test_the_best_has_the_highest_validation_accuracy_and_is_the_first_of_equals(
    two: tuple[list[Search], list[Outcome]],
) -> None:
    searches, outcomes = two
    assert best_of(searches[0], outcomes) == outcomes[1]
    assert best_of(searches[1], outcomes) is None


def test_every_run_has_a_row_with_its_values_and_why_it_did_not_finish(
    two: tuple[list[Search], list[Outcome]], tmp_path: Path
) -> None:
    write_best(tmp_path, Path("small.yaml"), *two)
    found = rows(tmp_path / "results.csv")
    assert [row["lr"] for row in found] == ["0.01", "0.02", "0.03", "0.04", "1.0"]
    assert [row["val_accuracy"] for row in found] == ["0.75", "0.875", "0.875", "", ""]
    assert [row["test_accuracy_best"] for row in found] == ["0.25", "0.125", "0.125", "", ""]
    assert [row["ended_early"] for row in found] == ["", "", "", "it was below the others", ""]
    assert [row["error"] for row in found] == ["", "", "", "", "error: no"]
    assert found[3]["folder"].endswith("SET-0.04")


def test_a_run_that_was_drawn_twice_has_one_row(tmp_path: Path) -> None:
    one = search(tmp_path)
    first = outcome(one, tmp_path, 0.01, None, "below")
    write_best(tmp_path, Path("small.yaml"), [one], [first, outcome(one, tmp_path, 0.01, 0.5)])
    assert [(row["val_accuracy"], row["ended_early"]) for row in rows(tmp_path / "results.csv")] == [("0.5", "")]


def test_the_table_has_a_row_per_search(two: tuple[list[Search], list[Outcome]], tmp_path: Path) -> None:
    table = best_table(best_rows(*two))
    assert "| SET | 0.02 | 87.50 | 12.50 | 25.00 | 3 | 1 | 0 |" in table
    assert "| RigL | 0.001 to 1 (log) | - | - | - | 0 | 0 | 1 |" in table
    write_best(tmp_path, Path("small.yaml"), *two)
    assert (tmp_path / "best.md").read_text() == table
    assert [row["lr"] for row in rows(tmp_path / "best.csv")] == ["0.02", "0.001 to 1 (log)"]


def labels(tmp_path: Path, content: dict[str, Any]) -> list[str]:
    folder = tmp_path / "studies" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return [point.label for point in read_grid(folder / "best.yaml")]


def test_the_best_of_each_search_are_a_study_with_three_seeds(
    two: tuple[list[Search], list[Outcome]], tmp_path: Path
) -> None:
    searches, outcomes = two
    dense = search(tmp_path, None)
    found = repeated(
        tmp_path / "studies" / "small", [dense, *searches], [outcome(dense, tmp_path, 0.5, 0.5), *outcomes]
    )
    assert found == {
        "config": ["../../base.yaml"],
        "set": {"epochs": 3, "pruner.density": 0.1},
        "axes": [{"pruner": [None, "SET"], "lr": [0.5, 0.02]}, {"seed_everything": [1, 2, 3]}],
    }
    assert labels(tmp_path, found) == [f"{one}-{seed}" for one in ("none-0.5", "SET-0.02") for seed in (1, 2, 3)]


def test_combinations_with_configs_of_their_own_keep_them(tmp_path: Path) -> None:
    one, other = search(tmp_path), search(tmp_path, "RigL", "other.yaml")
    found = repeated(
        tmp_path / "studies" / "small",
        [one, other],
        [outcome(one, tmp_path, 0.5, 0.5), outcome(other, tmp_path, 0.25, 0.5)],
    )
    assert "config" not in found
    assert found["axes"][0]["config"] == [["../../base.yaml"], ["../../other.yaml"]]
    assert labels(tmp_path, found)[0] == "base-SET-0.5-1"


def test_searches_that_differ_in_their_seeds_are_repeated_once_with_these(tmp_path: Path) -> None:
    searches = [search(tmp_path, seed_everything=seed) for seed in (21, 42)]
    outcomes = [outcome(searches[0], tmp_path, 0.5, 0.5), outcome(searches[1], tmp_path, 0.25, 0.75)]
    found = repeated(tmp_path, searches, outcomes)
    assert found["axes"] == [{"pruner": ["SET"], "lr": [0.25]}, {"seed_everything": [21, 42]}]


def test_nothing_is_there_to_repeat_before_a_run_has_finished(tmp_path: Path) -> None:
    one = search(tmp_path)
    write_best(tmp_path, Path("small.yaml"), [one], [])
    assert not (tmp_path / "small_best.yaml").exists()
    write_best(tmp_path, Path("small.yaml"), [one], [outcome(one, tmp_path, 0.5, 0.5)])
    assert (tmp_path / "small_best.yaml").read_text().startswith("# The best of small.yaml, each with several seeds.\n")
