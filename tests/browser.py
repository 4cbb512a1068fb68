"""A headless Chromium for tests: a page that complains, or that asks for anything from a network, fails its test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """The browser; its event loop ends with the module, for other tests may want one of their own."""
    api = pytest.importorskip("playwright.sync_api")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    # Chromium refuses to run as root with its sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: "Browser", tmp_path: Path) -> "Iterator[Callable[..., Page]]":
    """Opens HTML from disk, or an address of this machine; what the page said and asked is judged at the end."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def visit(
        html: str = "", hash: str = "", width: int = 1280, height: int = 900, address: str = "", **more: Any
    ) -> "Page":
        if not address:
            path = tmp_path / f"{len(contexts)}.html"
            path.write_text(html)
            address = path.as_uri()
        viewport: Any = {"width": width, "height": height}
        context = chromium.new_context(viewport=viewport, offline=address.startswith("file:"), **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + hash)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "http://127.0.0.1:"))] == []
