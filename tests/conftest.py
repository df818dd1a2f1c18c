"""Fixtures shared by all tests."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

pytest_plugins = ("tests.browser", "tests.published", "tests.saved_runs")

ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, so that tests are the same on every machine, unless those are asked for that need one."""
    if not re.search(r"(?<!not )\bgpu\b", config.getoption("markexpr")):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of processes that tests start, too; torch has not looked yet


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        pytest.skip("GPUs are hidden but for pytest -m gpu" if hidden else "needs a GPU")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published networks, real data and golden values; tests that need it are skipped without it."""
    folder = Path(os.environ.get("SPARSITY_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference folder at {folder}; set SPARSITY_REFERENCE")
    return folder


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def sparsity(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run the command line in this process, as `python -m sparsity` does."""
    from sparsity.cli import main

    monkeypatch.setattr(sys, "argv", ["sparsity"])

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        caplog.clear()
        code = 0
        with warnings.catch_warnings():
            try:
                main([str(a) for a in arguments])
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
        out, err = capfd.readouterr()
        # Lightning's log goes to the stderr of the moment it was imported.
        # What torch tells of its own tracing is for torch's debuggers.
        ours = [record for record in caplog.records if not record.name.startswith("torch.")]
        return Outcome(code, out, "".join(f"{caplog.handler.format(record)}\n" for record in ours) + err)

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
