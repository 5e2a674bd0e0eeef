"""What axe-core finds on pages of a book."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from chromium import Browser

AXE = Path(__file__).resolve().parents[1] / "assets" / "axe-core" / "axe.min.js"

# Contrast takes most of the time, and is the same in every row of a table and in every item of a list:
# the first ones are looked at. All other rules see all elements.
_SCRIPT = """
  const library = page.createElement("script");
  await new Promise((loaded) => {
    [library.onload, library.src] = [loaded, "/axe.min.js"];
    page.head.append(library);
  });
  const alike = page.querySelectorAll(`
    .bd-sidebar-primary, .highlight span, tbody tr:nth-child(n + 4), li:nth-child(n + 6),
    .citation:nth-child(n + 4), dt:nth-of-type(n + 5), dd:nth-of-type(n + 5), p ~ p ~ p ~ p`);
  const reports = [
    await view.axe.run(page, {rules: {"color-contrast": {enabled: false}}}),
    await view.axe.run({include: page, exclude: [...alike]}, {runOnly: ["color-contrast"]}),
  ];
  return reports.flatMap((report) => report.violations).flatMap(({id, impact, nodes}) =>
    nodes.map(({target, failureSummary}) => [impact, id, target.join(" "), failureSummary]));
"""


def grave_faults(browser: Browser, pages: Iterable[str], *, theme: str, width: int) -> list[str]:
    """Serious and critical violations, each with its page, rule and element."""
    shutil.copy(AXE, browser.root)
    found = browser.run_all(pages, _SCRIPT, width=width, theme=theme)
    return [
        f"{page}: {rule} at {target}: {told}"
        for page, violations in found.items()
        for impact, rule, target, told in violations
        if impact in ("serious", "critical")
    ]


def pages_of(root: Path) -> list[str]:
    """All pages of a book, but for the redirect at its root."""
    found = (path.relative_to(root) for path in sorted(root.rglob("*.html")))
    return [path.as_posix() for path in found if path.parts[0] not in ("_static", "index.html")]
