"""Figures of the study: each function takes a table and returns a matplotlib figure.

Drawn 6 inches wide with 11-point letters, so that they can still be read when a phone shrinks
them to its width; colours are those of Okabe and Ito (2008), which stay apart for colour-blind
readers, and no distinction rests on colour alone. Nothing here touches pyplot: no global state,
no display needed.
"""

from __future__ import annotations

import textwrap
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator

from radtransfer.report.numbers import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

BLUE, ORANGE, GREEN, PINK, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
PALETTE = (BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#E69F00", BLACK)
"""Okabe-Ito colours in the order they are used; yellow is left out, too pale for lines on white."""

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X")

WIDTH = 6.0
"""Inches."""

_INK, _MUTED, _FAINT = "#1a1a1a", "#5f6368", "#d9dce0"

_DIFFERENCES = LinearSegmentedColormap.from_list("differences", ["#f0b28f", "#ffffff", "#8fbfe0"])
"""Pale orange, white, pale blue."""

# typed loosely: matplotlib's stubs want every key as a literal
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.color": _MUTED,
    "ytick.labelcolor": _INK,
}


class Counted(Protocol):
    """Numbers of images and patients."""

    @property
    def n_images(self) -> int:
        """Number of images."""

    @property
    def n_patients(self) -> int:
        """Number of patients."""


class Excluded(Counted, Protocol):
    """What one exclusion took away."""

    @property
    def reason(self) -> str:
        """Why, in words."""


class ParticipantFlow(Protocol):
    """Counted way from the images at hand to the images studied."""

    @property
    def start(self) -> Counted:
        """What was at hand."""

    @property
    def steps(self) -> Sequence[Excluded]:
        """Exclusions, in order."""

    @property
    def final(self) -> Counted:
        """What remains."""


def _counts(counted: Counted) -> str:
    images = f"{format_number(counted.n_images)} image{'s' if counted.n_images != 1 else ''}"
    patients = f"{format_number(counted.n_patients)} patient{'s' if counted.n_patients != 1 else ''}"
    return f"{images}, {patients}"


def _colour(position: int) -> str:
    return PALETTE[position % len(PALETTE)]


def flow_diagram(flow: ParticipantFlow) -> Figure:
    """Flow of images and patients from the source to the study, after STARD 2015 (item 19).

    Parameters
    ----------
    flow : ParticipantFlow
        Start, exclusions in order, and what remains.

    Returns
    -------
    Figure
        Boxes with counts; exclusions branch off to the right.
    """
    line, gap = 0.21, 0.26  # inches
    left_width, right_start = 2.55, 2.75
    steps = [
        "\n".join([*textwrap.wrap(f"Excluded: {step.reason}", 34), _counts(step)]) for step in flow.steps
    ]
    heights = [line * (text.count("\n") + 1) + 0.2 for text in steps]
    end_height = 2 * line + 0.24
    height = 2 * end_height + sum(heights) + gap * (len(steps) + 1)

    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, height + 0.1))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(-0.02, WIDTH + 0.02), ylim=(-height - 0.05, 0.05))
        ax.axis("off")

        def box(left: float, top: float, width: float, height: float, text: str, *, main: bool) -> None:
            ax.add_patch(
                FancyBboxPatch(
                    (left + 0.05, top - height + 0.05),
                    width - 0.1,
                    height - 0.1,
                    boxstyle="round,pad=0.05,rounding_size=0.06",
                    linewidth=1.4 if main else 1.0,
                    edgecolor=BLUE if main else _MUTED,
                    facecolor="#eaf3fa" if main else "#f6f7f8",
                )
            )
            if main:
                ax.text(left + width / 2, top - height / 2, text, ha="center", va="center", linespacing=1.35)
            else:
                ax.text(left + 0.12, top - height / 2, text, ha="left", va="center", linespacing=1.3, size=10)

        axis = left_width / 2
        box(0, 0, left_width, end_height, f"Assessed\n{_counts(flow.start)}", main=True)
        top = -end_height - gap
        for text, tall in zip(steps, heights, strict=True):
            middle = top - tall / 2
            ax.annotate(
                "",
                xy=(right_start, middle),
                xytext=(axis, middle),
                arrowprops={"arrowstyle": "-|>", "color": _MUTED, "shrinkA": 0, "shrinkB": 0},
            )
            box(right_start, top, WIDTH - right_start, tall, text, main=False)
            top -= tall + gap
        ax.annotate(
            "",
            xy=(axis, top),
            xytext=(axis, -end_height),
            arrowprops={"arrowstyle": "-|>", "color": _MUTED, "shrinkA": 0, "shrinkB": 0},
        )
        box(0, top, left_width, end_height, f"Included\n{_counts(flow.final)}", main=True)
    return fig


def unit_curves(data: pd.DataFrame, *, xlabel: str, ylabel: str, diagonal: bool = False) -> Figure:
    """Curves with bands in the unit square: ROC, precision-recall, calibration.

    Parameters
    ----------
    data : DataFrame
        Columns label, x, y and, for a band, low and high; all in [0, 1].
    xlabel, ylabel : str
        Axis labels.
    diagonal : bool
        Draw the line from (0, 0) to (1, 1).
    """
    with mpl.rc_context(_STYLE):
        labels = list(dict.fromkeys(data["label"]))
        fig = Figure(figsize=(WIDTH, WIDTH + 0.28 * len(labels)), layout="constrained")
        ax = fig.add_subplot()
        if diagonal:
            ax.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for position, (label, style) in enumerate(zip(labels, cycle(LINES), strict=False)):
            curve = data.loc[data["label"] == label].sort_values(["x", "y"])
            colour = _colour(position)
            if {"low", "high"} <= set(curve):
                ax.fill_between(
                    curve["x"], curve["low"], curve["high"], color=colour, alpha=0.13, linewidth=0
                )
            ax.plot(curve["x"], curve["y"], color=colour, linestyle=style, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        ax.set_xticks(np.linspace(0, 1, 6))
        ax.set_yticks(np.linspace(0, 1, 6))
        ax.grid(True)
        fig.legend(loc="outside lower left", handlelength=3.2)
    return fig


def roc_curves(data: pd.DataFrame) -> Figure:
    """ROC curves; columns label, x (1 - specificity), y (sensitivity), low, high."""
    return unit_curves(
        data,
        xlabel="1 − specificity (false-positive rate)",
        ylabel="Sensitivity (true-positive rate)",
        diagonal=True,
    )


def pr_curves(data: pd.DataFrame) -> Figure:
    """Precision-recall curves; columns label, x (sensitivity), y (precision), low, high."""
    return unit_curves(data, xlabel="Sensitivity (recall)", ylabel="Precision")


def lines(
    data: pd.DataFrame,
    *,
    xlabel: str,
    ylabel: str,
    ylim: tuple[float, float] | None = None,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Curves with bands on axes of their own.

    Parameters
    ----------
    data : DataFrame
        Columns label, x, y and, for a band, low and high (missing where a curve has none).
    xlabel, ylabel : str
        Axis labels.
    ylim : tuple of float, optional
        Vertical axis; what lies outside is cut off.
    marks : mapping of str to float, optional
        Words to where they stand on the horizontal axis, at a dashed line.
    """
    with mpl.rc_context(_STYLE):
        labels = list(dict.fromkeys(data["label"]))
        fig = Figure(figsize=(WIDTH, 4.2 + 0.28 * len(labels)), layout="constrained")
        ax = fig.add_subplot()
        for position, (label, style) in enumerate(zip(labels, cycle(LINES), strict=False)):
            curve = data.loc[data["label"] == label].sort_values("x")
            colour = _colour(position)
            if {"low", "high"} <= set(curve):
                ax.fill_between(
                    curve["x"], curve["low"], curve["high"], color=colour, alpha=0.13, linewidth=0
                )
            ax.plot(curve["x"], curve["y"], color=colour, linestyle=style, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if ylim:
            ax.set_ylim(ylim)
        for words, place in (marks or {}).items():
            ax.axvline(place, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            ax.text(
                place, 0.99, f" {words}", transform=ax.get_xaxis_transform(), va="top", size=10, color=_MUTED
            )
        ax.grid(True)
        fig.legend(loc="outside lower left", handlelength=3.2)
    return fig


def scatter(data: pd.DataFrame, *, xlabel: str, ylabel: str) -> Figure:
    """Points around the two axes of no difference.

    Parameters
    ----------
    data : DataFrame
        Columns x and y.
    xlabel, ylabel : str
        Axis labels.
    """
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        ax = fig.add_subplot()
        for line in (ax.axvline, ax.axhline):
            line(0, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ax.plot(data["x"], data["y"], "o", color=BLUE, markersize=3.5, alpha=0.45, markeredgewidth=0)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.grid(True)
    return fig


def tornado(data: pd.DataFrame, *, xlabel: str, base: float) -> Figure:
    """One-way sensitivity: how far each input alone moves a result from its value at all assumptions.

    Parameters
    ----------
    data : DataFrame
        Columns label, at_low and at_high (result at the input's low and high limit), and low and high, the
        limits as text; the input that matters most first.
    xlabel : str
        Result with its unit.
    base : float
        Result at all assumptions.
    """
    rows = data.to_dict("records")
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, 0.62 * len(rows) + 0.9), layout="constrained")
        ax = fig.add_subplot()
        for position, row in enumerate(rows):
            for end, colour in (("low", BLUE), ("high", ORANGE)):
                width = row[f"at_{end}"] - base
                ax.barh(position, width, left=base, height=0.34, color=colour)
            ax.text(
                0,
                position - 0.38,
                f"{row['label']}: {row['low']} to {row['high']}",
                transform=ax.get_yaxis_transform(),
                va="center",
                size=10.5,
            )
        ax.axvline(base, color=_MUTED, linewidth=1)
        ax.axvline(0, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.75))
        ax.yaxis.set_visible(False)
        ax.spines["left"].set_visible(False)
        keys = [Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, ORANGE)]
        fig.legend(keys, ["at the low limit", "at the high limit"], loc="outside lower center", ncols=2)
    return fig


def forest(data: pd.DataFrame, *, xlabel: str, reference: float | None = None, digits: int = 3) -> Figure:
    """Forest plot: each row's label and figures stand above its interval, to suit a narrow screen.

    Parameters
    ----------
    data : DataFrame
        Columns label, estimate, low, high (missing where there is no interval) and, to tell
        groups apart by colour and marker, group; drawn from top to bottom.
    xlabel : str
        Measure with its unit.
    reference : float, optional
        Where the dashed line of no effect stands.
    digits : int
        Decimals of the printed figures.
    """
    rows = data.to_dict("records")
    groups = list(dict.fromkeys(row["group"] for row in rows)) if "group" in data else []
    pitch = 0.50  # inches from row to row
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, pitch * len(rows) + 0.75 + (0.3 if groups else 0)), layout="constrained")
        ax = fig.add_subplot()
        if reference is not None:
            ax.axvline(reference, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        seen: set[str] = set()
        for position, row in enumerate(rows):
            group = groups.index(row["group"]) if groups else 0
            colour, marker = _colour(group), MARKERS[group % len(MARKERS)]
            text = format_number(float(row["estimate"]), digits=digits)
            if not (np.isnan(float(row["low"])) or np.isnan(float(row["high"]))):
                ax.plot([row["low"], row["high"]], [position, position], color=colour, linewidth=2.2)
                limits = (format_number(float(row[end]), digits=digits) for end in ("low", "high"))
                text += f" ({' to '.join(limits)})"
            name = row["group"] if groups and row["group"] not in seen else None
            seen.add(row.get("group", ""))
            ax.plot(
                row["estimate"], position, marker, color=colour, markersize=7, linestyle="none", label=name
            )
            line: Any = {
                "transform": ax.get_yaxis_transform(),
                "va": "center",
                "size": 10.5,
                # the dashed line passes behind the words
                "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            }
            ax.text(0, position - 0.44, row["label"], ha="left", **line)
            ax.text(1, position - 0.44, text, ha="right", **line)
        ax.set(xlabel=xlabel, ylim=(len(rows) - 0.55, -0.75))
        ax.margins(x=0.06)
        ax.yaxis.set_visible(False)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        if groups:
            fig.legend(loc="outside lower center", ncols=min(len(groups), 4), columnspacing=1.4)
    return fig


def dumbbell(data: pd.DataFrame, *, xlabel: str, names: Mapping[str, str], digits: int = 3) -> Figure:
    """Two estimates a row with their intervals, joined; lines of words stand above each row.

    Parameters
    ----------
    data : DataFrame
        Columns label and detail, whose lines are as many in all rows and no longer than the figure is wide;
        first, first_low and first_high; the same of second; and, missing where there is none, first_mark and
        second_mark (what each is compared with), band_low and band_high (what both are).
    xlabel : str
        Measure with its unit.
    names : mapping of str to str
        What ``first``, ``second`` and, where they are drawn, ``mark`` and ``band`` are.
    digits : int
        Decimals of the printed figures.
    """
    rows = data.to_dict("records")
    n_lines = str(rows[0]["detail"]).count("\n") + 1
    pitch = 0.67 + 0.19 * n_lines  # inches from row to row
    inch = 1 / pitch
    drawn = {"first": (ORANGE, "s", 0.0), "second": (BLUE, "o", 0.155 * inch)}
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, pitch * len(rows) + 1.15), layout="constrained")
        ax = fig.add_subplot()
        for position, row in enumerate(rows):
            values = [float(row[side]) for side in drawn]
            ax.plot(
                values, [position + at for _, _, at in drawn.values()], color=_FAINT, linewidth=3, zorder=1
            )
            for side, (colour, marker, at) in drawn.items():
                place = position + at
                ax.plot([row[f"{side}_low"], row[f"{side}_high"]], [place] * 2, color=colour, linewidth=2)
                ax.plot(row[side], place, marker, color=colour, markersize=6.5)
                if not np.isnan(mark := float(row.get(f"{side}_mark", np.nan))):
                    ax.plot(mark, place, "|", color=_MUTED, markersize=9, markeredgewidth=1.6)
            if not np.isnan(low := float(row.get("band_low", np.nan))):
                high = max(float(row["band_high"]), low + 0.002)
                ends = [position - 0.095 * inch, position + 0.25 * inch]
                ax.fill_betweenx(ends, low, high, color=_INK, linewidth=0)
            line: Any = {"transform": ax.get_yaxis_transform(), "va": "center", "size": 10.5}
            texts = [row["label"], *row["detail"].split("\n")]
            for above, text in enumerate(reversed(texts)):
                place = position - (0.215 + 0.19 * above) * inch
                ax.text(0, place, text, ha="left", weight="bold" if text is texts[0] else "normal", **line)
            numbers = " → ".join(format_number(value, digits=digits) for value in values)
            ax.text(1, position - 0.215 * inch, numbers, ha="right", **line)
        handles = {
            **{
                side: Line2D([], [], color=colour, marker=marker, linewidth=2, label=names[side])
                for side, (colour, marker, _) in drawn.items()
            },
            "mark": Line2D(
                [], [], color=_MUTED, marker="|", linestyle="none", markersize=9, markeredgewidth=1.6
            ),
            "band": Line2D(
                [], [], color=_INK, marker="|", linestyle="none", markersize=14, markeredgewidth=3
            ),
        }
        ax.set(xlabel=xlabel, ylim=(len(rows) - 1 + 0.3 * inch, 0.3 * inch - 1))
        ax.margins(x=0.03)
        ax.yaxis.set_visible(False)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        fig.legend(
            handles=[handles[key] for key in names],
            labels=list(names.values()),
            loc="outside lower center",
            ncols=2,
            columnspacing=1.4,
        )
    return fig


def confusion_matrices(matrices: Mapping[str, pd.DataFrame]) -> Figure:
    """Confusion matrices side by side, counts with the share of their row.

    Parameters
    ----------
    matrices : mapping of str to DataFrame
        Title to a square table of counts: rows reference standard, columns decision.
    """
    columns = min(len(matrices), 2)
    n_rows = -(-len(matrices) // columns)
    several = max(len(matrix) for matrix in matrices.values()) > 2
    with mpl.rc_context(_STYLE | {"axes.spines.left": False, "axes.spines.bottom": False}):
        fig = Figure(figsize=(WIDTH, 3.05 * n_rows), layout="constrained")
        grid = fig.subplots(n_rows, columns, squeeze=False)
        for ax in grid.flat:
            ax.set_visible(False)
        for ax, (title, matrix) in zip(grid.flat, matrices.items(), strict=False):
            ax.set_visible(True)
            counts = matrix.to_numpy(float)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            # the pale half of the map only: dark letters stay legible on every cell
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=2.2)
            for (row, column), share in np.ndenumerate(shares):
                ax.text(
                    column,
                    row,
                    f"{format_number(int(counts[row, column]))}\n{100 * share:.0f} %",
                    ha="center",
                    va="center",
                    linespacing=1.4,
                )
            # three names do not fit beside each other under a matrix this small
            ax.set_xticks(
                range(counts.shape[1]), [str(label) for label in matrix.columns], rotation=90 * several
            )
            ax.set_yticks(
                range(counts.shape[0]),
                [str(label) for label in matrix.index],
                rotation=90 * (not several),
                va="center",
            )
            ax.tick_params(length=0)
            ax.set(xlabel="Decision", ylabel="Reference standard")
            ax.set_title(textwrap.fill(title, 28), loc="left", weight="bold", size=10.5)
    return fig


def learning_curves(
    data: pd.DataFrame, *, training: str = "loss", validation: str = "val_loss", ylabel: str = "Cross-entropy"
) -> Figure:
    """Training and validation loss by epoch: one panel a model, one pair of lines a fold.

    Parameters
    ----------
    data : DataFrame
        Columns label, fold, epoch and the two named here.
    training, validation : str
        Columns to draw.
    ylabel : str
        Measure with its unit.
    """
    labels = list(dict.fromkeys(data["label"]))
    columns = min(len(labels), 2)
    n_rows = -(-len(labels) // columns)
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, 2.5 * n_rows + 0.4), layout="constrained")
        grid = fig.subplots(n_rows, columns, squeeze=False, sharey=True)
        for ax in list(grid.flat)[len(labels) :]:
            ax.set_visible(False)
        for ax, label in zip(grid.flat, labels, strict=False):
            for _, fold in data.loc[data["label"] == label].groupby("fold"):
                curve = fold.sort_values("epoch")
                for column, colour, style in ((training, BLUE, "--"), (validation, ORANGE, "-")):
                    ax.plot(
                        curve["epoch"],
                        curve[column],
                        style,
                        color=colour,
                        linewidth=1.2,
                        alpha=0.8,
                        marker=".",
                    )
            ax.set_title(textwrap.fill(label, 28), weight="bold", size=10.5)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            ax.grid(True, axis="y")
        for ax in grid[:, 0]:
            ax.set_ylabel(ylabel)
        for ax in list(grid.flat)[: len(labels)][-columns:]:  # the lowest panel of each column
            ax.set_xlabel("Epoch")
        handles = [
            Line2D([], [], color=colour, linestyle="--" if name == "Training" else "-", label=name)
            for name, colour in (("Training", BLUE), ("Validation", ORANGE))
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
    return fig


def image_grid(
    images: Sequence[NDArray[np.uint8]], titles: Sequence[str], *, columns: int = 3, **options: Any
) -> Figure:
    """Images in a grid, each under its title.

    Parameters
    ----------
    images : sequence of ndarray, uint8, shape (H, W) or (H, W, 3)
        Grey or in colour, all of one shape.
    titles : sequence of str
        As many as there are images.
    columns : int
        Images a row.
    **options
        Passed to ``imshow``, for instance ``cmap``.
    """
    columns = min(columns, len(images))
    n_rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    lines = max(len(textwrap.wrap(title, 54 // columns)) for title in titles)
    cell = WIDTH / columns
    with mpl.rc_context(_STYLE):
        fig = Figure(
            figsize=(WIDTH, n_rows * (cell * height / width + 0.2 * lines + 0.05)), layout="constrained"
        )
        grid: NDArray[Any] = fig.subplots(n_rows, columns, squeeze=False)
        for ax in grid.flat:
            ax.axis("off")
        for ax, image, title in zip(islice(grid.flat, len(images)), images, titles, strict=True):
            ax.imshow(image, **({"cmap": "gray", "vmin": 0, "vmax": 255} | options))
            ax.set_title(textwrap.fill(title, 54 // columns), loc="center", size=10.5)
    return fig


def difference_matrix(data: pd.DataFrame, *, colorbar: str, digits: int = 2) -> Figure:
    """Differences between models: each row is compared with each column it was declared against.

    Parameters
    ----------
    data : DataFrame
        Columns row, column, estimate and significant (framed and bold). A combination that is not in the
        table stays empty.
    colorbar : str
        Measure with its direction.
    digits : int
        Decimals of the printed differences.
    """
    rows, columns = (list(dict.fromkeys(data[name])) for name in ("row", "column"))
    values = np.full((len(rows), len(columns)), np.nan)
    row_labels, column_labels = (
        [textwrap.fill(label, width) for label in labels] for labels, width in ((rows, 17), (columns, 24))
    )
    with mpl.rc_context(_STYLE | {"axes.spines.left": False, "axes.spines.bottom": False}):
        fig = Figure(figsize=(WIDTH, 0.48 * len(rows) + 3.1), layout="constrained")
        ax = fig.add_subplot()
        for cell in data.to_dict("records"):
            at = rows.index(cell["row"]), columns.index(cell["column"])
            values[at] = cell["estimate"]
            ax.text(
                at[1],
                at[0],
                format_number(float(cell["estimate"]), digits=digits),
                ha="center",
                va="center",
                size=10.5,
                weight="bold" if cell["significant"] else "normal",
            )
            if cell["significant"]:
                corner = (at[1] - 0.45, at[0] - 0.45)
                ax.add_patch(Rectangle(corner, 0.9, 0.9, fill=False, edgecolor=_INK, linewidth=1.6))
        largest = float(np.nanmax(np.abs(values), initial=0.01))
        image = ax.imshow(values, cmap=_DIFFERENCES, vmin=-largest, vmax=largest, aspect="auto")
        ax.set_xticks(range(len(columns)), column_labels, rotation=90, size=10)
        ax.set_yticks(range(len(rows)), row_labels, size=10)
        ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
        ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
        ax.tick_params(which="minor", length=0)
        ax.grid(True, which="minor", color=_FAINT)
        bar = fig.colorbar(image, ax=ax, orientation="horizontal", shrink=0.8, pad=0.04, label=colorbar)
        bar.ax.set_xlim(0 if np.nanmin(values) >= 0 else -largest, largest)
    return fig


def readers_and_curves(curves: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Readers' operating points in the plane of algorithms' ROC curves, one panel a finding.

    Parameters
    ----------
    curves : DataFrame
        Columns finding, model, x (1 - specificity) and y (sensitivity).
    points : DataFrame
        Columns finding, reader, x, y and the limits x_low, x_high, y_low, y_high.
    """
    findings = list(dict.fromkeys(curves["finding"]))
    readers = list(dict.fromkeys(points["reader"]))
    columns = min(len(findings), 2)
    n_rows = -(-len(findings) // columns)
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, 3.0 * n_rows + 0.6), layout="constrained")
        grid = fig.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True)
        for ax in list(grid.flat)[len(findings) :]:
            ax.set_visible(False)
        for ax, finding in zip(grid.flat, findings, strict=False):
            for _, curve in curves.loc[curves["finding"] == finding].groupby("model"):
                ax.plot(curve["x"], curve["y"], color=_MUTED, linewidth=0.9, alpha=0.7)
            for position, reader in enumerate(readers):
                mine = (points["finding"] == finding) & (points["reader"] == reader)
                for row in points.loc[mine].to_dict("records"):
                    ax.errorbar(
                        row["x"],
                        row["y"],
                        xerr=[[row["x"] - row["x_low"]], [row["x_high"] - row["x"]]],
                        yerr=[[row["y"] - row["y_low"]], [row["y_high"] - row["y"]]],
                        fmt=MARKERS[position % len(MARKERS)],
                        color=_colour(position),
                        markersize=6,
                        linewidth=1.2,
                        zorder=3,
                    )
            ax.set_title(textwrap.fill(str(finding), 28), weight="bold", size=10.5)
            ax.set(xlim=(-0.02, 0.62), ylim=(0.28, 1.02))
            ax.grid(True)
        for ax in grid[:, 0]:
            ax.set_ylabel("Sensitivity")
        for ax in list(grid.flat)[: len(findings)][-columns:]:
            ax.set_xlabel("1 − specificity")
            ax.tick_params(labelbottom=True)
        handles = [
            Line2D([], [], color=_MUTED, linewidth=1.2, label="AI, one line an algorithm"),
            *(
                Line2D(
                    [],
                    [],
                    color=_colour(position),
                    marker=MARKERS[position % len(MARKERS)],
                    linestyle="none",
                    label=reader,
                )
                for position, reader in enumerate(readers)
            ),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


def agreement_matrix(matrix: pd.DataFrame, *, colorbar: str) -> Figure:
    """Agreement of every rater with every other.

    Parameters
    ----------
    matrix : DataFrame
        Square; missing cells stay empty.
    colorbar : str
        Measure.
    """
    values = matrix.to_numpy(float)
    with mpl.rc_context(_STYLE | {"axes.spines.left": False, "axes.spines.bottom": False}):
        fig = Figure(figsize=(WIDTH, WIDTH + 0.6), layout="constrained")
        ax = fig.add_subplot()
        # the pale half of the map only: dark letters stay legible on every cell
        image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1.6)
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ax.text(column, row, format_number(float(value), digits=2), ha="center", va="center", size=10)
        ax.set_xticks(range(len(values)), list(matrix.columns), rotation=90)
        ax.set_yticks(range(len(values)), list(matrix.index))
        ax.tick_params(length=0)
        bar = fig.colorbar(image, ax=ax, orientation="horizontal", shrink=0.7, pad=0.02, label=colorbar)
        bar.ax.set_xlim(0, 1)
    return fig


def gaps_and_limits(data: pd.DataFrame, *, level: float) -> Figure:
    """Gaps between groups beside the smallest gap that could have been seen, one panel a measure.

    Parameters
    ----------
    data : DataFrame
        Columns label, measure, estimate, low, high, detectable (missing where there is none) and found.
    level : float
        Confidence level of the intervals.
    """
    labels, measures = (list(dict.fromkeys(data[name])) for name in ("label", "measure"))
    largest = float(np.nanmax(data[["estimate", "high", "detectable"]].to_numpy(float), initial=0.05))
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(WIDTH, 0.5 * len(labels) + 1.75), layout="constrained")
        axes = fig.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for ax, measure in zip(axes, measures, strict=True):
            for row in data.loc[data["measure"] == measure].to_dict("records"):
                place = labels.index(row["label"])
                if not np.isnan(float(row["detectable"])):
                    ax.barh(place, row["detectable"], height=0.34, color=_FAINT, zorder=1)
                colour = ORANGE if row["found"] else BLUE
                ax.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2)
                ax.plot(
                    row["estimate"],
                    place,
                    "D" if row["found"] else "o",
                    color=colour,
                    markerfacecolor=colour if row["found"] else "white",
                    markersize=6.5,
                )
            ax.set_title(measure, weight="bold", size=10.5)
            ax.set(xlim=(0, min(1.02 * largest, 1.02)), ylim=(len(labels) - 0.6, -0.75), xlabel="Gap")
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.grid(True, axis="x")
            ax.tick_params(axis="y", length=0, labelleft=False)
            for place, label in enumerate(labels):
                ax.text(0.01 * largest, place - 0.42, label, va="center", size=10)
        handles = [
            Line2D([], [], color=BLUE, marker="o", markerfacecolor="white", label="Gap, not significant"),
            Line2D([], [], color=ORANGE, marker="D", label="Gap, significant (Holm)"),
            Rectangle((0, 0), 1, 1, facecolor=_FAINT, label="Too small to be seen reliably"),
        ]
        fig.legend(
            handles=handles,
            loc="outside lower left",
            ncols=1,
            title=f"Lines: {level:.0%} intervals",
            alignment="left",
        )
    return fig
