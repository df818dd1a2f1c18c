"""The commands where Python has no `fcntl`, as on Windows, and where the package was never installed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ("analyze", "convert", "export", "report", "study", "fit", "validate", "test", "predict")
QUICK = ("--data", "Digits", "--data.limit", "64", "--model.network", "FC", "--model.network.width", "8", "--pruner",
         "Random", "--pruner.density", "0.5", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")  # fmt: skip

NO_POSIX = "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'termios', 'resource')))\n"
"""Importing any of them fails from here on."""
NOT_INSTALLED = """
import importlib.metadata as metadata
true = metadata.Distribution.from_name.__func__
def from_name(cls, name):
    if name in ("sparsity-lightning", "pytorch-lightning"):
        raise metadata.PackageNotFoundError(name)
    return true(cls, name)
metadata.Distribution.from_name = classmethod(from_name)
"""


def python(program: str, *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


MAIN = "from sparsity.cli import main; main()"


def test_every_command_says_how_it_is_used_without_posix() -> None:
    program = f"""{NO_POSIX}
from sparsity.cli import main
for command in {COMMANDS}:
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, command
"""
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert all(f"sparsity {command}" in done.stdout for command in COMMANDS[:5])


def test_networks_are_trained_and_analysed_without_posix(tmp_path: Path) -> None:
    fitted = python(NO_POSIX + MAIN, "fit", *QUICK, folder=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    checkpoint = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    analysed = python(NO_POSIX + MAIN, "analyze", checkpoint, "--output", tmp_path / "analysis")
    assert analysed.returncode == 0, analysed.stderr


@pytest.mark.parametrize("where", [NO_POSIX, NOT_INSTALLED], ids=["no_posix", "not_installed"])
def test_a_report_is_written(where: str, save_run: Callable[..., Path], tmp_path: Path) -> None:
    save_run("version_0")
    done = python(where + MAIN, "report", tmp_path / "runs", "--output", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert ("Made by sparsity unknown on" in page) == (where == NOT_INSTALLED)


def test_a_checkpoint_is_converted_where_nothing_is_installed(save_run: Callable[..., Path], tmp_path: Path) -> None:
    source = save_run("version_0") / "checkpoints" / "best.ckpt"
    done = python(NOT_INSTALLED + MAIN, "convert", source, "--output", tmp_path / "converted.ckpt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "converted.ckpt").is_file()


def test_a_study_says_in_one_sentence_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("set: {data: Digits, model.network: FC}\naxes: []\n")
    done = python(NO_POSIX + MAIN, "study", "--config", tmp_path / "study.yaml", "--output", tmp_path / "o")
    assert done.returncode == 2
    assert "error: a study locks its runs" in done.stderr
    assert "Traceback" not in done.stderr
