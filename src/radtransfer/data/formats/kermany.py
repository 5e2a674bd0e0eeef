"""Chest radiographs of children: Kermany, Zhang, Goldbaum (Mendeley Data, doi:10.17632/rscbjbr9sj).

Read are the archives in their own layout, ``chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``, and
copies of the files in any other folders, then with the official split in ``metadata.csv`` or without it.
Everything else is in the file names: ``person12_virus_34.jpeg``, ``IM-0005-0001.jpeg``,
``NORMAL2-IM-1269-0001.jpeg``, and in the third version ``BACTERIA-1008087-0001.jpeg``.

The number in a name is taken for the patient. Bacterial and viral images share 979 of the numbers; whether
they also share the children is not known, and images of one number are never separated.
"""

from __future__ import annotations

import re
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
SITE = "Guangzhou Women and Children's Medical Center"
NO_PNEUMONIA = "no pneumonia"

_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<patient>person\d+)_(?P<cause>bacteria|virus)_\d+(_\d+)?",
        r"(?P<patient>(NORMAL\d*-)?IM-\d+)(-\d+)+",
        r"(?P<cause>BACTERIA|VIRUS|NORMAL)-(?P<patient>\d+)-\d+",
    )
)
_OFFICIAL = re.compile(r"(?:(?:.*/)?chest_xray/)?(train|val|test)/")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images that are there.

    Parameters
    ----------
    root : Path
        Folder of the archive or of a copy.

    Returns
    -------
    Cohort
        Task bacterial: bacterial (1) or viral (0) pneumonia, normal images excluded. Task pneumonia:
        bacterial or viral (1), or normal (0). Beyond the standard columns ``cause`` and ``dup_group``, the
        smallest name among images of identical bytes. Ages are unknown; all patients were one to five years
        old.

    Raises
    ------
    DataError
        If a file name or ``metadata.csv`` is not as above, or a name contradicts its folder.
    """
    paths = common.by_stem(common.image_files(root))
    if not paths:
        raise DataError(f"{root} has no images")
    splits = _listed_splits(root) if (root / METADATA).is_file() else {}
    rows = []
    for image, path in paths.items():
        patient, cause = _parse(image, path)
        official = _OFFICIAL.match(path)
        split = splits.get(image) or (official and official[1])
        rows.append(
            {
                "image_id": image,
                "patient_id": patient,
                "path": path,
                "cause": cause,
                "official_split": _SPLITS[split] if split else None,
            }
        )
    frame = pd.DataFrame(rows)
    frame["dup_group"] = frame["image_id"].map(common.identical_files(root, paths)).astype("str")
    bacterial, pneumonia = frame["cause"] == "bacteria", frame["cause"] != "normal"
    return common.cohort(
        frame.assign(
            group_id=frame["dup_group"].fillna(frame["patient_id"]),
            view="AP",
            site=SITE,
            label_bacterial=bacterial.astype("Int64").where(pneumonia),
            exclusion_bacterial=pd.Series(NO_PNEUMONIA, index=frame.index, dtype="str").mask(pneumonia),
            label_pneumonia=pneumonia.astype("Int64"),
        ),
        root,
        ("bacterial", "pneumonia"),
        modality="xray",
        classes={"bacterial": ("viral", "bacterial"), "pneumonia": ("normal", "pneumonia")},
    )


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def _parse(image: str, path: str) -> tuple[str, str]:
    match = next((match for pattern in _NAMES if (match := pattern.fullmatch(image))), None)
    if match is None:
        raise DataError(
            f"the name of {path} tells neither patient nor cause",
            hint="expected names like person12_virus_34.jpeg or IM-0005-0001.jpeg",
        )
    cause = (match.groupdict().get("cause") or "normal").lower()
    folder = PurePosixPath(path).parent.name
    if folder in ("NORMAL", "PNEUMONIA") and (folder == "NORMAL") != (cause == "normal"):
        raise DataError(f"{path} contradicts itself: by its name the cause is {cause}")
    return match["patient"], cause


def _listed_splits(root: Path) -> dict[str, str]:
    table = read_delimited(root / METADATA, required=["image", "official_split"])
    table = table.dropna(subset="official_split")
    splits = table["official_split"]
    if unknown := sorted(set(splits) - set(_SPLITS)):
        raise DataError(
            f"{root / METADATA}: {unknown[0]!r} in official_split is none of {', '.join(_SPLITS)}"
        )
    return dict(zip(table["image"].map(lambda name: PurePosixPath(name).stem), splits, strict=True))
