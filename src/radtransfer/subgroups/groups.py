"""Groups of images: who the patient is, and how the image was taken."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ATTRIBUTES: dict[str, str] = {
    "sex": "Sex",
    "age": "Age",
    "view": "View",
    "follow_up": "Follow-up",
}
"""Attributes by key, with the name readers see."""

DEMOGRAPHIC = ("sex", "age", "sex-age")
"""Attributes that say who the patient is; view and follow-up say how and when the image was taken."""

_SEXES = {"F": "Female", "M": "Male"}


def attribute_label(attribute: str) -> str:
    """Name of an attribute, or of the intersection of two, for readers."""
    first, *others = (ATTRIBUTES[part] for part in attribute.split("-"))
    return " × ".join([first, *map(str.lower, others)])


def banded(values: pd.Series[Any], edges: Sequence[int], *, least: int | None = None) -> pd.Series[Any]:
    """Bands of whole numbers, in words.

    Parameters
    ----------
    values : Series of numbers
        Missing ones have no band.
    edges : sequence of int
        Each begins a band; ascending.
    least : int, optional
        Smallest value there can be, which the first band then names.

    Returns
    -------
    Series of ordered categories

    Examples
    --------
    >>> banded(pd.Series([39, 40, 71]), [40, 60]).tolist()
    ['under 40', '40 to 59', '60 and over']
    >>> banded(pd.Series([0, 3, 9]), [1, 6], least=0).tolist()
    ['0', '1 to 5', '6 and over']
    """
    first = f"under {edges[0]}" if least is None else _span(least, edges[0])
    names = [first, *(_span(*ends) for ends in pairwise(edges)), f"{edges[-1]} and over"]
    return pd.cut(
        values.astype("Float64").astype(float), [-np.inf, *edges, np.inf], right=False, labels=names
    )


def _span(low: int, end: int) -> str:
    return str(low) if end == low + 1 else f"{low} to {end - 1}"


def attributes_of(
    frame: pd.DataFrame, *, age_edges: Sequence[int], follow_up_edges: Sequence[int]
) -> pd.DataFrame:
    """Groups of each image of a cohort, by attribute and by every pair of attributes.

    Parameters
    ----------
    frame : DataFrame
        Rows of a cohort: image_id, sex, age_years, view and, where it is known, follow_up.
    age_edges, follow_up_edges : sequence of int
        Where bands begin, from the second on: years, and follow-up numbers.

    Returns
    -------
    DataFrame
        Indexed by image_id. A column of ordered categories for each of :data:`ATTRIBUTES` in which images of
        the cohort differ, and for each pair of them (``"sex-age"``); missing where it is not known.
    """
    found = {
        "sex": pd.Categorical(frame["sex"].map(_SEXES), categories=list(_SEXES.values()), ordered=True),
        "age": banded(frame["age_years"], age_edges).array,
        "view": pd.Categorical(frame["view"], ordered=True),
    }
    if "follow_up" in frame:
        found["follow_up"] = banded(frame["follow_up"], follow_up_edges, least=0).array
    groups = pd.DataFrame(found, index=pd.Index(frame["image_id"], name="image_id"))
    groups = groups[[name for name in groups if groups[name].nunique() > 1]]
    for pair in combinations(map(str, groups), 2):
        groups["-".join(pair)] = _joint(*(groups[name] for name in pair))
    return groups


def _joint(first: pd.Series[Any], second: pd.Series[Any]) -> pd.Categorical:
    names = [f"{a}, {b}" for a in first.cat.categories for b in second.cat.categories]
    code = first.cat.codes * len(second.cat.categories) + second.cat.codes
    known = first.notna() & second.notna()
    return pd.Categorical.from_codes(code.where(known, -1).to_numpy(), names, ordered=True)  # type: ignore[call-overload,no-any-return]


def id_matched(frame: pd.DataFrame, *, label: str) -> pd.Series[bool] | None:
    """Images whose patients' numbers lie in the range that both classes share.

    Numbers are given in the order of admission. Where the classes were collected from different ranges,
    whatever changed in the meantime tells them apart.

    Parameters
    ----------
    frame : DataFrame
        Rows of a cohort.
    label : str
        Column of the label, 0 or 1.

    Returns
    -------
    Series of bool or None
        By image_id; None where patients have no numbers, or no range is shared.
    """
    number = pd.to_numeric(frame["patient_id"], errors="coerce")
    if number.isna().any():
        return None
    ranges = number.groupby(frame[label]).agg(["min", "max"])
    shared = number.between(ranges["min"].max(), ranges["max"].min())
    return pd.Series(shared.to_numpy(), index=frame["image_id"]) if shared.any() else None


@dataclass(frozen=True)
class Cell:
    """Images of one group.

    Parameters
    ----------
    attribute, group : str
        Which.
    rows : ndarray of bool, shape (n,)
        Images that belong to it.
    n : dict of str to int
        Images, patients, positive and negative images, and patients with a positive or negative image.
    shown : bool
        Whether there are enough patients of either class; otherwise the cell is suppressed.
    """

    attribute: str
    group: str
    rows: NDArray[np.bool_]
    n: dict[str, int]
    shown: bool


def cells_of(table: pd.DataFrame, groups: pd.DataFrame, attribute: str, *, minimum: int) -> list[Cell]:
    """Cells of an attribute, empty ones left out.

    Parameters
    ----------
    table : DataFrame
        Columns image_id, patient_id and label, one row an image.
    groups : DataFrame
        From :func:`attributes_of`.
    attribute : str
        Column of it.
    minimum : int
        A cell with fewer patients who have a positive, or a negative, image is suppressed.

    Returns
    -------
    list of Cell
        In the order of the categories.
    """
    group = groups[attribute].reindex(table["image_id"])
    positive = table["label"].to_numpy() == 1
    patient = table["patient_id"].to_numpy()
    cells = []
    for name in group.cat.categories:
        rows = (group == name).to_numpy(dtype=bool)
        if not rows.any():
            continue
        n = {
            "images": int(rows.sum()),
            "patients": len(np.unique(patient[rows])),
            "positive": int((rows & positive).sum()),
            "negative": int((rows & ~positive).sum()),
        }
        of_class = [len(np.unique(patient[rows & chosen])) for chosen in (positive, ~positive)]
        n |= dict(zip(("positive patients", "negative patients"), of_class, strict=True))
        cells.append(Cell(attribute, str(name), rows, n, min(of_class) >= minimum))
    return cells
