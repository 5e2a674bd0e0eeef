"""What only a browser can tell: nothing fetched, nothing too wide, everything legible in the dark."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lxml import html

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

PAGES = ("book/index.html", "book/chapters/results.html", "notebooks/01_demo.html")

# A browser window has a least width, a frame has none. The frame's load handler runs before the
# outer page counts as loaded, and only then does the browser print it.
FRAME = """
<body><script>
function measure(frame) {
  const page = frame.contentDocument, style = (e) => frame.contentWindow.getComputedStyle(e);
  page.documentElement.dataset.theme = "THEME";
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((c) => {
      c = c / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = style(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = ".rt-table :is(caption, th, td), figcaption, .bd-header-announcement";
  document.body.dataset.measured = JSON.stringify({
    page: page.documentElement.scrollWidth,
    asked: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name),
    ground: luminance(ground(page.querySelector("article"))),
    contrast: [...page.querySelectorAll(words)].map((e) => {
      const [a, b] = [luminance(style(e).color), luminance(ground(e))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }),
    images: [...page.images].map((i) => [i.naturalWidth, i.getBoundingClientRect().right]),
    tables: [...page.querySelectorAll(".rt-table")].map((t) => [t.clientWidth, t.scrollWidth]),
  });
}
</script>
<iframe src="PAGE" width="WIDTH" height="900" style="border: 0" onload="measure(this)"></iframe></body>
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Browser:
    """Shows pages of a copy of the book; pages read from files would not tell what they load."""

    def __init__(self, root: Path, scratch: Path, address: str) -> None:
        self.root, self.scratch, self.address = root, scratch, address

    def measure(self, page: str, *, width: int, theme: str) -> dict[str, Any]:
        """Measures of a page that is shown so many CSS pixels wide."""
        assert CHROMIUM is not None
        text = FRAME.replace("PAGE", page).replace("WIDTH", str(width)).replace("THEME", theme)
        (self.root / "frame.html").write_text(text)
        switches = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            f"--user-data-dir={self.scratch / theme}{width}",
            "--window-size=1400,900",
            "--dump-dom",
        ]
        command = [CHROMIUM, *switches, f"{self.address}frame.html"]
        run = subprocess.run(command, capture_output=True, check=True, timeout=120)
        (measured,) = html.fromstring(run.stdout).xpath("//body/@data-measured")
        parsed: dict[str, Any] = json.loads(measured)
        return parsed


@pytest.fixture
def browser(book: Path, tmp_path: Path) -> Iterator[Browser]:
    root = tmp_path / "html"
    shutil.copytree(book, root)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Browser(root, tmp_path, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()


@pytest.mark.parametrize("page", PAGES)
def test_page_on_a_phone_in_the_dark(browser: Browser, page: str) -> None:
    measured = browser.measure(page, width=390, theme="dark")
    assert any("/study.css" in address for address in measured["asked"])
    assert [url for url in measured["asked"] if not url.startswith((browser.address, "data:"))] == []
    assert measured["page"] == 390
    assert measured["ground"] < 0.1
    assert min(measured["contrast"]) >= 4.5  # WCAG 2.2, 1.4.3
    assert all(natural > 0 and right <= 390 for natural, right in measured["images"])


def test_wide_table_scrolls_inside_the_page(browser: Browser) -> None:
    page = "book/chapters/results.html"
    phone = browser.measure(page, width=390, theme="light")
    shown, whole = phone["tables"][0]
    assert shown < 390 < whole
    assert phone["page"] == 390
    assert phone["ground"] > 0.9
    assert min(phone["contrast"]) >= 4.5
    assert browser.measure(page, width=1280, theme="light")["page"] == 1280
