"""`report`, through the command line."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

SaveRun = Callable[..., Path]


class Page(HTMLParser):
    """Collects what a page shows and what it refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def two_runs(save_run: SaveRun, tmp_path: Path) -> Path:
    save_run("version_0", "Random", 0.3, seed=1, accuracy=0.9, curve={0: 0.5, 1: 0.75})
    save_run("version_1", "Random", 0.3, seed=2, accuracy=0.92, curve={0: 0.5, 1: 0.25})
    save_run("version_2", "SynFlow", 0.3, seed=3, finished=False, curve={0: 0.5})
    return tmp_path / "runs"


def test_the_page_has_the_numbers_and_needs_nothing_else(sparsity: Any, two_runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = sparsity("report", two_runs, "--output", out, "--data", "Digits", "--images", "20", "--title", "A <b>")
    assert outcome.code == 0, outcome.err
    assert str(out / "index.html") in outcome.out
    html = (out / "index.html").read_text()
    page = Page(html)
    for words in ("A <b>", "91.00 ± 1.41 %", "version_2: 1 epoch trained", "version_1/config.yaml", "within Random"):
        assert words in page.text
    inside = [name for name in page.references if not name.startswith(("#", "data:image/png;"))]
    assert inside
    assert all((out / reference).read_bytes().startswith(b"%PDF") for reference in inside)
    assert {path.name for path in out.iterdir()} == {*inside, "index.html"}
    assert not {"img", "link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert not re.search(r"@import|url\((?!#)|https?:", html)
    paths = set(re.findall(rf"{re.escape(str(tmp_path))}[^\s<]*", html))
    assert paths
    assert all(path.startswith((str(two_runs), str(out))) for path in paths)


def test_published_networks_of_any_program_make_a_page(sparsity: Any, tmp_path: Path, reference: Path) -> None:
    files = [reference / "published" / "FC" / name
             for name in ("synflow_10_21.pt", "synflow_10_42.pt", "gem_miner_10_21.pth")]  # fmt: skip
    outcome = sparsity("report", *files, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert "Methods: gem_miner, synflow. Densities: 10 %." in page.text
    assert "2.94 %" in page.text
    assert "Training" not in page.text
    assert (tmp_path / "out" / "nnstd_10.pdf").is_file()
    assert (tmp_path / "out" / "first_layer_10.pdf").is_file()


def test_a_single_dense_network_is_enough(sparsity: Any, save_run: SaveRun, tmp_path: Path) -> None:
    folder = save_run("version_0", "dense", 1.0)
    outcome = sparsity("report", folder, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--output", "out"], "there is no file or folder nowhere"),
        (["empty", "--output", "out"], "there is no finished run below empty"),
        (["noise.ckpt", "--output", "out"], "noise.ckpt is damaged"),
        (["runs", "--output", "full"], "full is not empty"),
        (["runs", "--output", "out", "--checkpoint", "last"], "there is no file runs/lightning_logs/version_0"),
        (["runs", "--output", "out", "--images", "0"], "images must be a whole number of at least 1"),
        (["runs", "--output", "out", "--checkpoint", "worst"], "checkpoint"),
        (["runs"], "output"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_is_written(
    sparsity: Any, two_runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    folder = two_runs.parent
    monkeypatch.chdir(folder)
    (folder / "noise.ckpt").write_bytes(bytes(range(256)))
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "something").touch()
    before = sorted(folder.rglob("*"))
    outcome = sparsity("report", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before
