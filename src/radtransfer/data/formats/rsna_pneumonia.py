"""RSNA Pneumonia Detection Challenge (Shih et al., Radiology: Artificial Intelligence 2019;1:e180041).

Files that are read:

- ``stage_2_train_images/<patientId>.dcm``: radiographs of the NIH, 1024 x 1024 px, JPEG baseline;
- ``stage_2_train_labels.csv``: 30,227 rows, one per box, and one without numbers for an image without box;
- ``stage_2_detailed_class_info.csv``: Lung Opacity, Normal, or No Lung Opacity / Not Normal;
- ``stage_2_train_images_dicom_headers.csv``: the headers of all images, so that they need not be opened;
- ``pneumonia-challenge-dataset-mappings_2018.json``: which image of the NIH each is.

Only images and labels must be there. Tables may be gzipped or zipped, and may be called ``kaggle_...``.

A challenge's ``patientId`` names an image, not a patient: 26,684 images have as many. Only the mapping
tells which of them are of one patient; without it they cannot be kept together, and a split by patient is
one by image.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from radtransfer.data import dicom
from radtransfer.data.boxes import SIDES, attach_boxes
from radtransfer.data.cohort import Cohort
from radtransfer.data.delimited import read_delimited
from radtransfer.data.demographics import ages, sexes
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.formats.common import NO_PATIENTS
from radtransfer.data.images import DecodeError
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from radtransfer.data.images import Grey

IMAGES: Final = "stage_2_train_images"
LABELS: Final = "stage_2_train_labels.csv"
CLASSES: Final = "stage_2_detailed_class_info.csv"
HEADERS: Final = "stage_2_train_images_dicom_headers.csv"
MAPPING: Final = "pneumonia-challenge-dataset-mappings_2018.json"

OPACITY: Final = "Lung Opacity"
NORMAL: Final = "Normal"
CLASS_NAMES: Final = (OPACITY, NORMAL, "No Lung Opacity / Not Normal")

MAX_TABLE_BYTES: Final = 1 << 28
"""Unpacked size above which a zipped table is refused."""


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images that are there.

    Parameters
    ----------
    root : Path
        Folder of the challenge; it need not hold all images.
    options : mapping
        None are known.

    Returns
    -------
    Cohort
        Task pneumonia: an opacity that suggests pneumonia (1) or none (0); unknown where the table has no
        row. Where the classes are there, also ``pneumonia_v_normal``, whose negatives are normal, and the
        column ``rsna_class``. ``boxes`` as in :mod:`radtransfer.data.boxes`.
        ``frame.attrs["rows_without_file"]`` counts the labelled images that are not there.

    Raises
    ------
    DataError
        If labels or images are missing, or a table contradicts itself.
    """
    files = _image_files(root)
    labels = _read_table(root, LABELS, ["patientId", *SIDES, "Target"])
    if labels is None:
        raise DataError(f"{LABELS} is missing in {root}")
    target = _one_per_image(labels, "Target", ("0", "1"), LABELS).astype("Int64")
    frame = pd.DataFrame({"image_id": list(files), "path": list(files.values())})
    image = frame["image_id"]
    patients = _patients_of_nih(root)
    frame["patient_id"] = [patients.get(name, name) for name in image]
    frame["group_id"] = image
    frame["dataset"], frame["modality"], frame["site"] = "rsna_pneumonia", "xray", "NIH Clinical Center"
    frame = frame.join(_headers(root, files), on="image_id")
    frame["label_pneumonia"] = image.map(target).astype("Int64")
    tasks = ["pneumonia"]
    classes = _read_table(root, CLASSES, ["patientId", "class"])
    if classes is not None:
        name = image.map(_one_per_image(classes, "class", CLASS_NAMES, CLASSES)).astype("str")
        frame["rsna_class"] = name
        opacity = (name == OPACITY).astype("Int64")
        frame["label_pneumonia_v_normal"] = opacity.where(name.isin([OPACITY, NORMAL]))
        tasks.append("pneumonia_v_normal")
    frame = attach_boxes(frame, _boxes(labels))
    frame.attrs["rows_without_file"] = int((~target.index.isin(image)).sum())
    return Cohort(frame, "rsna_pneumonia", tuple(tasks))


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Render the radiograph of one row of the cohort."""
    return dicom.read_frame(root / row["path"])


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say how many images are missing, and whether patients are unknown."""
    n_missing = read_cohort(root, options).frame.attrs["rows_without_file"]
    told = [f"{n_missing} labelled images are not there"] if n_missing else []
    return (*told, *(() if (root / MAPPING).is_file() else (NO_PATIENTS,)))


def _image_files(root: Path) -> dict[str, str]:
    files = {path.stem: f"{IMAGES}/{path.name}" for path in sorted((root / IMAGES).glob("*.dcm"))}
    if not files:
        raise DataError(f"{root} has no images", hint=f"expected {IMAGES}/<patientId>.dcm")
    return files


def _read_table(root: Path, name: str, required: Iterable[str]) -> pd.DataFrame | None:
    """A table by its name at the challenge or at Kaggle, as it is, gzipped or zipped."""
    for stem in (name, f"kaggle_{name}"):
        for path in (root / stem, root / f"{stem}.gz"):
            if path.is_file():
                return read_delimited(path, required=required)
        if (path := root / f"{stem}.zip").is_file():
            return read_delimited(_member(path, name), required=required)
    return None


def _member(path: Path, name: str) -> Any:
    """The one table in a zip archive, read where it lies."""
    try:
        archive = zipfile.ZipFile(path)
        if archive.getinfo(name).file_size > MAX_TABLE_BYTES:
            raise DataError(f"{name} in {path} is larger than {MAX_TABLE_BYTES >> 20} MiB")
        archive.read(name)  # checks it; also ends at the size that the archive claims
    except KeyError:
        raise DataError(f"{path} does not hold {name}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is no readable zip archive: {error}") from error
    return zipfile.Path(archive, name)


def _one_per_image(table: pd.DataFrame, column: str, known: tuple[str, ...], name: str) -> pd.Series[Any]:
    """A column whose value is the same in all rows of an image."""
    wrong = table.loc[~table[column].isin(known), column]
    if len(wrong):
        raise DataError(
            f"{name}, line {wrong.index[0]}: {column} is {wrong.iloc[0]!r}, not one of {', '.join(known)}"
        )
    values = table[["patientId", column]].drop_duplicates().set_index("patientId")[column]
    if values.index.duplicated().any():
        raise DataError(f"{name}: {values.index[values.index.duplicated()][0]} has two values of {column}")
    return values


def _boxes(labels: pd.DataFrame) -> pd.DataFrame:
    drawn = labels.loc[labels["Target"] == "1"]
    numbers = drawn[list(SIDES)].apply(pd.to_numeric, errors="coerce")
    broken = numbers.isna().any(axis=1) | (numbers[["width", "height"]] <= 0).any(axis=1)
    if broken.any():
        raise DataError(f"{LABELS}, line {broken.index[broken][0]}: a positive image without box")
    numbers["image_id"], numbers["finding"] = drawn["patientId"], OPACITY
    return cast("pd.DataFrame", numbers)


def _headers(root: Path, files: Mapping[str, str]) -> pd.DataFrame:
    """Age, sex and view: of the table of headers where it has the image, else of the image."""
    columns = ["age_years", "sex", "view"]
    table = _read_table(root, HEADERS, ["PatientID", "PatientAge", "PatientSex", "ViewPosition"])
    known = pd.DataFrame(columns=columns, index=pd.Index([], dtype="str"))
    if table is not None:
        if table["PatientID"].duplicated().any():
            raise DataError(
                f"{HEADERS}: {table.loc[table['PatientID'].duplicated(), 'PatientID'].iloc[0]} twice"
            )
        known = pd.DataFrame(
            {
                "age_years": ages(table["PatientAge"]),
                "sex": sexes(table["PatientSex"]),
                "view": table["ViewPosition"],
            }
        ).set_axis(pd.Index(table["PatientID"]))
    opened = {
        image: _header_of(root / path, columns) for image, path in files.items() if image not in known.index
    }
    rest = pd.DataFrame.from_dict(opened, orient="index", columns=columns)
    whole = pd.concat(
        [part.astype({"age_years": "Float64", "sex": "str", "view": "str"}) for part in (known, rest)]
    )
    return whole.loc[list(files)]


def _header_of(path: Path, columns: Iterable[str]) -> list[Any]:
    try:
        header = dicom.read_header(path)
    except DecodeError:  # its pixels will not decode either, which curation counts
        return [None for _ in columns]
    return [getattr(header, column) for column in columns]


def _patients_of_nih(root: Path) -> dict[str, str]:
    """Patient of the NIH by image, where the mapping is there."""
    path = root / MAPPING
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        return {entry["subset_img_id"]: entry["img_id"].partition("_")[0] for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not the challenge's mapping: {error!r}") from error
