"""One run never keeps a report from the others: what cannot be read is named with its reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsity.interop import save_checkpoint
from sparsity.networks import FC
from sparsity.runs.folder import RunFolder
from sparsity.runs.planned import write_planned
from sparsity.runs.summary import RunSummary

SaveRun = Callable[..., Path]

SUMMARY = {"method": "Random", "density_asked": 0.3, "density": 0.3, "test_accuracy": {"best": 0.5}}


def summary_with(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "summary.json").write_text(json.dumps(SUMMARY | changes)) and None


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def own_network(folder: Path) -> None:
    torch.save({"state_dict": nn.Linear(3, 2).state_dict()}, folder / "checkpoints" / "best.ckpt")


def hidden_file(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "own network": (own_network, "cannot read a network from"),
    "no checkpoint": (hidden_file, "there is no file"),
    "damaged checkpoint": (text("checkpoints/best.ckpt", "noise"), "best.ckpt is damaged"),
    "empty summary": (text("summary.json", ""), "is not the summary of a run, or is damaged"),
    "nested summary": (text("summary.json", "[" * 3000 + "]" * 3000), "is not the summary of a run"),
    "no mapping": (text("summary.json", "[]"), "it is no mapping"),
    "NaN": (text("summary.json", '{"method": "a", "density_asked": NaN, "test_accuracy": {}}'), "density_asked is nan"),
    "nested config": (text("config.yaml", "[" * 3000 + "]" * 3000), "nested too deeply"),
    "config of itself": (text("config.yaml", "&a [*a]"), "it has an alias"),
    "empty config": (text("config.yaml", ""), "is not the config of a run"),
    "config of no text": (lambda folder: (folder / "config.yaml").write_bytes(b"\xff\x00") and None, "is damaged"),
    "config with another key": (text("config.yaml", "5: 3"), "is not the config of a run"),
    "config with a date": (text("config.yaml", "ckpt_path: 2020-01-01"), "its ckpt_path is"),
    "config with a number": (text("config.yaml", "ckpt_path: 5"), "its ckpt_path is 5"),
    "config with a list": (text("config.yaml", "ckpt_path: [a]"), "its ckpt_path is"),
    "config with a nothing": (text("config.yaml", 'ckpt_path: "a\\0b"'), "its ckpt_path is"),
    **{
        f"{key} {value!r}": (summary_with(**{key: value}), f"{key} is")
        for key, values in {
            "method": [None, 5, [], "", "a\nb", "x" * 201, "\ud800"],
            "measures_at_start": [[], {"a": "b"}, {"a": True}, {"a": 10**400}],
            "density_asked": [0, -1, 2, "0.5", True, [], {}],
            "density": ["0.3", 1.5, {}, False],
            "test_accuracy": [None, 0.5, [], {"best": "high"}, {"best": None}, {"best": 2}, {"best": [1]}],
            "seed": ["7", [1], 1.5, True, 10**400],
            "epochs": ["3", -1, [], 10**400, {}],
            "seconds": ["fast", {}, 1e300],
            "kept": ["all", -5],
            "flops_dense": [[], "many"],
            "git_commit": [5, {}, ["a"], "a\u2028b"],
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_cannot_be_read_is_named_with_its_reason(save_run: SaveRun, tmp_path: Path, damage: str) -> None:
    from sparsity.report.networks import read_runs
    from sparsity.report.sections import reasons
    from sparsity.report.sources import find_sources

    save_run("version_0", seed=1)
    broken = save_run("version_1", seed=2)
    spoil, reason = DAMAGES[damage]
    spoil(broken)
    sources = find_sources([str(tmp_path)], "best")
    left_out = list(sources.left_out)
    runs = read_runs(sources.finished, left_out=left_out)
    assert [run.source.path.name for run in runs] == ["version_0"]
    (told,) = reasons(sources.unfinished, left_out)
    assert "version_1" in told
    assert reason in told
    assert "\n" not in told


def test_the_page_and_stderr_name_what_is_left_out_and_the_others_are_reported(
    sparsity: Any, save_run: SaveRun, tmp_path: Path
) -> None:
    save_run("version_0", seed=1)
    own_network(save_run("version_1", seed=2))
    save_run("version_2", seed=3, finished=False, curve={0: 0.5})
    without_best = save_run("version_3", seed=4)
    (without_best / "checkpoints" / "best.ckpt").rename(without_best / "checkpoints" / "last.ckpt")
    (save_run("version_4", seed=5) / "events.out.tfevents.folder").mkdir()
    (tmp_path / "noise.pt").write_bytes(b"noise")
    outcome = sparsity("report", tmp_path / "runs", tmp_path / "noise.pt", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "index.html").read_text()
    said = [
        "version_1/checkpoints/best.ckpt", "version_2: 1 epoch trained, and it has not ended",
        "version_3 has no best.ckpt, so its last.ckpt is taken", "noise.pt is damaged",
    ]  # fmt: skip
    for words in said:
        assert words in page
        assert words in outcome.err
    assert outcome.err.count("left out: ") == 3
    assert "Trained networks: 3" in page


def test_if_nothing_is_left_the_report_fails_with_the_reason(sparsity: Any, save_run: SaveRun, tmp_path: Path) -> None:
    own_network(save_run("version_0"))
    outcome = sparsity("report", tmp_path / "runs", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "error: cannot read a network from" in outcome.err
    assert not (tmp_path / "out").exists()


def test_an_evaluation_is_no_unfinished_run(save_run: SaveRun, tmp_path: Path) -> None:
    from sparsity.report.sources import find_sources

    save_run("version_0")
    shutil.rmtree(save_run("version_1", seed=2, finished=False, verbose=True) / "checkpoints")
    found = find_sources([str(tmp_path)], "best")
    assert (len(found.finished), found.unfinished, found.left_out) == (1, (), ())


def test_a_study_that_is_half_done_says_so(save_run: SaveRun, tmp_path: Path) -> None:
    from sparsity.report.sources import find_sources

    save_run("version_0")
    (tmp_path / "study" / "runs" / "one").mkdir(parents=True)
    write_planned(tmp_path / "study", [tmp_path / "study" / "runs" / name for name in ("one", "two", "three")])
    (study, failed) = find_sources([str(tmp_path)], "best").left_out
    assert study == (tmp_path / "study", "the study is not done: 2 of its 3 runs have not begun")
    assert failed.path == tmp_path / "study" / "runs" / "one"
    assert "has left nothing: it failed at the start, which its log.txt tells" in failed.reason


def test_of_two_reports_that_start_at_once_one_gets_the_folder(
    sparsity: Any, save_run: SaveRun, tmp_path: Path
) -> None:
    from sparsity.analysis.output import results_folder
    from sparsity.errors import SparsityError

    with results_folder(tmp_path / "out") as first:
        with pytest.raises(SparsityError, match="out is not empty"), results_folder(tmp_path / "out"):
            pass
        (first / "index.html").write_text("the first's")
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [("index.html", "the first's")]


def test_what_a_fit_writes_can_be_read(sparsity: Any, tmp_path: Path) -> None:
    arguments = [
        "--data", "Digits", "--data.limit", "64", "--data.val_size", "0", "--model.network", "FC",
        "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
    ]  # fmt: skip
    outcome = sparsity("fit", *arguments, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "lightning_logs" / "version_0"
    assert RunSummary.read(RunFolder(folder)).test_accuracy == {}
    assert RunFolder(folder).read_config()["seed_everything"] == 42
    assert "test accuracy not measured" in outcome.out
    outcome = sparsity("report", tmp_path, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "has no best.ckpt, so its last.ckpt is taken" in outcome.err


def test_a_bare_network_and_a_foreign_file_are_told_apart(sparsity: Any, tmp_path: Path) -> None:
    save_checkpoint(FC(depth=2, width=4), tmp_path / "good.ckpt")
    torch.save([1, 2], tmp_path / "list.pt")
    outcome = sparsity("report", tmp_path / "list.pt", tmp_path / "good.ckpt", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "list.pt holds no tensors by name" in outcome.err
