"""Every block of the pages that teach, and of those for who comes from elsewhere: it runs, or the page says why not."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, SHORT, PageRun, steps

PAGES = [
    *sorted(path for folder in ("tutorials", "coming_from") for path in (ROOT / "docs" / folder).glob("*.md")),
    ROOT / "docs/which_pruner.md",
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_page_does_what_it_says(path: Path, sparsity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "smaller_onnx":
        pytest.importorskip("onnxruntime", reason="ONNX files need pip install -e .[export]")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("my_network", "my_data"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    page = PageRun(str(path.relative_to(ROOT)), sparsity, SHORT)
    for step in steps(path.read_text(encoding="utf-8")):
        page.run(step)


def test_links_between_the_pages_of_the_guide_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith(("http", "#")):
                file, _, anchor = link.partition("#")
                target = page.parent / file
                assert target.exists(), f"{page.name} links {link}"
                headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
                found = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert not anchor or anchor in found, f"{page.name} links {link}"
