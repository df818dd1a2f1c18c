"""The guide to using a network: its code and commands, as they stand there, say what stands behind them."""

import re
import shutil
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.pages import QUIET, ROOT, PageRun, arguments, steps

PAGE = (ROOT / "docs" / "use_a_network.md").read_text()
INTRODUCTION, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the introduction's command was run."""
    from sparsity.cli import main

    folder = tmp_path_factory.mktemp("guide")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (command,) = steps(INTRODUCTION)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["sparsity"])
        main([*arguments(command.text.strip()), *QUIET])
    return folder


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_a_section_does_what_it_says(
    section: str, first_run: Path, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    page = PageRun("docs/use_a_network.md", sparsity, QUIET)
    for step in steps(section):
        if "WandbLogger" not in step.text or find_spec("wandb"):
            page.run(step)


def test_the_page_has_sections_with_commands_and_code() -> None:
    assert len(SECTIONS) == 8
    assert all(list(steps(section)) for section in SECTIONS)
