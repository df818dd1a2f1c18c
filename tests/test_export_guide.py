"""The guide to `export`: its code and commands, in their order, say what stands behind them."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pages import QUIET, ROOT, PageRun, steps

PAGE = (ROOT / "docs" / "export.md").read_text()


def test_the_guide_does_what_it_says(sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        pytest.importorskip(package)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sparsity"])
    text, measured = PAGE.split("## Measured\n")
    page = PageRun("docs/export.md", sparsity, QUIET)
    ran = list(steps(text))
    for step in ran:
        page.run(step)
    assert len(ran) == 12
    assert "python -m sparsity export" in measured
