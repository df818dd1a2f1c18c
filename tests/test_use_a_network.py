"""The guide to using a network: its code and commands, as they stand there, say what stands behind them."""

import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "use_a_network.md").read_text()
COMMAND = "python -m sparsity "
QUIET = ["--trainer.callbacks", "null", "--trainer.enable_progress_bar", "false", "--test_after_fit", "false"]


def steps(text: str) -> Iterator[str]:
    """Blocks of Python code and commands with what they say, in their order."""
    for code, command in re.findall(r"```python\n([^`]*)```|((?:^    .*\n)+)", text, flags=re.MULTILINE):
        yield code or command


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
        main([*arguments(command.strip()), *QUIET])
    return folder


def arguments(command: str) -> list[str]:
    assert command.startswith(COMMAND)
    return shlex.split(command.removeprefix(COMMAND))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_a_section_does_what_it_says(
    section: str, first_run: Path, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[str] = []
    names: dict[str, Any] = {"__name__": "guide", "print": lambda *values: said.append(" ".join(map(str, values)))}
    ran = 0
    for step in steps(section):
        if "WandbLogger" in step and find_spec("wandb") is None:
            continue
        ran += 1
        if step.startswith("    "):
            run(step, sparsity)
            continue
        said.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.filterwarnings("always", message=".*has zeros and no masks")
            exec(compile(step, "docs/use_a_network.md", "exec"), names)
        assert said == re.findall(r"^ *print\(.*\)  # (.*)$", step, flags=re.MULTILINE)
        assert [str(warning.message) for warning in warned] == re.findall(r"  # warns: (.*)$", step, flags=re.MULTILINE)
    assert ran


def run(block: str, sparsity: Any) -> None:
    command, *expected = [line.strip() for line in block.splitlines()]
    outcome = sparsity(*arguments(command), *QUIET)
    assert outcome.code == (2 if any(line.startswith("error: ") for line in expected) else 0), outcome.err
    for line in expected:
        assert line.removesuffix("...").strip() in outcome.out + outcome.err


def test_the_page_has_sections_with_commands_and_code() -> None:
    assert len(SECTIONS) == 8
    assert all(list(steps(section)) for section in SECTIONS)
