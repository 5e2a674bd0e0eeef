"""The PDF holds all chapters in order, every figure, and links and page numbers that agree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chromium import needs_chromium
from lxml import html
from pypdf import PdfReader

from radtransfer.study import bookprint
from radtransfer.study.bookprint import PrintError, print_book


@pytest.fixture
def pages(book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pages of the small book, one figure of which can be looked around in."""
    monkeypatch.setenv("RADTRANSFER_ROOT", str(book.parents[3]))
    shutil.copytree(book, tmp_path / "html")
    chapter = tmp_path / "html" / "book" / "chapters" / "results.html"
    explorer = '<section class="rt-explorer"><p>Try it</p></section></article>'
    chapter.write_text(chapter.read_text(encoding="utf-8").replace("</article>", explorer), encoding="utf-8")
    return tmp_path / "html"


@needs_chromium
def test_the_whole_book_is_printed(pages: Path, tmp_path: Path) -> None:
    reader = PdfReader(print_book(pages, tmp_path / "book.pdf"))
    texts = [" ".join((page.extract_text() or "").split()) for page in reader.pages]
    title, contents, *chapters = texts
    assert "For research; not for diagnosis" in title
    assert "no result of the study" in title
    # the number at a page's foot is read first; contents agree with it and with where chapters begin
    headings = ("A study", "Results", "Demo", "References")
    starts = [
        number
        for number, text in enumerate(texts, start=1)
        for heading in headings
        if text.startswith(f"{number} {heading} ")
    ]
    assert starts == sorted(starts)
    assert contents.endswith(
        " ".join(f"{name} {number}" for name, number in zip(headings, starts, strict=True))
    )
    assert "Jane Doe" in chapters[-1]
    together = " ".join(chapters)
    assert "0.890 (95 % CI 0.868 to 0.911)" in together.replace("\N{NO-BREAK SPACE}", " ")
    for screen_only in ("Try it", "Data as CSV", "Table as CSV", "Executed notebook", "Show code", "epoch 1"):
        assert screen_only not in together
    figures = [
        figure for page in pages.rglob("*.html") for figure in html.parse(str(page)).findall(".//figure/img")
    ]
    assert sum(len(page.images) for page in reader.pages) == len(figures) == 2
    targets = {
        str(link.get_object().get("/Dest", "")) for page in reader.pages for link in page.get("/Annots", [])
    }
    assert {target.lstrip("/") for target in targets - {""}} <= {
        name.lstrip("/") for name in reader.named_destinations
    }


def test_without_a_browser_it_says_so(pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookprint, "find_browser", lambda: None)
    with pytest.raises(PrintError, match=r"printed by Chromium, and none was found \(install chromium\)"):
        print_book(pages, tmp_path / "book.pdf")
    assert not (tmp_path / "book.pdf").exists()
