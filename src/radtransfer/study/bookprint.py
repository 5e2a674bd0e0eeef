"""The whole book as one PDF: the checked pages, put together and printed by Chromium.

The PDF is made of the HTML that was built and checked, so that both say the same. What needs a
reader's hand stays on the screen: explorers (their static figures are in the pages anyway), folded code,
and links to files that lie beside the pages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import yaml
from lxml import etree
from lxml import html as lxml_html
from lxml.html.builder import E
from pypdf import PdfReader

from radtransfer import __version__, paths
from radtransfer.atomic import atomic_file
from radtransfer.errors import RadtransferError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
TIMEOUT_S = 600
SHORT_ROWS = 16
"""A table of more rows may go on over the next page, its head repeated."""

_FOR_THE_SCREEN = (
    ".//script | .//style | .//button | .//*[contains(@class, 'headerlink')]"
    " | .//*[contains(@class, 'rt-explorer')] | .//*[contains(@class, 'rt-download')]"
    " | .//*[contains(@class, 'rt-data')] | .//*[contains(@class, 'toctree-wrapper')]"
    # code and what it printed on the way; the prose and what is shown tell the same
    " | .//*[contains(@class, 'cell_input')] | .//details[contains(@class, 'hide')]"
    " | .//*[contains(@class, 'tag_hide-cell')] | .//*[contains(@class, 'tag_record')]"
)

_REFERENCES = ("for", "aria-labelledby", "aria-describedby", "aria-controls")
"""Attributes that name elements by id, beside links."""

# Tables that are wider than the page are made smaller; those that would become illegible get a page
# on its side. The body is as wide as the print between its margins.
_FIT = """
const column = document.body.clientWidth;
for (const table of document.querySelectorAll("table")) {
  const wide = table.scrollWidth / column;
  if (wide > 1.6) table.parentElement.classList.add("rt-wide");
  if (wide > 1) table.style.zoom = Math.min(1, (wide > 1.6 ? 257 / 170 : 1) / wide);
}
"""


class PrintError(RadtransferError):
    """The book could not be printed."""


@dataclass(frozen=True)
class Part:
    """Pages of the book under one caption.

    Attributes
    ----------
    caption : str
        Empty for the first page.
    pages : tuple of str
        Names without suffix, from the book's root.
    """

    caption: str
    pages: tuple[str, ...]


def find_browser() -> str | None:
    """Path of Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def parts_of(toc: Path) -> tuple[Part, ...]:
    """Read the order of the pages from ``_toc.yml``."""
    content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    groups = content.get("parts") or [content]
    return (
        Part("", (content["root"],)),
        *(
            Part(group.get("caption", ""), tuple(chapter["file"] for chapter in group["chapters"]))
            for group in groups
        ),
    )


def print_book(html: Path, target: Path) -> Path:
    """Print a built book.

    Parameters
    ----------
    html : Path
        Its pages, as `build_book` left them.
    target : Path
        The PDF; replaced when the new one is complete.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    PrintError
        If there is no Chromium, or it fails.
    """
    if (browser := find_browser()) is None:
        raise PrintError("the PDF is printed by Chromium, and none was found", hint="install chromium")
    parts = parts_of(paths.project_root() / "_toc.yml")
    with tempfile.TemporaryDirectory(prefix="radtransfer-print-") as scratch, atomic_file(target) as partial:
        source = Path(scratch) / "book.html"
        # which page a chapter begins on is known only when it is printed
        numbers: dict[str, int] = {}
        for _ in range(2):
            source.write_bytes(_document(html, parts, numbers))
            _print(browser, source, partial)
            numbers = _first_pages(partial)
    return target


def _print(browser: str, source: Path, target: Path) -> None:
    switches = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={source.parent / 'profile'}",
        "--no-pdf-header-footer",
        "--generate-pdf-document-outline",
        f"--print-to-pdf={target}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        switches.append("--no-sandbox")  # it refuses to start as root otherwise, as in containers
    target.unlink()
    try:
        run = subprocess.run(
            [browser, *switches, source.as_uri()],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PrintError(f"Chromium did not print the book within {TIMEOUT_S} s") from error
    if run.returncode or not target.is_file():
        raise PrintError(f"Chromium printed nothing: {run.stderr[-500:]}")


def _first_pages(pdf: Path) -> dict[str, int]:
    """Page of each place that a link leads to, counted from 1."""
    reader = PdfReader(pdf)
    numbers = {}
    for name, place in reader.named_destinations.items():
        if (index := reader.get_destination_page_number(place)) is not None:
            numbers[name.removeprefix("/")] = index + 1
    return numbers


def _document(html: Path, parts: Sequence[Part], numbers: Mapping[str, int]) -> bytes:
    """One page of all, with a title and contents before."""
    config = yaml.safe_load((paths.project_root() / "_config.yml").read_text(encoding="utf-8"))
    prefixes = {page: f"c{index}" for index, page in enumerate(page for part in parts for page in part.pages)}
    trees = {page: _parse(html / f"{page}.html") for page in prefixes}
    chapters = [_chapter(trees[page], html, page, prefixes) for page in prefixes]
    styles = [
        E.style((html / "_static" / name).read_text(encoding="utf-8")) for name in ("study.css", "print.css")
    ]
    document = E.html(
        E.head(E.meta(charset="utf-8"), E.title(config["title"]), *styles),
        E.body(
            _title_page(config, trees[parts[0].pages[0]]),
            _contents(parts, prefixes, chapters, numbers),
            *chapters,
            E.script(_FIT),
        ),
        lang="en",
    )
    return bytes(lxml_html.tostring(document, doctype="<!DOCTYPE html>", encoding="utf-8"))


def _parse(path: Path) -> etree._Element:
    return lxml_html.parse(str(path), lxml_html.HTMLParser(encoding="utf-8")).getroot()


def _title_page(config: Mapping[str, str], first: etree._Element) -> etree._Element:
    title = E.section(
        E.h1(config["title"]),
        E.p(config["author"]),
        E.p(f"Version {__version__}, {config['copyright']}"),
        E.p("Text and figures: CC BY 4.0, code: MIT. For research; not for diagnosis."),
        {"class": "rt-title"},
    )
    for banner in first.xpath("//aside[@aria-label='Announcement']"):
        title.append(E.p(" ".join(banner.text_content().split()), {"class": "rt-banner"}))
    return title


def _contents(
    parts: Sequence[Part],
    prefixes: Mapping[str, str],
    chapters: Sequence[etree._Element],
    numbers: Mapping[str, int],
) -> etree._Element:
    headings = {
        name: chapter.find(".//h1").text_content() for name, chapter in zip(prefixes, chapters, strict=True)
    }
    contents = E.nav(E.h1("Contents"), {"class": "rt-contents"})
    for part in parts:
        if part.caption:
            contents.append(E.h2(part.caption))
        lines = E.ol()
        for page in part.pages:
            number = str(numbers.get(prefixes[page], ""))
            link = E.a(E.span(headings[page]), E.span(number, {"class": "rt-page"}))
            link.set("href", f"#{prefixes[page]}")
            lines.append(E.li(link))
        contents.append(lines)
    return contents


def _chapter(tree: etree._Element, html: Path, page: str, prefixes: Mapping[str, str]) -> etree._Element:
    """Article of a page, its places named so that no two pages have the same."""
    article = deepcopy(tree.xpath("//article")[0])
    for element in article.xpath(_FOR_THE_SCREEN):
        if element.getparent() is not None:
            element.drop_tree()
    prefix, folder = prefixes[page], (html / page).parent
    for element in article.iter(etree.Element):
        if "id" in element.attrib:
            element.set("id", f"{prefix}-{element.get('id')}")
        for attribute in _REFERENCES:
            if attribute in element.attrib:
                names = element.get(attribute).split()
                element.set(attribute, " ".join(f"{prefix}-{name}" for name in names))
    for link in list(article.iter("a")):
        _lead_inside(link, html, page, prefixes)
    for image in article.iter("img"):
        if not image.get("src").startswith("data:"):
            image.set("src", (folder / unquote(urlsplit(image.get("src")).path)).resolve().as_uri())
    for table in article.iter("table"):
        if len(list(table.iter("tr"))) <= SHORT_ROWS:
            table.set("class", f"{table.get('class', '')} rt-short")
    return E.section(*article, id=prefix, **{"class": "rt-chapter"})


def _lead_inside(link: etree._Element, html: Path, page: str, prefixes: Mapping[str, str]) -> None:
    """Let a link to a page of the book lead to its chapter; one to another file becomes text."""
    address = urlsplit(link.get("href") or "")
    if address.scheme or address.netloc:
        return
    target = (html / page).parent / unquote(address.path) if address.path else html / f"{page}.html"
    name = os.path.relpath(target, html).replace(os.sep, "/").removesuffix(".html")
    if name in prefixes:
        link.set("href", f"#{prefixes[name]}" + (f"-{address.fragment}" if address.fragment else ""))
    elif "href" in link.attrib:
        link.drop_tag()
