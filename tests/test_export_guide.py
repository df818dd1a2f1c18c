"""The guide to `export`: its code and commands, in their order, say what stands behind them."""

import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.test_use_a_network import QUIET, arguments, steps

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "export.md").read_text()


def test_the_guide_does_what_it_says(sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        pytest.importorskip(package)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sparsity"])
    said: list[str] = []
    names: dict[str, Any] = {"__name__": "guide", "print": lambda *values: said.append(" ".join(map(str, values)))}
    text, measured = PAGE.split("## Measured\n")
    ran = list(steps(text))
    for step in ran:
        if step.startswith("    "):
            command, *expected = [line.strip() for line in step.splitlines()]
            needs_trainer = arguments(command)[0] in ("fit", "test")
            outcome = sparsity(*arguments(command), *(QUIET if needs_trainer else []))
            assert outcome.code == 0, outcome.err
            assert all(line.removesuffix("...").strip() in outcome.out for line in expected)
        else:
            said.clear()
            with warnings.catch_warnings():
                exec(compile(step, "docs/export.md", "exec"), names)
            assert said == re.findall(r"^ *print\(.*\)  # (.*)$", step, flags=re.MULTILINE)
    assert len(ran) == 12
    assert "python -m sparsity export" in measured
