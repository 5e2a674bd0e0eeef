"""What only a browser can tell: nothing fetched, nothing too wide, everything legible in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browsing, needs_chromium

pytestmark = needs_chromium

PAGES = ("book/index.html", "book/chapters/results.html", "notebooks/01_demo.html")

MEASURE = """
  const words = ".rt-table :is(caption, th, td), figcaption, .bd-header-announcement";
  return {
    page: page.documentElement.scrollWidth,
    asked: asked(),
    ground: luminance(ground(page.querySelector("article"))),
    contrast: [...page.querySelectorAll(words)].map(contrast),
    images: [...page.images].map((i) => [i.naturalWidth, i.getBoundingClientRect().right]),
    tables: [...page.querySelectorAll(".rt-table")].map((t) => [t.clientWidth, t.scrollWidth]),
  };
"""


@pytest.fixture
def browser(book: Path, tmp_path: Path) -> Iterator[Browser]:
    root = tmp_path / "html"
    shutil.copytree(book, root)
    with browsing(root, tmp_path) as shown:
        yield shown


def measure(browser: Browser, page: str, *, width: int, theme: str) -> dict[str, Any]:
    measured: dict[str, Any] = browser.run(page, MEASURE, width=width, theme=theme)
    return measured


@pytest.mark.parametrize("page", PAGES)
def test_page_on_a_phone_in_the_dark(browser: Browser, page: str) -> None:
    measured = measure(browser, page, width=390, theme="dark")
    assert any("/study.css" in address for address in measured["asked"])
    assert [url for url in measured["asked"] if not url.startswith((browser.address, "data:"))] == []
    assert measured["page"] == 390
    assert measured["ground"] < 0.1
    assert min(measured["contrast"]) >= 4.5  # WCAG 2.2, 1.4.3
    assert all(natural > 0 and right <= 390 for natural, right in measured["images"])


def test_wide_table_scrolls_inside_the_page(browser: Browser) -> None:
    page = "book/chapters/results.html"
    phone = measure(browser, page, width=390, theme="light")
    shown, whole = phone["tables"][0]
    assert shown < 390 < whole
    assert phone["page"] == 390
    assert phone["ground"] > 0.9
    assert min(phone["contrast"]) >= 4.5
    assert measure(browser, page, width=1280, theme="light")["page"] == 1280
