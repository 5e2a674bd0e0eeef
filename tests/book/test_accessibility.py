"""Pages can be used by keyboard, by ear and with weak eyes: axe-core finds no grave fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from accessibility import grave_faults, pages_of
from chromium import browsing, needs_chromium

from radtransfer.study.bookbuild import build_book

pytestmark = needs_chromium

FAULTY = """<!DOCTYPE html><html lang="en"><head><title>t</title></head><body><main><h1>t</h1>
<p style="color: #ccc; background: #fff">pale</p><input type="text"></main></body></html>"""


def test_every_page_in_the_light_and_in_the_dark(book: Path, tmp_path: Path) -> None:
    root = tmp_path / "html"
    shutil.copytree(book, root)
    pages = pages_of(root)
    (root / "faulty.html").write_text(FAULTY)
    with browsing(root, tmp_path) as browser:
        light = grave_faults(browser, [*pages, "faulty.html"], theme="light", width=1280)
        assert browser.errors == []
        dark = grave_faults(browser, pages, theme="dark", width=390)
        assert browser.errors == []
    # the planted ones show that the others would have been found
    assert [fault.partition(" at ")[0] for fault in light] == [
        "faulty.html: label",
        "faulty.html: color-contrast",
    ]
    assert dark == []


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_of_the_published_book(
    theme: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "work"))
    root = build_book()
    with browsing(root, tmp_path) as browser:
        pages = pages_of(root)
        for start in range(0, len(pages), 5):
            assert grave_faults(browser, pages[start : start + 5], theme=theme, width=width) == []
            assert browser.errors == []
