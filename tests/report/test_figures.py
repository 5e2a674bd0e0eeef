"""Figures draw the numbers they are given, without a display, in colours everybody can tell apart."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from radtransfer.report import figures
from radtransfer.report.step import png_bytes

FLOW = SimpleNamespace(
    start=SimpleNamespace(n_images=1064, n_patients=700),
    steps=(
        SimpleNamespace(reason="label not known", n_images=63, n_patients=1),
        SimpleNamespace(reason="younger than 18 years", n_images=1, n_patients=0),
    ),
    final=SimpleNamespace(n_images=1000, n_patients=699),
)
ROWS = pd.DataFrame(
    {
        "label": ["VGG16", "Custom CNN"],
        "estimate": [0.9, 0.8],
        "low": [0.85, np.nan],
        "high": [0.94, np.nan],
        "group": ["transfer", "scratch"],
    }
)
X = np.linspace(0, 1, 11)
CURVES = pd.concat(
    pd.DataFrame({"label": label, "x": X, "y": X**power, "low": 0.9 * X**power, "high": X**power})
    for label, power in (("VGG16", 0.2), ("Thumbnail", 0.5))
)
MATRIX = pd.DataFrame([[42, 8], [0, 1440]], index=["negative", "positive"], columns=["negative", "positive"])
HISTORY = pd.DataFrame(
    {
        "label": ["VGG16"] * 4,
        "fold": [0, 0, 1, 1],
        "epoch": [2, 1, 1, 2],
        "loss": [0.4, 0.6, 0.7, 0.5],
        "val_loss": [0.5, 0.65, 0.7, 0.6],
    }
)
IMAGES = [np.full((8, 12), value, dtype=np.uint8) for value in (0, 128, 255)]

DRAWN = {
    "flow": lambda: figures.flow_diagram(FLOW),
    "forest": lambda: figures.forest(ROWS, xlabel="AUC", reference=0.5),
    "roc": lambda: figures.roc_curves(CURVES),
    "pr": lambda: figures.pr_curves(CURVES),
    "confusion": lambda: figures.confusion_matrices({"VGG16": MATRIX, "b": MATRIX, "c": MATRIX}),
    "learning": lambda: figures.learning_curves(HISTORY),
    "images": lambda: figures.image_grid(IMAGES, ["a", "b", "c"]),
}


def texts(fig: Figure) -> list[str]:
    return [text.get_text() for ax in fig.axes for text in ax.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_letters_are_large_and_the_file_small(name: str) -> None:
    fig = DRAWN[name]()
    assert fig.get_figwidth() == figures.WIDTH
    assert len(png_bytes(fig)) < 120_000
    sizes = [
        text.get_fontsize()
        for ax in fig.axes
        if ax.get_visible() and ax.axison
        for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
    ]
    # 10 points in a figure 7 inches wide, scaled to this width
    assert min(sizes, default=11) >= 10 * figures.WIDTH / 7


@pytest.mark.parametrize("name", ["forest", "roc", "pr", "confusion", "learning"])
def test_axes_are_labelled(name: str) -> None:
    fig = DRAWN[name]()
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert all(ax.get_xlabel() for ax in shown[-1:])
    assert all(ax.get_ylabel() or not ax.yaxis.get_visible() for ax in shown)


def test_flow_shows_every_count() -> None:
    assert texts(figures.flow_diagram(FLOW)) == [
        "Assessed\n1,064 images, 700 patients",
        "",
        "Excluded: label not known\n63 images, 1 patient",
        "",
        "Excluded: younger than 18 years\n1 image, 0 patients",
        "",
        "Included\n1,000 images, 699 patients",
    ]


def test_forest_draws_and_prints_the_interval() -> None:
    fig = figures.forest(ROWS, xlabel="AUC", reference=0.5)
    (ax,) = fig.axes
    assert texts(fig) == ["VGG16", "0.900 (0.850 to 0.940)", "Custom CNN", "0.800"]
    lines = [tuple(np.ravel(line.get_xdata())) for line in ax.lines]
    assert lines == [(0.5, 0.5), (0.85, 0.94), (0.9,), (0.8,)]
    low, high = ax.get_xlim()
    assert low < 0.5
    assert high > 0.94
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["transfer", "scratch"]


def test_curves_follow_their_table() -> None:
    fig = figures.roc_curves(CURVES)
    diagonal, first, second = fig.axes[0].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    np.testing.assert_array_equal(first.get_ydata(), X**0.2)
    np.testing.assert_array_equal(second.get_ydata(), X**0.5)
    assert first.get_linestyle() != second.get_linestyle()
    assert len(figures.pr_curves(CURVES).axes[0].lines) == 2


def test_confusion_prints_counts_and_row_shares() -> None:
    fig = figures.confusion_matrices({"VGG16": MATRIX})
    assert texts(fig) == ["42\n84 %", "8\n16 %", "0\n0 %", "1,440\n100 %"]


def test_learning_curves_are_in_the_order_of_epochs() -> None:
    fig = figures.learning_curves(HISTORY)
    training, validation, *_ = fig.axes[0].lines
    assert list(training.get_ydata()) == [0.6, 0.4]
    assert list(validation.get_ydata()) == [0.65, 0.5]
    assert len(fig.axes[0].lines) == 4


def test_images_and_titles_pair_up() -> None:
    fig = figures.image_grid(IMAGES, ["a", "b", "c"])
    assert [(ax.get_title(), int(ax.images[0].get_array()[0, 0])) for ax in fig.axes if ax.images] == [
        ("a", 0),
        ("b", 128),
        ("c", 255),
    ]
    with pytest.raises(ValueError, match="zip"):
        figures.image_grid(IMAGES, ["a"])


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
DEFICIENCY = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("deficiency", DEFICIENCY)
def test_first_colours_stay_apart_for_colour_blind_readers(deficiency: str) -> None:
    seen = [np.clip(np.array(DEFICIENCY[deficiency]) @ to_rgb(c), 0, 1) for c in figures.PALETTE[:4]]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.15


def test_first_colours_stand_out_from_the_page() -> None:
    for colour in figures.PALETTE[:3]:
        assert 1.05 / (luminance(colour) + 0.05) > 3


def test_drawing_needs_no_pyplot() -> None:
    code = "import sys; from radtransfer.report import figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
