"""Pages in headless Chromium: what only a browser can tell."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lxml import html

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# A browser window has a least width, a frame has none. The frame's load handler runs before the
# outer page counts as loaded, and only then does the browser print it.
_FRAME = """
<body><script>
function look(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, style = (e) => view.getComputedStyle(e);
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
  const contrast = (element) => {
    const [a, b] = [luminance(style(element).color), luminance(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const asked = () => view.performance.getEntriesByType("resource").map((entry) => entry.name);
  document.body.dataset.seen = JSON.stringify((() => { SCRIPT })());
}
</script>
<iframe src="PAGE" width="WIDTH" height="900" style="border: 0" onload="look(this)"></iframe></body>
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Browser:
    """Shows pages of a folder; pages read from files would not tell what they load.

    Parameters
    ----------
    root : Path
        Folder of the pages; a frame is written into it.
    scratch : Path
        For the browser's own files.
    address : str
        Where a server offers the folder.
    """

    def __init__(self, root: Path, scratch: Path, address: str) -> None:
        self.root, self.scratch, self.address = root, scratch, address

    def run(self, page: str, script: str, *, width: int, theme: str) -> Any:
        """Load a page so many CSS pixels wide and return what a script finds there.

        The script is the body of a function; it has the document ``page``, its window ``view``, and
        the functions ``style``, ``luminance``, ``ground``, ``contrast`` (of an element) and ``asked``
        (what was fetched).
        """
        assert CHROMIUM is not None
        text = _FRAME.replace("PAGE", page).replace("WIDTH", str(width)).replace("THEME", theme)
        (self.root / "frame.html").write_text(text.replace("SCRIPT", script), encoding="utf-8")
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
        (seen,) = html.fromstring(run.stdout.decode()).xpath("//body/@data-seen")
        return json.loads(seen)


@contextmanager
def browsing(root: Path, scratch: Path) -> Iterator[Browser]:
    """Browser of a folder that is offered on this machine as long as the context lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Browser(root, scratch, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
