"""Pages in headless Chromium: what only a browser can tell."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from radtransfer.study.bookprint import find_browser

CHROMIUM = find_browser()
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# A browser window has a least width, a frame has none. One after the other, since a browser takes
# seconds to start; what was found is sent to the server that gave the pages.
_FRAMES = """<!DOCTYPE html>
<body><script type="module">
localStorage.setItem("mode", "THEME");  // as the theme of the book keeps a reader's choice
localStorage.setItem("theme", "THEME");
async function look(frame) {
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
  SCRIPT
}
const seen = {};
for (const address of PAGES) {
  const frame = document.createElement("iframe");
  frame.style.border = 0;
  [frame.width, frame.height] = [WIDTH, 900];
  await new Promise((loaded) => {
    [frame.onload, frame.src] = [loaded, address];
    document.body.append(frame);
  });
  try {
    seen[address] = {found: await look(frame)};
  } catch (error) {
    seen[address] = {error: `${error}`};
  }
  frame.remove();
}
await fetch("seen", {method: "POST", body: JSON.stringify(seen)});
</script></body>
"""


class _Server(ThreadingHTTPServer):
    """Gives the files of a folder, and keeps what a page sends."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
        self.sent: Queue[Any] = Queue()


class _Handler(SimpleHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.server.sent.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Browser:
    """Shows pages of a folder; pages read from files would not tell what they load.

    Parameters
    ----------
    root : Path
        Folder of the pages; a page of frames is written into it.
    scratch : Path
        For the browser's own files.
    server : _Server
        Offers the folder.

    Attributes
    ----------
    errors : list of str
        What the browser's console told of the last pages: uncaught errors, files that are not there.
    """

    def __init__(self, root: Path, scratch: Path, server: _Server) -> None:
        self.root, self.scratch, self._server = root, scratch, server
        self.address = f"http://127.0.0.1:{server.server_port}/"
        self.errors: list[str] = []

    def run(self, page: str, script: str, *, width: int, theme: str) -> Any:
        """Load a page so many CSS pixels wide and return what a script finds there.

        The script is the body of an asynchronous function; it has the document ``page``, its window
        ``view``, and the functions ``style``, ``luminance``, ``ground``, ``contrast`` (of an element)
        and ``asked`` (what was fetched).
        """
        return self.run_all([page], script, width=width, theme=theme)[page]

    def run_all(self, pages: Iterable[str], script: str, *, width: int, theme: str) -> dict[str, Any]:
        """Do the same for several pages, one after the other in one browser."""
        assert CHROMIUM is not None
        text = _FRAMES.replace("PAGES", json.dumps(list(pages))).replace("WIDTH", str(width))
        text = text.replace("THEME", theme).replace("SCRIPT", script)
        (self.root / "frames.html").write_text(text, encoding="utf-8")
        switches = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--remote-debugging-port=0",  # or it would stop as soon as the first page is there
            f"--user-data-dir={self.scratch / theme}{width}",
            "--window-size=1400,900",
        ]
        log = self.scratch / "chromium.log"
        with log.open("wb") as told:
            command = [CHROMIUM, *switches, f"{self.address}frames.html"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
            try:
                seen = self._server.sent.get(timeout=580)
            except Empty:
                pytest.fail(f"no answer of the browser: {log.read_text(errors='replace')[-2000:]}")
            finally:
                process.terminate()
                process.wait(30)
        console = re.findall(r":CONSOLE[:(].*?\] (.*)", log.read_text(errors="replace"))
        self.errors = [line for line in console if re.match(r'"(Uncaught|Failed to load|Refused)', line)]
        failed = {page: told["error"] for page, told in seen.items() if "error" in told}
        assert not failed, failed
        return {page: told["found"] for page, told in seen.items()}


@contextmanager
def browsing(root: Path, scratch: Path) -> Iterator[Browser]:
    """Browser of a folder that is offered on this machine as long as the context lasts."""
    with _Server(root) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Browser(root, scratch, server)
        server.shutdown()
