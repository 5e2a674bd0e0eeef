"""Boxes that experts drew: several for one image, in one cell of the cohort.

A cohort has one row per image. All its boxes are in the column ``boxes`` as JSON, and an image with exactly
one also has it in the standard columns ``bbox_x``, ``bbox_y``, ``bbox_width``, ``bbox_height``.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pandas as pd

SIDES = ("x", "y", "width", "height")
"""Left edge, upper edge and extent of a box, pixels of the original image."""


def attach_boxes(frame: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
    """Add boxes to the rows of a cohort.

    Parameters
    ----------
    frame : DataFrame
        Rows of a cohort with ``image_id``.
    boxes : DataFrame
        One row per box: ``image_id``, ``finding`` and :data:`SIDES`. Boxes of images that are not in
        ``frame`` are left out.

    Returns
    -------
    DataFrame
        With the columns ``boxes`` (null for an image without boxes) and ``bbox_*``.
    """
    kept = boxes.loc[boxes["image_id"].isin(frame["image_id"])]
    cells: dict[str, list[object]] = defaultdict(list)
    for image, box in zip(kept["image_id"], kept[["finding", *SIDES]].to_dict("records"), strict=True):
        cells[image].append(box)
    only = kept.loc[~kept["image_id"].duplicated(keep=False)].set_index("image_id")
    return frame.assign(
        boxes=frame["image_id"]
        .map({image: json.dumps(found) for image, found in cells.items()})
        .astype("str"),
        **{f"bbox_{side}": frame["image_id"].map(only[side]).astype("Float64") for side in SIDES},
    )


def boxes_of(cell: object) -> pd.DataFrame:
    """Boxes of one image.

    Parameters
    ----------
    cell : object
        Value of the column ``boxes``: JSON, or null.

    Returns
    -------
    DataFrame
        One row per box: ``finding`` and :data:`SIDES`.
    """
    rows = json.loads(cell) if isinstance(cell, str) else []
    return pd.DataFrame(rows, columns=["finding", *SIDES]).astype(dict.fromkeys(SIDES, float))
