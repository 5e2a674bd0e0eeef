"""Explorers work without a network, in the dark, on a phone, by keyboard, and several on one page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, browsing, needs_chromium
from lxml import html
from pydantic import ValidationError

from radtransfer.report.explorer import Explorer, kinds
from radtransfer.report.step import Figure
from radtransfer.study.bookchecks import check_html
from radtransfer.utility.worklist import Worklist, expected_delays

FIGURE = Figure(name="roc", alt="A curve.", caption="ROC.", width=10)

THRESHOLD: dict[str, Any] = {
    "prevalence": 0.1,
    "mark": "From validation",
    "models": [
        {
            "label": "Network <A>",
            "threshold": np.array([0.0, 0.25, 0.5, 0.75, 1.0]),
            "sensitivity": [1.0, 0.9, 0.8, 0.4, 0.0],
            "specificity": [0.0, 0.5, 0.8, 0.95, 1.0],
            "chosen": 2,
        },
        {
            "label": "Baseline</script>",
            "threshold": [0.0, 0.3, 0.6, 0.8, 1.0],
            "sensitivity": [1.0, 0.7, 0.6, 0.2, 0.0],
            "specificity": [0.0, 0.3, 0.5, 0.85, 1.0],
            "chosen": 1,
        },
    ],
}

# one look tells all: a browser takes seconds to start
LOOK = """
  const sections = [...page.querySelectorAll(".rt-explorer")];
  const all = (selector) => [...page.querySelectorAll(`.rt-explorer ${selector}`)];
  const texts = (section) => [...section.querySelectorAll(".rt-values dd")].map((e) => e.textContent);
  const before = sections.map(texts);
  const controls = [...page.querySelectorAll(".rt-controls :is(input, select, button)")];
  const [model, threshold] = sections[0].querySelectorAll(":is(input, select)");
  const change = (control, value) => {
    control.value = value;
    control.dispatchEvent(new view.Event("input", {bubbles: true}));
  };
  change(model, "1");
  change(threshold, "3");
  const focused = controls.map((control) => (control.focus(), page.activeElement === control));
  return {
    before,
    after: sections.map(texts),
    focused,
    tabs: controls.map((control) => control.tabIndex),
    labels: controls.map((control) => [...control.labels].map((label) => label.textContent)),
    spoken: threshold.getAttribute("aria-valuetext"),
    asked: asked(),
    width: page.documentElement.scrollWidth,
    right: Math.max(...all("*").map((e) => e.getBoundingClientRect().right)),
    contrast: all(":is(p, span, output, dt, dd, li, select)").map(contrast),
    ids: [...page.querySelectorAll("[id]")].length,
    drawn: sections.map((section) => section.querySelectorAll("polyline, circle").length),
  };
"""

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>t</title>
<meta name="viewport" content="width=device-width">
<style>html {{ background: #fff; color: #111 }} html[data-theme="dark"] {{ background: #111; color: #eee }}
html[data-theme="dark"] {{ --pst-color-background: #111 }}</style></head><body>{body}</body></html>"""


def explorer(**changes: Any) -> Explorer:
    given = {"figure": FIGURE, "kind": "threshold", "title": "Try <it>", "data": THRESHOLD}
    return Explorer.model_validate(given | changes)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    root = tmp_path / "html"
    root.mkdir()
    two = explorer().html() + explorer().html()
    (root / "page.html").write_text(PAGE.format(body=two), encoding="utf-8")
    with browsing(root, tmp_path) as shown:
        yield shown


@needs_chromium
def test_two_on_a_page_on_a_phone_in_the_dark(browser: Browser) -> None:
    seen = browser.run("page.html", LOOK, width=390, theme="dark")
    # sensitivity .8 and specificity .8 at prevalence .1: PPV .08/.26, NPV .72/.74
    start = ["0.500", "80.0 %", "80.0 %", "30.8 %", "97.3 %", "80.0", "20.0", "180.0"]
    assert seen["before"] == [start, start]
    # sensitivity .2 and specificity .85 of the other model: PPV .02/.155, NPV .765/.845
    changed = ["0.800", "20.0 %", "85.0 %", "12.9 %", "90.5 %", "20.0", "80.0", "135.0"]
    assert seen["after"] == [changed, start]
    assert seen["spoken"] == "75 %"
    assert seen["drawn"] == [3 + 2, 3 + 2]  # curve and two points, and their legend's points
    assert all(seen["focused"])
    assert set(seen["tabs"]) == {0}
    assert all(len(labels) == 1 and labels[0].strip() for labels in seen["labels"])
    assert seen["asked"] == []
    assert seen["width"] == 390
    assert seen["right"] <= 390
    assert min(seen["contrast"]) >= 4.5  # WCAG 2.2, 1.4.3
    assert seen["ids"] == 0  # nothing that a second one on the page would repeat


WORK = Worklist(
    utilisation=0.9, minutes=2.0, variation=1.0, prevalence=0.05, sensitivity=0.8, specificity=0.84
)

DRIVE = """
  const section = page.querySelector(".rt-explorer");
  const texts = () => [...section.querySelectorAll(".rt-values dd")].map((e) => e.textContent);
  const before = texts();
  const sliders = section.querySelectorAll("input");
  for (const [number, value] of [[0, 0.6], [2, 0.5], [3, 0.25], [4, 0.95]]) {
    sliders[number].value = value;
    sliders[number].dispatchEvent(new view.Event("input", {bubbles: true}));
  }
  return {before, after: texts(), lines: section.querySelectorAll("polyline").length, width:
    page.documentElement.scrollWidth};
"""


def queue_texts(work: Worklist) -> list[str]:
    delays = expected_delays(work)
    minutes = (delays.arrival, delays.positive, delays.unflagged, delays.negative)
    return [*(f"{value:.1f} min" for value in minutes), f"{100 * work.flagged:.0f} %"]


@needs_chromium
def test_queue_computes_what_the_library_computes(tmp_path: Path) -> None:
    root = tmp_path / "html"
    root.mkdir()
    body = explorer(kind="queue", data=asdict(WORK)).html()
    (root / "page.html").write_text(PAGE.format(body=body), encoding="utf-8")
    with browsing(root, tmp_path) as browser:
        seen = browser.run("page.html", DRIVE, width=390, theme="light")
    assert seen["before"] == queue_texts(WORK)
    changed = replace(WORK, utilisation=0.6, variation=0.5, prevalence=0.25, sensitivity=0.95)
    assert seen["after"] == queue_texts(changed)
    assert seen["lines"] == 3
    assert seen["width"] == 390


def test_page_passes_the_checks_of_the_book(tmp_path: Path) -> None:
    shown = explorer()._repr_html_().replace("../figures/", "")
    (tmp_path / "roc.csv").write_text("x\n")
    (tmp_path / "page.html").write_text(PAGE.format(body=shown), encoding="utf-8")
    assert [finding for finding in check_html(tmp_path) if "data:image" not in finding.problem] == []


def test_data_travel_in_the_fragment_and_cannot_end_it() -> None:
    tree = html.fragment_fromstring(explorer().html())
    scripts = tree.findall("script")
    assert [script.get("type") for script in scripts] == ["application/json", None]
    assert "Baseline\\u003c/script>" in scripts[0].text
    assert tree.get("aria-label") == "Try <it>"


def test_the_twin_comes_first() -> None:
    shown = explorer()._repr_html_()
    assert shown.index('alt="A curve."') < shown.index("<section")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "nonesuch"}, "no explorer 'nonesuch'; there are"),
        ({"data": {"x": float("nan")}}, "not JSON compliant"),
        ({"data": {"x": object()}}, "a object is no JSON"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        explorer(**changes)


def test_kinds_are_the_scripts() -> None:
    assert "threshold" in kinds()
    assert "explorer" not in kinds()
