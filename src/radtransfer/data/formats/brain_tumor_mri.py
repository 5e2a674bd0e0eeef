"""Brain MRI with glioma, meningioma, pituitary tumour or none: Nickparvar's collection (Kaggle, version 1).

Read are the archive in its own layout, ``{Training,Testing}/{glioma,meningioma,notumor,pituitary}/*.jpg``,
and copies with ``metadata.csv``, which names the groups of near duplicates.

There are no patients in it, and THE OFFICIAL SPLIT LEAKS: 216 of 1,311 test images are identical to
training images. The group of near duplicates stands for the patient; without ``metadata.csv`` only files of
identical bytes are grouped here, and curation looks for the others.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats import NO_OPTIONS, common
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

METADATA = "metadata.csv"
TUMOURS = ("glioma", "meningioma", "pituitary")
CLASSES = {"tumour": TUMOURS, "tumour4": (*TUMOURS, "no_tumour")}
NO_TUMOUR = "no tumour"

_CLASS_OF = {"glioma": 0, "meningioma": 1, "pituitary": 2, "notumor": 3}
_SPLITS = {"Training": "train", "Testing": "test"}


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images that are there.

    Parameters
    ----------
    root : Path
        Folder of the archive or of a copy.

    Returns
    -------
    Cohort
        Task tumour: glioma, meningioma, pituitary; images without tumour excluded. Task tumour4: these and
        no tumour. ``group_id`` and ``patient_id`` are the group of near duplicates. Beyond the standard
        columns: ``near_dup_group`` where it is known, and ``dup_group``, the smallest name among images of
        identical bytes.

    Raises
    ------
    DataError
        If a folder or ``metadata.csv`` is not as above.
    """
    there = common.image_files(root)
    groups: dict[str, str] = {}
    if (root / METADATA).is_file():
        table = read_delimited(root / METADATA, required=["image", "source_file", "near_dup_group"])
        origin = dict(zip(table["image"], table["source_file"], strict=True))
        groups = {
            path: f"group_{group}"
            for path, group in zip(table["image"], table["near_dup_group"], strict=True)
        }
    else:
        origin = {path: path for path in there}
    if not there:
        raise DataError(f"{root} has no images")
    rows = []
    for path in there:
        if path not in origin:
            raise DataError(f"{root / METADATA} has no row for {path}")
        split, name, file = _parse(origin[path], path)
        rows.append(
            {
                "image_id": file,
                "path": path,
                "official_split": split,
                "label_tumour4": name,
                "near_dup_group": groups.get(path),
            }
        )
    frame = pd.DataFrame(rows).astype({"near_dup_group": "str", "label_tumour4": "Int64"})
    paths = common.by_stem(there) if not groups else dict(zip(frame["image_id"], frame["path"], strict=True))
    identical = frame["image_id"].map(common.identical_files(root, paths)).astype("str")
    group = frame["near_dup_group"].fillna(identical).fillna(frame["image_id"])
    tumour = frame["label_tumour4"] < len(TUMOURS)
    return common.cohort(
        frame.assign(
            dup_group=identical,
            patient_id=group,
            group_id=group,
            label_tumour=frame["label_tumour4"].where(tumour),
            exclusion_tumour=pd.Series(NO_TUMOUR, index=frame.index, dtype="str").mask(tumour),
        ),
        root,
        tuple(CLASSES),
        CLASSES,
        modality="mri",
    )


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def _parse(source: str, path: str) -> tuple[str, int, str]:
    """Official split, class and name of a file of the archive."""
    *_, split, name, file = ("", "", *PurePosixPath(source).parts)
    if split not in _SPLITS or name not in _CLASS_OF:
        raise DataError(
            f"{path} lies in no folder of the archive",
            hint=f"expected {'|'.join(_SPLITS)}/{'|'.join(_CLASS_OF)}/*.jpg",
        )
    return _SPLITS[split], _CLASS_OF[name], PurePosixPath(file).stem
