"""A headless Chromium that opens written pages, and notes what they ask for and what goes wrong."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium of the system; tests that look at pages are skipped without it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium in PATH, which looks at pages (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives Chromium: pip install -e .[dev]")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """`open_page(file, width=1280, dark=False, scripts=True)`; fails in the end if a page loaded anything or erred."""
    contexts, wrong = [], list[str]()

    def opened(file: Path, width: int = 1280, dark: bool = False, scripts: bool = True) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        address = file.resolve().as_uri()
        page.on("pageerror", lambda error: wrong.append(f"{file.name}: {error}"))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.split("#")[0] == address or request.url.startswith(("data:", "blob:"))
                else wrong.append(f"{file.name} loads {request.url[:100]}")
            ),
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong
