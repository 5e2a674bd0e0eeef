"""Pictures with maps over them, and the browser of cases."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from chromium import browsing, needs_chromium
from PIL import Image

from radtransfer.report.explanations import BLUE, ORANGE, _jpeg, _overlay, painted, shade
from radtransfer.report.explorer import Explorer
from radtransfer.report.step import Figure

NO_BOXES = pd.DataFrame(columns=["x", "y", "width", "height"], dtype=float)


def spot() -> np.ndarray:
    found = np.zeros((64, 64), dtype=np.float32)
    found[10:20, 40:50] = 1
    return found


def opened(address: str) -> Image.Image:
    kind, data = address.split(";base64,")
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_map_is_orange_where_it_is_strong_and_leaves_the_rest_alone() -> None:
    grey = np.full((64, 64), 100, dtype=np.uint8)
    picture = painted(grey, spot(), NO_BOXES, side=64)
    assert (picture[45:, :] == 100).all()
    mixed = 0.25 * 100 + 0.75 * np.array(ORANGE)
    np.testing.assert_allclose(picture[15, 45], mixed, atol=4)


def test_a_flat_map_paints_nothing() -> None:
    grey = np.full((32, 32), 100, dtype=np.uint8)
    assert (painted(grey, np.zeros((32, 32)), NO_BOXES, side=32) == 100).all()
    assert shade(np.full((32, 32), -3.0)).max() == 0


def test_boxes_are_framed() -> None:
    boxes = pd.DataFrame({"x": [0.25], "y": [0.5], "width": [0.5], "height": [0.25]})
    picture = painted(np.zeros((64, 64), np.uint8), np.zeros((64, 64)), boxes, side=64)
    framed = np.argwhere((picture == BLUE).all(axis=2))
    # the line is two pixels wide, on both sides of the edge
    np.testing.assert_allclose(framed.min(axis=0), (32, 16), atol=1)
    np.testing.assert_allclose(framed.max(axis=0), (47, 47), atol=1)
    assert picture[40, 32].max() == 0


def test_overlays_are_small_and_as_opaque_as_the_map_is_strong() -> None:
    address = _overlay(spot())
    assert len(address) < 2000
    picture = np.asarray(opened(address).convert("RGBA"))
    assert picture[15, 45, 3] > 240
    assert picture[50, 10, 3] == 0
    assert tuple(picture[15, 45, :3]) == ORANGE
    assert opened(_jpeg(np.zeros((256, 256), np.uint8))).size == (192, 192)


CASE: dict[str, Any] = {
    "title": "Found: a",
    "truth": "haemorrhage",
    "score": 0.912,
    "expert": "drew a box",
    "image": _jpeg(np.full((32, 32), 90, np.uint8)),
    "maps": {"grad_cam": _overlay(spot()), "lime": _overlay(spot().T)},
    "boxes": [[0.25, 0.5, 0.5, 0.25]],
    "inside": {"grad_cam": 0.25, "lime": 0.5},
}
OTHER = CASE | {"title": "Random: b", "truth": "no haemorrhage", "boxes": [], "inside": {}, "score": 0.1}

LOOK = """
  const section = page.querySelector(".rt-explorer");
  const [number, method, overlay, framed] = section.querySelectorAll(":is(input, select)");
  const change = (control, value) => {
    if (control.type === "checkbox") control.checked = value; else control.value = value;
    control.dispatchEvent(new view.Event("input", {bubbles: true}));
  };
  const state = () => {
    const [picture, map] = section.querySelectorAll("svg image");
    return {
      texts: [...section.querySelectorAll("dd")].map((e) => e.textContent),
      opacity: map.getAttribute("opacity"),
      map: map.getAttribute("href"),
      boxes: [...section.querySelectorAll("svg rect")].map(
        (e) => ["x", "y", "width", "height"].map((name) => Number(e.getAttribute(name)))),
      label: section.querySelector("svg").getAttribute("aria-label"),
      size: picture.getBoundingClientRect().width,
    };
  };
  const states = [state()];
  change(method, "lime"); change(overlay, "0.25"); states.push(state());
  change(framed, false); states.push(state());
  change(framed, true); change(number, "1"); states.push(state());
  const fetched = asked().filter((url) => !url.startsWith("data:"));
  return {states, asked: fetched, width: page.documentElement.scrollWidth};
"""


@needs_chromium
def test_browser_of_cases(tmp_path: Path) -> None:
    shown = Explorer(
        figure=Figure(name="cases", alt="a", caption="c", width=10),
        kind="cases",
        title="Look through the cases",
        data={"methods": {"grad_cam": "Grad-CAM", "lime": "LIME"}, "cases": [CASE, OTHER]},
    )
    root = tmp_path / "html"
    root.mkdir()
    (root / "page.html").write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>t</title>{shown.html()}")
    with browsing(root, tmp_path) as browser:
        seen = browser.run("page.html", LOOK, width=390, theme="dark")
    first, changed, unframed, other = seen["states"]
    assert first["texts"] == ["haemorrhage", "0.912", "25 %", "drew a box"]
    assert first["boxes"] == [[25, 50, 50, 25]]
    assert first["map"] == CASE["maps"]["grad_cam"]
    assert first["label"] == "Found: a, with the map of Grad-CAM"
    assert changed["texts"][2] == "50 %"
    assert changed["opacity"] == "0.25"
    assert changed["map"] == CASE["maps"]["lime"]
    assert unframed["boxes"] == []
    assert other["texts"] == ["no haemorrhage", "0.100", "–", "drew a box"]
    assert other["boxes"] == []
    assert 200 < first["size"] <= 390
    assert seen["asked"] == []
    assert seen["width"] == 390
