"""The site: it builds without a warning, names all that is public, loads nothing from elsewhere, fits a telephone."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.pages import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("mkdocstrings", reason="the site is built by mkdocs: pip install -e .[docs]")
PACKAGES = ("analysis", "callbacks", "compaction", "datamodules", "interop", "masks", "networks")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: links, anchors and references that lead nowhere are errors, and pages nobody links."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_everything_public_stands_in_the_reference(site: Path) -> None:
    for package in PACKAGES:
        text = (site / "api" / package / "index.html").read_text(encoding="utf-8")
        anchored = set(re.findall(rf'id="sparsity\.{package}(?:\.\w+)*\.(\w+)"', text))
        names = set(importlib.import_module(f"sparsity.{package}").__all__)
        aliases = {"FixedMask", "PruneIteratively"}  # of classes that are there under their present names
        assert [name for name in sorted(names - aliases) if name not in anchored] == []


class _Loaded(HTMLParser):
    """What a page makes a browser load, by its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        key = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag)
        if key and given.get(key) and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(str(given[key]))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        parser = _Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert len(parser.addresses) > 3
        assert [one for one in parser.addresses if re.match(r"(https?:)?//", one)] == [], page


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("page", ["", "pruners/", "gallery/", "api/callbacks/", "tutorials/first_ticket/"])
def test_a_page_fits_a_telephone_and_asks_nobody_else(browser: "Browser", address: str, page: str) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 900}, color_scheme="dark")
    asked, wrong = [], list[str]()
    opened = context.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(f"{address}/{page}", wait_until="networkidle")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400
    assert opened.evaluate("document.body.dataset.mdColorScheme") == "slate"
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert wrong == []
