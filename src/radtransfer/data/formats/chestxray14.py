"""NIH ChestX-ray14 in its official layout.

``Data_Entry_2017_v2020.csv`` (gzipped or not) beside ``images_001`` to ``images_012``, each with a folder
``images`` of 1024 x 1024 PNG files, most of one channel, some RGBA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from radtransfer.data.cohort import Cohort
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.images import Grey

TABLE = "Data_Entry_2017_v2020.csv"
NO_FINDING = "No Finding"
OLDEST_YEARS = 120
"""Ages above are typing errors of the collection (one patient is 411) and count as unknown."""


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images that are there.

    Parameters
    ----------
    root : Path
        Folder in the official layout; it need not hold all images.

    Returns
    -------
    Cohort
        Task pneumonia: label list contains Pneumonia (1) or is No Finding (0); others are unknown.

    Raises
    ------
    DataError
        If the table is missing or lacks an image that is there.
    """
    files = {path.name: path.relative_to(root).as_posix() for path in root.glob("images_*/images/*.png")}
    return cohort_of(read_table(root), files, dataset="chestxray14")


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def read_table(root: Path) -> pd.DataFrame:
    """NIH's table of all images, columns as upstream."""
    for path in (root / TABLE, root / f"{TABLE}.gz"):
        if path.is_file():
            return pd.read_csv(path, dtype=str)
    raise DataError(f"{TABLE} is missing in {root}", hint="radtransfer data fetch brings it")


def cohort_of(table: pd.DataFrame, files: dict[str, str], *, dataset: str) -> Cohort:
    """Cohort of the listed files from rows of NIH's table.

    Parameters
    ----------
    table : DataFrame
        Columns as in NIH's table, text.
    files : dict of str to str
        Image name to path below the root.
    dataset : str
        Id of the dataset.
    """
    rows = table.loc[table["Image Index"].isin(files)].sort_values("Image Index")
    unknown = sorted(set(files) - set(rows["Image Index"]))
    if unknown:
        raise DataError(f"{dataset}: {len(unknown)} images are not in NIH's table, first {unknown[0]}")
    findings = rows["Finding Labels"].str.split("|")
    positive = findings.map(lambda labels: "Pneumonia" in labels)
    negative = rows["Finding Labels"] == NO_FINDING
    # older versions of the table write ages as 058Y
    age = pd.to_numeric(rows["Patient Age"].str.removesuffix("Y"), errors="coerce")
    return Cohort(
        pd.DataFrame(
            {
                "image_id": rows["Image Index"].str.removesuffix(".png"),
                "patient_id": rows["Patient ID"].str.zfill(8),
                "group_id": rows["Image Index"].str.removesuffix(".png"),
                "dataset": dataset,
                "modality": "xray",
                "path": rows["Image Index"].map(files),
                "age_years": age.where(age.between(0, OLDEST_YEARS)).astype("Float64"),
                "sex": rows["Patient Gender"].where(rows["Patient Gender"].isin(["F", "M"])),
                "view": rows["View Position"],
                "site": "NIH Clinical Center",
                "label_pneumonia": positive.astype("Int64").where(positive | negative),
                "findings": rows["Finding Labels"],
                "follow_up": pd.to_numeric(rows["Follow-up #"]).astype("Int64"),
            }
        ),
        dataset=dataset,
        tasks=("pneumonia",),
    )
