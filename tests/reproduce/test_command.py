"""`reproduce` through the command line, with real fits."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reproduce.test_targets import HEAD

STUDY = {
    "config": "base.yaml",
    "axes": [{"pruner": ["Random", "Magnitude"]}, {"pruner.density": [0.5]}, {"seed_everything": [1, 2]}],
}
BASE = {
    "data": {"class_path": "Digits", "init_args": {"limit": 160, "batch_size": 32}},
    "model": "model.yaml",
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}
ROWS = (
    "tiny,FC,Digits,random,same,0.5,-100,,,,1,a paper,pruner=Random;pruner.density=0.5,last,2,1,easy to beat\n"
    "tiny,FC,Digits,magnitude,near,0.5,200,0.1,deviation,3,1,a paper,pruner=Magnitude,last,3,1,\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    studies = tmp_path / "configs" / "studies"
    studies.mkdir(parents=True)
    (studies / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    (studies / "base.yaml").write_text(yaml.safe_dump(BASE))
    (studies / "model.yaml").write_text(yaml.safe_dump({"network": {"class_path": "FC", "init_args": {"width": 8}}}))
    (tmp_path / "reproduce").mkdir()
    (tmp_path / "reproduce" / "targets.csv").write_text(HEAD + ROWS)
    return tmp_path


def recorded(place: Path) -> list[dict[str, str]]:
    with (place / "reproduce" / "results" / "tiny.csv").open() as file:
        return list(csv.DictReader(file))


def test_what_fits_in_the_budget_is_run_and_compared_and_only_once(place: Path, sparsity: Any) -> None:
    page = place / "page.md"
    # Two at a time: two runs of two minutes fit in two minutes, and the two of three do not fit besides.
    first = sparsity("reproduce", "--budget", "2", "--jobs", "2", "--page", page)
    assert first.code == 0
    assert "2 runs to do, about 2 minutes with 2 at a time" in first.out
    assert [row["pruner"] for row in recorded(place)] == ["Random", "Random"]
    text = page.read_text()
    assert "Of 2 figures: 1 above, 1 not run." in text
    (row,) = [line for line in text.splitlines() if "| random |" in line]
    assert "**above**" in row
    assert "| CPU |" in row
    (row,) = [line for line in text.splitlines() if "| magnitude ~ |" in line]
    assert "not run: needs about 2 GPU minutes" in row
    assert "- random: easy to beat" in text

    # Without the runs' folders, what is recorded is not run again.
    table = place / "reproduce" / "results" / "tiny.csv"
    written = table.read_text()
    table.unlink()
    assert "2 runs to do" in sparsity("reproduce", "--dry_run").out
    assert not table.exists()  # what is only listed leaves nothing
    table.write_text(written)
    shutil.rmtree(place / "studies")
    again = sparsity("reproduce", "--jobs", "2", "--page", page)
    assert "2 runs to do, about 3 minutes" in again.out
    assert sorted(path.name.split("-")[0] for path in (place / "studies" / "tiny" / "runs").iterdir()) == 2 * [
        "Magnitude"
    ]
    assert "Of 2 figures: 1 above, 1 below." in page.read_text()
    assert "0 runs to do" in sparsity("reproduce", "--budget", "0", "--page", page).out
    with (place / "studies" / "tiny" / "results.csv").open() as file:
        (best,) = {row["test_accuracy_best"] for row in csv.DictReader(file) if row["seed_everything"] == "1"}
    (found,) = [row for row in recorded(place) if row["seed_everything"] == "1" and row["pruner"] == "Magnitude"]
    assert float(found["best"]) == pytest.approx(100 * float(best), abs=1e-2)


def test_runs_with_other_settings_than_now_do_not_count(place: Path, sparsity: Any) -> None:
    sparsity("reproduce", "--jobs", "2", "--page", place / "page.md")
    before = recorded(place)
    model = place / "configs" / "studies" / "model.yaml"
    model.write_text("# the same, said otherwise\n" + model.read_text())
    assert "0 runs to do" in sparsity("reproduce", "--dry_run").out
    model.write_text(model.read_text().replace("width: 8", "width: 9"))
    other = sparsity("reproduce", "--dry_run")
    assert "4 runs to do" in other.out
    assert "Magnitude-0.5-2-" in other.out
    sparsity("reproduce", "--budget", "0", "--page", place / "page.md")
    assert "Of 2 figures: 2 not run." in (place / "page.md").read_text()
    assert recorded(place) == before  # they are run anew only when that is asked for


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no group 'nothing' of published figures; there are tiny"),
        (["--budget", "-1"], "budget is a number of minutes, 0 or more, not -1"),
        (["--jobs", "0"], "jobs"),
        (["--folder", "elsewhere"], "run this in a clone of the project"),
        (["--studies", "elsewhere"], "cannot read the study elsewhere/tiny.yaml"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: list[str], message: str, place: Path, sparsity: Any) -> None:
    found = sparsity("reproduce", *arguments, "--page", "page.md")
    assert found.code == 2
    assert message in found.err
    assert not (place / "page.md").exists()
    assert not (place / "studies").exists()


def test_a_figure_that_selects_no_run_is_refused(place: Path, sparsity: Any) -> None:
    (place / "reproduce" / "targets.csv").write_text(HEAD + ROWS.replace("pruner=Magnitude", "pruner=SNIP"))
    found = sparsity("reproduce", "--budget", "0")
    assert found.code == 2
    assert (
        "no run of configs/studies/tiny.yaml has {'pruner': 'SNIP'}, which the figure of magnitude at 0.5" in found.err
    )


def test_a_run_that_fails_is_told_and_the_page_is_written_all_the_same(place: Path, sparsity: Any) -> None:
    study = {**STUDY, "axes": [{"pruner": ["Random", "Magnitude"]}, {"pruner.density": [1e-9]}]}
    (place / "configs" / "studies" / "tiny.yaml").write_text(yaml.safe_dump(study))
    (place / "reproduce" / "targets.csv").write_text(HEAD + ROWS.replace(";pruner.density=0.5", ""))
    found = sparsity("reproduce", "--jobs", "2", "--page", place / "page.md")
    assert found.code == 1
    assert found.err.count("failed: ") == 2
    assert "density 1e-09 keeps none" in found.err
    assert "Of 2 figures: 2 not run." in (place / "page.md").read_text()
