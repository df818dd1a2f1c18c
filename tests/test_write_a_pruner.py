"""The tutorial's code and commands, as they stand there."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsity.interop import load_network
from sparsity.masks import masks

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "write_a_pruner.md").read_text()


@pytest.fixture
def _my_pruner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "my_pruner.py").write_text("\n\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_pruner", raising=False)
    monkeypatch.chdir(ROOT)


def commands() -> list[str]:
    return [line.strip().removeprefix("python -m sparsity ") for line in PAGE.splitlines() if line.startswith("    ")
            and "python -m sparsity" in line]  # fmt: skip


@pytest.mark.usefixtures("_my_pruner")
def test_the_pruner_runs_by_its_name_at_the_exact_density(sparsity: Any, tmp_path: Path) -> None:
    run, _ = commands()
    short = ["--trainer.max_epochs", "2", "--trainer.callbacks", "null", "--trainer.enable_progress_bar", "false"]
    outcome = sparsity(*shlex.split(run), *short, "--trainer.default_root_dir", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "LargeInUnit: density 0.05 asked, 0.05 reached (5,970 of 119,400 weights)" in outcome.out


@pytest.mark.usefixtures("_my_pruner")
def test_its_help_has_the_options_of_the_base_class(sparsity: Any) -> None:
    _, ask = commands()
    outcome = sparsity(*shlex.split(ask))
    assert outcome.code == 0
    for option in ("density", "scope", "allocation", "min_kept", "rescale"):
        assert f"--pruner.{option}" in outcome.out


@pytest.mark.usefixtures("_my_pruner")
def test_an_option_of_its_own_is_known_and_used(sparsity: Any, tmp_path: Path) -> None:
    run, ask = (command.replace("LargeInUnit", "LargeOrLucky") for command in commands())
    assert "--pruner.luck LUCK" in sparsity(*shlex.split(ask)).out
    short = ["--trainer.max_epochs", "1", "--trainer.callbacks", "null", "--trainer.enable_progress_bar", "false"]
    found = []
    for place, luck in enumerate(("0", "5")):
        folder = ["--pruner.luck", luck, "--trainer.default_root_dir", tmp_path / str(place)]
        assert sparsity(*shlex.split(run), *short, *folder).code == 0
        (file,) = (tmp_path / str(place)).rglob("last.ckpt")
        found.append(masks(load_network(file))["fc2"])
    assert not found[0].equal(found[1])
