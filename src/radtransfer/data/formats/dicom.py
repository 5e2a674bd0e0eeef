"""One's own DICOM files: a folder tree of images and series, in any order and depth.

Every file that begins as a DICOM file, and every ``*.dcm``, is opened; reports and other objects without
pixels are left out. Patient, series, age, sex and view are those of the headers; labels come from a table,
keyed by image, series, study, patient or path, or from the folders that the files lie in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from radtransfer.data import dicom
from radtransfer.data.cohort import Cohort
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.formats.common import parse_options
from radtransfer.data.formats.labelling import LabelledFiles, attach_labels
from radtransfer.data.images import DecodeError
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.images import Grey

SUFFIX = ".dcm"

KEYS = {
    "SOPInstanceUID": "instance",
    "SeriesInstanceUID": "group_id",
    "StudyInstanceUID": "study",
    "PatientID": "patient_id",
    "path": "path",
}
"""What a table's labels may be for, and the column of the cohort that has it."""


class Options(LabelledFiles):
    """What a manifest entry says of a folder of DICOM files; without a window each file has its own.

    Attributes
    ----------
    labels_are_for : str
        Attribute whose values the table's key column holds, or ``path``.
    patient : {"PatientID", "StudyInstanceUID"}
        What tells patients apart. The study is the second best, for files whose patient was emptied: two
        studies of one patient then count as two patients.
    skip_damaged : bool
        Whether a damaged file is left out and told of instead of refusing the folder.
    """

    labels_are_for: Literal[
        "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "path"
    ] = "SOPInstanceUID"
    patient: Literal["PatientID", "StudyInstanceUID"] = "PatientID"
    skip_damaged: bool = False


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of all frames of all images below a folder.

    Parameters
    ----------
    root : Path
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        A row per frame; ``image_id`` is the SOP instance UID, with ``@`` and the frame where there are
        several. ``group_id`` is the series. ``slice_fraction`` is the place in the series along the normal
        of its planes, 0 to 1, known where all planes are parallel and there are two or more. Further
        columns ``instance``, ``study``, and the window. ``frame.attrs`` has ``not_images`` and ``damaged``:
        files left out.

    Raises
    ------
    InputError
        If an option is wrong.
    DataError
        If there is no image, a file is damaged, names no patient, or has another's SOP instance UID.
    """
    chosen = parse_options(Options, options, "dicom")
    rows: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = {"not_images": [], "damaged": []}
    for path in dicom_files(root):
        name = path.relative_to(root).as_posix()
        try:
            header = dicom.read_header(path)
        except DecodeError:
            if not chosen.skip_damaged:
                raise
            left_out["damaged"].append(name)
            continue
        if header.is_image:
            rows += _rows(header, name, chosen)
        else:
            left_out["not_images"].append(name)
    if not rows:
        raise DataError(f"{root} has no DICOM image", hint="files are known by the letters DICM at byte 128")
    frame = pd.DataFrame(rows)
    again = frame[frame["image_id"].duplicated(keep=False)]
    if len(again):
        same = again.loc[again["image_id"] == again["image_id"].iloc[0], "path"]
        raise DataError(f"{same.iloc[0]} and {same.iloc[1]} have the same SOPInstanceUID", hint="remove one")
    kinds = {"age_years": "Float64", "sex": "str", "view": "str", "site": "str", "frame": "Int64"}
    center, width = chosen.window or (None, None)
    frame = frame.astype(kinds).assign(
        dataset=root.name,
        slice_fraction=_slice_fractions(frame),
        window_center=pd.Series(center, index=frame.index, dtype="Float64"),
        window_width=pd.Series(width, index=frame.index, dtype="Float64"),
    )
    frame = frame.drop(columns=["orientation", "position"])
    frame, tasks, classes = attach_labels(
        frame, root, KEYS[chosen.labels_are_for], chosen.labels, chosen.folders
    )
    frame.attrs |= left_out
    return Cohort(frame.sort_values("image_id"), root.name, tasks, classes)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Render the frame of one row of the cohort."""
    center, width = row["window_center"], row["window_width"]
    window = None if pd.isna(center) else (float(center), float(width))
    return dicom.read_frame(root / row["path"], frame=int(row["frame"]), window=window)


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say what was left out, and what stands for the patient."""
    chosen = parse_options(Options, options, "dicom")
    attrs = read_cohort(root, options).frame.attrs
    told = []
    for what, why in (("not_images", "have no pixels"), ("damaged", "are damaged")):
        if attrs[what]:
            told.append(f"{len(attrs[what])} DICOM files {why} and are left out, first {attrs[what][0]}")
    if chosen.patient != "PatientID":
        told.append(
            "a study stands for a patient: two studies of one patient may stand in two parts of a split"
        )
    return tuple(told)


def dicom_files(root: Path) -> list[Path]:
    """Files below a folder that are DICOM files or are called so; hidden ones are left out."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
        and (path.suffix.lower() == SUFFIX or dicom.is_dicom(path))
    ]


def _rows(header: dicom.Header, name: str, chosen: Options) -> list[dict[str, Any]]:
    patient = header.patient_id if chosen.patient == "PatientID" else header.study
    if not patient:
        raise DataError(f"{name} has no {chosen.patient}", hint="set the option patient to StudyInstanceUID")
    if not header.instance or not header.series:
        raise DataError(f"{name} has no {'SeriesInstanceUID' if header.instance else 'SOPInstanceUID'}")
    several = header.n_frames > 1
    return [
        {
            "image_id": f"{header.instance}@{frame}" if several else header.instance,
            "patient_id": patient,
            "group_id": header.series,
            "modality": header.modality or "unknown",
            "path": name,
            "age_years": header.age_years,
            "sex": header.sex,
            "view": header.view,
            "site": None,
            "frame": frame,
            "instance": header.instance,
            "study": header.study,
            "orientation": header.orientation,
            "position": header.positions[frame] if header.positions else None,
        }
        for frame in range(header.n_frames)
    ]


def _slice_fractions(frame: pd.DataFrame) -> pd.Series[Any]:
    """Place of each slice among the different positions of its series."""
    fractions = pd.Series(pd.NA, index=frame.index, dtype="Float64")
    for _, series in frame.groupby("group_id"):
        if series["position"].isna().any():
            continue
        planes = np.array(series["orientation"].tolist())
        place = series["position"].astype(float).round(3).rank(method="dense") - 1
        if np.allclose(planes, planes[0], atol=1e-3) and place.max() > 0:
            fractions[series.index] = place / place.max()
    return fractions
