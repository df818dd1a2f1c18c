"""Folders of runs and studies that are damaged at random, and every command that reads them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.attempt import attempt
from tests.fuzz.conftest import cases
from tests.fuzz.test_arguments import FIT, SMALL
from tests.fuzz.values import WORDS, paths

RUNS = "lightning_logs"
EVALUATE = ["--data", "Digits", "--data.limit", "64", "--data.batch_size", "16", *SMALL, "--trainer.accelerator", "cpu"]
QUIET = ["--trainer.enable_progress_bar", "false"]
COMMANDS = {
    "report": ["report", RUNS, "--output", "lightning_logs_report"],
    "report of a file": ["report", f"{RUNS}/version_0/checkpoints/best.ckpt", "--output", "lightning_logs_report"],
    "analyze": ["analyze", f"{RUNS}/version_0", f"{RUNS}/version_1", "--output", "lightning_logs_analysis"],
    "study": ["study", "--config", "study.yaml", "--output", ".", "--dry_run"],
    "fit": [*FIT, *SMALL, "--pruner", "Random", "--pruner.density", "0.5", "--trainer.max_epochs", "2",
            "--ckpt_path", "last"],
    "config": ["fit", "--config", f"{RUNS}/version_0/config.yaml", "--trainer.max_steps", "1"],
    "test": ["test", *EVALUATE, *QUIET, "--ckpt_path", "best"],
}  # fmt: skip
FILES = ["summary.json", "config.yaml", "events", "checkpoints/best.ckpt", "checkpoints/last.ckpt"]
ODD: list[Any] = [
    None, True, False, 0, -1, 5, 1.5, 10**30, float("nan"), float("inf"), "", "a", "[/red]", "a\nb", "\0", "../..",
    "x" * 300, [], [1], {}, {"a": 1}, {"class_path": "os.system", "init_args": {"command": "touch ran"}},
]  # fmt: skip
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 9)
)
TEXTS = [*(word for word in WORDS if word.isprintable()), BOMB, "&a [*a]", "[" * 3000, "{}", "[]", "null", "5: 3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small runs of one setting, and the study's file that they could be of."""
    kept = tmp_path_factory.mktemp("finished")

    def keep(folder: Path) -> None:
        version = kept / RUNS / f"version_{len(os.listdir(kept / RUNS))}"
        shutil.copytree(folder / RUNS / "version_0", version)

    (kept / RUNS).mkdir()
    for seed in ("1", "2"):
        arguments = [*FIT, *SMALL, "--pruner", "Random", "--pruner.density", "0.5", "--seed_everything", seed]
        tested = ["--test_after_fit", "true", "--trainer.max_epochs", "1"]
        assert attempt([*arguments, *tested], check=keep).outcome == "ran"
    (kept / "study.name").write_text("study\n")
    (kept / "study.runs").write_text("one\n")
    (kept / "base.yaml").write_text((kept / RUNS / "version_0" / "config.yaml").read_text())
    (kept / "study.yaml").write_text("config: base.yaml\naxes: [{seed_everything: [1, 2]}]\n")
    return kept


def run(try_it: Callable[..., None], command: str, finished: Path, damage: Callable[[Path], None]) -> None:
    def prepare(folder: Path) -> None:
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        damage(folder / RUNS / "version_0")

    try_it(*COMMANDS[command], prepare=prepare)


def place(folder: Path, name: str) -> Path:
    return next(folder.glob("*/events.out.tfevents.*")) if name == "events" else folder / name


commands = st.sampled_from(sorted(COMMANDS))


@cases
@given(command=commands, name=st.sampled_from(FILES), content=st.sampled_from(TEXTS) | st.binary(max_size=60))
def test_files_of_runs_that_hold_something_else(
    command: str, name: str, content: str | bytes, finished: Path, try_it: Callable[..., None]
) -> None:
    raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
    run(try_it, command, finished, lambda folder: place(folder, name).write_bytes(raw) and None)


@cases
@given(
    command=commands,
    name=st.sampled_from(FILES),
    how=st.sampled_from(["cut", "overwrite", "remove", "folder", "link to itself", "copy"]),
    where=st.floats(0, 1),
    new=st.binary(min_size=1, max_size=8),
)
def test_files_of_runs_that_are_damaged(
    command: str, name: str, how: str, where: float, new: bytes, finished: Path, try_it: Callable[..., None]
) -> None:
    def damage(folder: Path) -> None:
        path = place(folder, name)
        content = path.read_bytes()
        start = int(where * len(content))
        if how == "cut":
            path.write_bytes(content[:start])
        elif how == "overwrite":
            path.write_bytes(content[:start] + new + content[start + len(new) :])
        elif how == "copy":
            shutil.copy(path, path.with_name(f"events.out.tfevents.{start}"))
        else:
            path.unlink()
            if how == "folder":
                path.mkdir()
            elif how == "link to itself":
                path.symlink_to(path)

    run(try_it, command, finished, damage)


@cases
@given(
    command=commands,
    name=st.sampled_from(["summary.json", "config.yaml"]),
    data=st.data(),
    values=st.lists(st.sampled_from(ODD), min_size=1, max_size=2),
)
def test_values_in_summaries_and_configs(
    command: str, name: str, data: st.DataObject, values: list[Any], finished: Path, try_it: Callable[..., None]
) -> None:
    text = (finished / RUNS / "version_0" / name).read_text()
    content = json.loads(text) if name == "summary.json" else yaml.safe_load(text)
    for value in values:
        *parents, key = data.draw(st.sampled_from(paths(content)))
        node = content
        for parent in parents:
            node = node[parent]
        node[key] = value
    new = json.dumps(content) if name == "summary.json" else yaml.safe_dump(content)
    run(try_it, command, finished, lambda folder: (folder / name).write_text(new) and None)


@cases
@given(
    command=commands,
    how=st.sampled_from(["no checkpoints", "no version_1", "nested", "renamed", "empty", "copied", "study"]),
    text=st.sampled_from(["[red]", "a b", "é", "%s", "$x$", "-x", "version_10", "..a", "x" * 200]),
)
def test_folders_of_runs_that_are_moved_about(
    command: str, how: str, text: str, finished: Path, try_it: Callable[..., None]
) -> None:
    def damage(folder: Path) -> None:
        if how == "no checkpoints":
            shutil.rmtree(folder / "checkpoints")
        elif how == "no version_1":
            shutil.rmtree(folder.parent / "version_1")
        elif how == "nested":
            shutil.copytree(folder.parent / "version_1", folder / "version_1")
        elif how == "renamed":
            folder.rename(folder.with_name(text))
        elif how == "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        elif how == "copied":
            shutil.copytree(folder, folder.with_name(text))
        else:
            (folder.parent.parent / "study.runs").write_text(text)

    run(try_it, command, finished, damage)
