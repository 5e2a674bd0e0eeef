"""Checks of the finished book, without a browser, and of its prose."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lxml import etree
from lxml import html as lxml_html

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_PAGE_BYTES = 3_000_000

RESULTS_CHAPTERS = ("notebooks/*.ipynb", "book/index.md", "book/chapters/results*.md")
"""Pages whose every number must come from the registry."""


@dataclass(frozen=True)
class Finding:
    """A fault of the book.

    Attributes
    ----------
    page : str
        Page, or source file with its line.
    problem : str
        What is wrong.
    """

    page: str
    problem: str

    def __str__(self) -> str:
        return f"{self.page}: {self.problem}"


# --- the HTML -----------------------------------------------------------------------------------

_LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "image": ("href", "{http://www.w3.org/1999/xlink}href"),
    "use": ("href", "{http://www.w3.org/1999/xlink}href"),
}
"""Attributes by which an element makes the browser fetch something."""

_LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch"}

_CSS_ADDRESS = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")\s]+)""")
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_OUTSIDE_TEXT = re.compile(r"""['"`]((?:https?:|wss?:)?//[\w.-]+\.\w+[^'"`\s]*)""")
_ROLE = re.compile(r"\{[a-z][a-z:-]*\}`")
_NOT_A_NUMBER = re.compile(r"(?<![\w.])(?:nan|inf|NaN|NaT|<NA>)(?![\w.])", re.I)


class _Page:
    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path
        self.name = path.relative_to(root).as_posix()

    @cached_property
    def tree(self) -> etree._Element:
        return lxml_html.parse(str(self.path), lxml_html.HTMLParser(encoding="utf-8")).getroot()

    @cached_property
    def anchors(self) -> frozenset[str]:
        found = self.tree.xpath("//@id | //a/@name")
        return frozenset(str(anchor) for anchor in found)

    def elements(self, *tags: str) -> Iterator[etree._Element]:
        yield from self.tree.iter(*tags)


def _is_outside(address: str) -> bool:
    parts = urlsplit(address.strip())
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp", "ws", "wss")


def _file(base: Path, address: str) -> Path:
    return base.parent / unquote(urlsplit(address).path)


def check_html(folder: Path) -> list[Finding]:
    """Faults of a built book.

    Every image and every link's target exists, anchors included; no page makes an outside
    request; every image has a text alternative; no page is larger than `MAX_PAGE_BYTES`; no
    role is left unresolved and no table cell shows NaN.

    Parameters
    ----------
    folder : Path
        Root of the HTML.

    Returns
    -------
    list of Finding
        Empty if the book is sound.
    """
    pages = {
        path.resolve(): _Page(folder, path)
        for path in sorted(folder.rglob("*.html"))
        if "_static" not in path.relative_to(folder).parts
    }
    findings = [finding for page in pages.values() for finding in _check_page(page, pages)]
    for path in sorted(folder.rglob("*.css")):
        name = path.relative_to(folder).as_posix()
        findings += [Finding(name, problem) for problem in _check_css(path, path.read_text(encoding="utf-8"))]
    return findings


def _check_page(page: _Page, pages: dict[Path, _Page]) -> Iterator[Finding]:
    size = page.path.stat().st_size
    if size > MAX_PAGE_BYTES:
        yield Finding(page.name, f"{size / 1e6:.1f} MB, more than {MAX_PAGE_BYTES / 1e6:.0f} MB")
    for problem in (
        *_loads(page),
        *_links(page, pages),
        *_images(page),
        *_text(page),
    ):
        yield Finding(page.name, problem)


def _loads(page: _Page) -> Iterator[str]:
    """Everything the page makes a browser fetch is in the book."""
    addresses: list[str] = []
    for element in page.elements(*_LOADS):
        for attribute in _LOADS[element.tag]:
            value = element.get(attribute)
            if value and attribute == "srcset":
                addresses += [candidate.split()[0] for candidate in value.split(",") if candidate.strip()]
            elif value is not None:
                addresses.append(value)
    for link in page.elements("link"):
        if _LOADING_LINKS & set((link.get("rel") or "").lower().split()):
            addresses.append(link.get("href") or "")
    for address in addresses:
        if _is_outside(address):
            yield f"loads {address} from outside"
        elif not address:
            yield "loads something without an address"
        elif not address.startswith(("data:", "#")) and not _file(page.path, address).is_file():
            yield f"loads {address}, which does not exist"
    styles = [style.text or "" for style in page.elements("style")]
    styles += [str(style) for style in page.tree.xpath("//@style")]
    for style in styles:
        yield from _check_css(page.path, style)
    for script in page.elements("script"):
        for address in _OUTSIDE_TEXT.findall(script.text or ""):
            yield f"a script names {address}, which is outside"
    for meta in page.elements("meta"):
        if (meta.get("http-equiv") or "").lower() == "refresh" and _is_outside(
            (meta.get("content") or "").partition("=")[2]
        ):
            yield "leads outside by itself"


def _check_css(path: Path, text: str) -> Iterator[str]:
    for address in _CSS_ADDRESS.findall(_CSS_COMMENT.sub("", text)):
        if _is_outside(address):
            yield f"style loads {address} from outside"
        elif not address.startswith(("data:", "#")) and not _file(path, address).is_file():
            yield f"style loads {address}, which does not exist"


def _links(page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    """Every link inside the book leads to a page or file that exists, and to an anchor on it."""
    for link in page.elements("a"):
        address = link.get("href")
        if address is None or _is_outside(address) or urlsplit(address).scheme:
            continue
        anchor = unquote(urlsplit(address).fragment)
        target = _file(page.path, address).resolve() if urlsplit(address).path else page.path.resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            yield f"links to {address}, which does not exist"
        elif anchor and target in pages and anchor not in pages[target].anchors and anchor != "top":
            yield f"links to {address}, where there is no such anchor"


def _images(page: _Page) -> Iterator[str]:
    for image in page.elements("img"):
        # an empty alternative is right for decoration, and only there
        if not (image.get("alt") or "").strip() and image.get("role") != "presentation":
            yield f"image {(image.get('src') or '')[:80]} has no text alternative"


def _text(page: _Page) -> Iterator[str]:
    for article in page.tree.xpath("//article"):
        for element in article.iter():
            if not isinstance(element.tag, str) or _is_code(element):
                continue
            if role := _ROLE.search("".join(element.xpath("text()"))):
                yield f"unresolved role {role[0]}…"
    for cell in page.elements("td", "th"):
        if _NOT_A_NUMBER.fullmatch(cell.text_content().strip()):
            yield f"a table cell shows {cell.text_content().strip()}"


def _is_code(element: etree._Element) -> bool:
    return any(
        parent.tag in ("pre", "code", "script", "style") for parent in (element, *element.iterancestors())
    )


# --- the prose ----------------------------------------------------------------------------------

_ALLOWED = re.compile(
    r"""
    \b(?:
        VGG-?(?:16|19) | ResNet-?\d+(?:V2)? | Inception-?[vV]3 | DenseNet-?\d+ | MobileNet(?:-?V?[123])?
      | EfficientNet-?(?:Lite|B)\d | AlexNet | SqueezeNet\ 1\.1                 # networks
      | F1 | R2 | C\d{1,2}                                                      # measures, claims
      | ChestX-ray\d+ | COVID-19 | Python\ 3                                    # data, names
      | [a-z_]+\d+(?:_[a-z0-9]+)*\.(?:ipynb|md|yaml|py)                         # files
    )\b
    """,
    re.X,
)
"""Names that hold digits without being results."""

_STRIPPED = tuple(
    re.compile(pattern, re.M | re.S)
    for pattern in (
        # code and directives, but not those that hold prose
        r"^(`{3,}|~{3,})(?!\{(?:admonition|tip|note|warning|important|seealso)).*?^\1\s*$",
        r"^:{3,}\{(?:numbers-table|study-table|study-figure|bibliography|figure)\}.*?^:{3,}\s*$",
        r"^\([^)\n]+\)=\s*$",  # targets
        r"\$\$.*?\$\$|\$[^$\n]+\$",  # mathematics
        r"\{[a-zA-Z:-]+\}`[^`]*`",  # roles
        r"``[^`]+``|`[^`\n]*`",  # code
        r"(?<=\])\([^)\n]*\)",  # addresses of links
        r"https?://\S+",
        r"<!--.*?-->",
        r"^:[a-z-]+:.*$",  # options of directives
    )
)


def typed_digits(text: str) -> list[tuple[int, str]]:
    r"""Digits an author typed in Markdown prose, instead of referring to a number by key.

    Roles, code, mathematics, addresses and citations do not count, nor do names such as VGG16.

    Parameters
    ----------
    text : str
        MyST Markdown.

    Returns
    -------
    list of (int, str)
        Line, counted from 1, and the word with the digits.

    Examples
    --------
    >>> typed_digits("VGG16 reaches {num}`cv.auc`.\nThat is 0.93.")
    [(2, '0.93')]
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    for pattern in _STRIPPED:
        text = pattern.sub(blank, text)
    text = _ALLOWED.sub(blank, text)
    # ordered lists count by themselves
    text = re.sub(r"^\s*\d+[.)](?=\s)", blank, text, flags=re.M)
    return [
        (number, word.strip(".,;:()*_"))
        for number, line in enumerate(text.splitlines(), start=1)
        for word in line.split()
        if any(character.isdigit() for character in word)
    ]


def lint_prose(root: Path) -> list[Finding]:
    """Typed digits in the results chapters of a checkout.

    Parameters
    ----------
    root : Path
        Folder with ``book/`` and ``notebooks/``.

    Returns
    -------
    list of Finding
        With file and line (or cell and line) and the digits.
    """
    findings = []
    for pattern in RESULTS_CHAPTERS:
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            for place, text in _prose(path):
                findings += [
                    Finding(f"{name}{place.format(line=line)}", f"typed digits {word!r}")
                    for line, word in typed_digits(text)
                ]
    return findings


def _prose(path: Path) -> Iterator[tuple[str, str]]:
    """Prose of a file, each piece with a template of where its lines are."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        yield ":{line}", text
        return
    for index, cell in enumerate(json.loads(text)["cells"], start=1):
        if cell["cell_type"] == "markdown":
            source = cell["source"]
            yield f" cell {index}, line {{line}}", source if isinstance(source, str) else "".join(source)
