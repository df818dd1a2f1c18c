"""The gallery: its commands run, in fewer epochs, and leave the files that it names; its pictures are there."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pages import NO_BAR, ROOT, PageRun, steps


def test_the_commands_leave_the_files_that_the_gallery_names(
    sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    page = PageRun("gallery.md", sparsity, [*NO_BAR, "--trainer.max_epochs", "2"])
    for step in steps(text):
        page.run(step)
    named = re.findall(r"`([\w./]+\.(?:png|gif|html))`", text)
    assert len(named) > 10
    assert [file for file in named if not Path(file).is_file()] == []
