"""The README's commands, as they stand there."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = [
    line.strip().removeprefix("python -m sparsity ")
    for line in (ROOT / "README.md").read_text().splitlines()
    if line.startswith("    python -m sparsity fit")
]
QUICKSTART = "fit --config configs/quickstart.yaml"


def test_the_first_run_reaches_the_accuracy_and_density_it_promises(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sparsity", *shlex.split(QUICKSTART), "--trainer.default_root_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    summary = done.stdout.strip().splitlines()[-1]
    assert "density 0.1 asked, 0.1 reached (11,940 of 119,400 weights)" in summary
    best = float(summary.split("test accuracy ")[1].split("%")[0])
    assert best > 95


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--ckpt_path" not in c])
def test_every_command_is_understood(command: str, sparsity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    outcome = sparsity(*shlex.split(command), "--print_config")
    assert outcome.code == 0, outcome.err


def test_the_readme_has_commands() -> None:
    assert QUICKSTART in COMMANDS
    assert len(COMMANDS) >= 6


DOCS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.stem)
def test_every_command_of_the_docs_is_understood(page: Path, sparsity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    unknown = [".help", "my_"] + ["transformers."] * (find_spec("transformers") is None)
    for line in page.read_text().splitlines():
        # The others need files or ask for help, and have tests of their own.
        if line.startswith("    python -m sparsity fit") and not any(word in line for word in unknown):
            outcome = sparsity(*shlex.split(line.strip().removeprefix("python -m sparsity ")), "--print_config")
            assert outcome.code == 0, f"{line.strip()}: {outcome.err}"
