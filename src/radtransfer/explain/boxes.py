"""Experts' boxes in the frame of the curated images, as masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from radtransfer.data.boxes import SIDES, boxes_of
from radtransfer.data.fetch import fetch
from radtransfer.data.formats import chestxray14
from radtransfer.data.manifest import load_manifest

if TYPE_CHECKING:
    from radtransfer.data.store import CuratedDataset


def expert_boxes(dataset: CuratedDataset, source: str | None = None) -> pd.DataFrame:
    """Boxes that experts drew around the disease of the dataset's task.

    Parameters
    ----------
    dataset : CuratedDataset
    source : str, optional
        Manifest id of a dataset in the NIH's layout whose list of boxes holds them; by default they are those
        of the cohort.

    Returns
    -------
    DataFrame
        One row per box: ``image_id`` and :data:`radtransfer.data.boxes.SIDES` as shares of the curated
        square's side, clipped to it.
    """
    frame = dataset.cohort.frame
    if source is not None:
        listed = chestxray14.read_boxes(fetch(source))
        listed = listed.loc[listed["image_id"].isin(frame["image_id"])]
    elif "boxes" in frame:
        parts = [
            boxes_of(cell).assign(image_id=image_id)
            for image_id, cell in zip(frame["image_id"], frame["boxes"], strict=True)
        ]
        listed = pd.concat(parts, ignore_index=True)
    else:
        names = {f"bbox_{side}": side for side in SIDES}
        columns = frame.reindex(columns=["image_id", *names]).rename(columns=names).dropna()
        listed = columns.assign(finding=dataset.task)
    listed = listed.loc[listed["finding"].str.lower() == dataset.task, ["image_id", *SIDES]]
    height, width = _frame_size(dataset)
    return in_square(listed.reset_index(drop=True), height=height, width=width)


def _frame_size(dataset: CuratedDataset) -> tuple[int, int]:
    """Height and width of the images that boxes are drawn on, pixels."""
    if phantom := dataset.info["parameters"]["phantom"]:
        return phantom["size"], phantom["size"]
    size = load_manifest().dataset(dataset.cohort.dataset).native_size
    assert size is not None, "experts drew on images of one size"
    return size


def in_square(boxes: pd.DataFrame, *, height: int, width: int) -> pd.DataFrame:
    """Boxes as shares of the side of the largest central square, which curation keeps.

    Parameters
    ----------
    boxes : DataFrame
        ``image_id`` and :data:`SIDES`, pixels of an image of that height and width.
    height, width : int

    Returns
    -------
    DataFrame
        Clipped to the square; boxes that lie outside it are left out.
    """
    side = min(height, width)
    table = boxes.astype(dict.fromkeys(SIDES, float))
    left, top = table["x"] - (width - side) / 2, table["y"] - (height - side) / 2
    right, bottom = left + table["width"], top + table["height"]
    left, top, right, bottom = (edge.clip(0, side) / side for edge in (left, top, right, bottom))
    kept = table[["image_id"]].assign(x=left, y=top, width=right - left, height=bottom - top)
    return kept.loc[(kept["width"] > 0) & (kept["height"] > 0)].reset_index(drop=True)


def box_mask(boxes: pd.DataFrame, side: int) -> NDArray[np.bool_]:
    """Pixels whose centre lies in one of some boxes, shape (side, side).

    Parameters
    ----------
    boxes : DataFrame
        Rows of :func:`expert_boxes`, of one image.
    side : int
    """
    mask = np.zeros((side, side), dtype=bool)
    centres = (np.arange(side) + 0.5) / side
    for x, y, width, height in boxes[list(SIDES)].to_numpy():
        across = (centres >= x) & (centres < x + width)
        mask |= np.outer((centres >= y) & (centres < y + height), across)
    return mask
