"""Head CT slices with intracerebral haemorrhage: PHE-SICH-CT-IDS (doi:10.6084/m9.figshare.23957937).

Two layouts are read. Reduced copies: ``metadata.csv`` beside ``images`` and ``masks`` of 256 px. Originals,
as a public copy has them: ``seg_dataset/{images,masks}/{train,val}/<patient>_<slice>.png`` of 512 px, and
``merged_annotation/<patient>_<slice>.xml`` in the form of PASCAL VOC with the experts' boxes. The dataset
is defined at 256 px, so both give the same pixels.

All 120 patients have a haemorrhage: the task is one of slices, and the place of a slice in the series alone
tells much. Slices near a lesion are the fairer comparison.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from PIL import Image

from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats import NO_OPTIONS, common
from radtransfer.data.images import decode, resize_shortest
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

METADATA = "metadata.csv"
IMAGES, MASKS, BOXES = "seg_dataset/images", "seg_dataset/masks", "merged_annotation"

SIZE = 256
"""Side of the reduced copies, pixels."""

NEAR = 3
"""Furthest slice from a lesion that takes part in the task haemorrhage."""
FAR = f"more than {NEAR} slices from a lesion"

_BOX = ["bbox_x", "bbox_y", "bbox_width", "bbox_height"]
_SLICE = re.compile(r"(?:phe_)?(\d+)_(\d+)")


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the slices that are there.

    Parameters
    ----------
    root : Path
        Folder in one of the two layouts.

    Returns
    -------
    Cohort
        Task haemorrhage: the slice has an expert's box (1) or not (0); slices further than :data:`NEAR`
        from the nearest with a box are excluded. Task haemorrhage_all: all slices. A slice without
        annotation has unknown labels. Group: the series. Beyond the standard columns: ``slice_index``,
        ``slices_to_nearest_lesion``, ``mask`` (path of the oedema's outline, null where none was drawn),
        and of the reduced copies ``nonblack_frac`` (share of pixels that are not black) and
        ``mask_bbox_disagree`` (one of box and mask is there, the other not). Boxes are in the frame of 512
        px; of several their union.

    Raises
    ------
    DataError
        If a table, file name or annotation is not as above.
    """
    frame = _from_table(root) if (root / METADATA).is_file() else _from_annotations(root)
    series = frame.groupby("patient_id")["slice_index"]
    last = series.transform("count") - 1
    label = frame["label"]
    distance = _distance_to_lesion(frame)
    frame = frame.assign(
        image_id=frame["patient_id"] + frame["slice_index"].map("_{:02d}".format),
        group_id=frame["patient_id"],
        # some series lack slices: places are counted among those that are there
        slice_fraction=((series.rank() - 1) / last).where(last > 0).astype("Float64"),
        slices_to_nearest_lesion=distance,
        label_haemorrhage=label,
        label_haemorrhage_all=label,
        exclusion_haemorrhage=pd.Series(FAR, index=frame.index, dtype="str").where(distance > NEAR),
    )
    there = frame["path"].map(lambda path: (root / path).is_file())
    return common.cohort(
        frame[there].drop(columns="label"), root, ("haemorrhage", "haemorrhage_all"), modality="ct"
    )


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the slice of one row of the cohort; an original is reduced as the copies were."""
    image = decode(root / row["path"])
    return resize_shortest(image, SIZE) if min(image.shape) > SIZE else image


def read_mask(root: Path, row: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Outline of the oedema (not of the blood) on one slice.

    Parameters
    ----------
    root : Path
    row : mapping
        Row of the cohort.

    Returns
    -------
    ndarray of bool, shape (256, 256)
        An original is reduced by nearest neighbour, as the copies were. Nothing is marked where no mask was
        drawn.

    Raises
    ------
    DecodeError
        If the file is no image.
    """
    if pd.isna(row["mask"]):
        return np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask = Image.fromarray(decode(root / row["mask"]))
    if mask.size != (SIZE, SIZE):
        mask = mask.resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return np.asarray(mask) > 0


def _distance_to_lesion(frame: pd.DataFrame) -> pd.Series[Any]:
    """Slices from each one to the nearest of its series that has a lesion; null if none is known to."""
    distance = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    for _, series in frame.groupby("patient_id"):
        slices = series["slice_index"].to_numpy(dtype=np.int64)
        lesions = slices[(series["label"] == 1).fillna(False).to_numpy(dtype=bool)]
        if len(lesions):
            distance[series.index] = np.abs(slices[:, None] - lesions).min(axis=1)
    return distance


def _from_table(root: Path) -> pd.DataFrame:
    box = ["bbox_xmin", "bbox_ymin", "bbox_xmax", "bbox_ymax"]
    others = ["nonblack_frac", "mask_bbox_disagree"]
    table = read_delimited(
        root / METADATA, required=["image", "patient_id", "label", "slice_index", "mask", *box, *others]
    )
    if table.empty:
        raise DataError(f"{root / METADATA} has no rows")
    for name in ("image", "patient_id"):
        if (missing := table[name].isna()).any():
            raise DataError(f"{root / METADATA}, line {missing.idxmax()}: no {name}")
    try:
        left, top, right, bottom = (table[name].astype("Float64") for name in box)
        frame = pd.DataFrame(
            {
                "path": table["image"],
                "patient_id": table["patient_id"],
                "slice_index": table["slice_index"].astype(int),
                "label": table["label"].astype("Int64"),
                "mask": table["mask"],
                "nonblack_frac": table["nonblack_frac"].astype("Float64"),
                "mask_bbox_disagree": table["mask_bbox_disagree"].astype("Int64"),
            }
        )
    except ValueError as error:
        raise DataError(f"{root / METADATA} has what is no number: {error}") from error
    return frame.assign(**dict(zip(_BOX, (left, top, right - left, bottom - top), strict=True)))


def _from_annotations(root: Path) -> pd.DataFrame:
    paths = [path for path in common.image_files(root) if path.startswith(IMAGES)]
    if not paths:
        raise DataError(f"{root} has neither {METADATA} nor images in {IMAGES}")
    rows = []
    for name, path in common.by_stem(paths).items():
        parts = _SLICE.fullmatch(name)
        if not parts:
            raise DataError(
                f"the name of {path} tells neither patient nor slice", hint="expected 0001_15.png"
            )
        mask = path.replace(IMAGES, MASKS, 1)
        label, box = _annotation(root / BOXES / f"{name}.xml")
        rows.append(
            {
                "path": path,
                "patient_id": parts[1],
                "slice_index": int(parts[2]),
                "label": label,
                "mask": mask if (root / mask).is_file() else None,
                **dict(zip(_BOX, box, strict=True)),
            }
        )
    kinds = {"label": "Int64", "mask": "str"} | dict.fromkeys(_BOX, "Float64")
    return pd.DataFrame(rows).astype(kinds)


def _annotation(path: Path) -> tuple[int | None, tuple[float | None, ...]]:
    """Label and box of a slice; no file, no knowledge."""
    nothing = (None,) * 4
    try:
        boxes = [
            [float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            for box in ElementTree.fromstring(path.read_bytes()).iter("bndbox")
        ]
    except FileNotFoundError:
        return None, nothing
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is no annotation in the form of PASCAL VOC: {error}") from error
    if not boxes:
        return 0, nothing
    left, top = np.min(boxes, axis=0)[:2]
    right, bottom = np.max(boxes, axis=0)[2:]
    return 1, (left, top, right - left, bottom - top)
