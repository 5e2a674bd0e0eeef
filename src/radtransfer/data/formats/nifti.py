"""One's own NIfTI files: volumes as axial slices or as one image each, and two-dimensional images.

All ``*.nii`` and ``*.nii.gz`` below a folder. NIfTI says nothing of patients: they are told apart by the
file's path, of which a regular expression may take a part (``sub-01`` in BIDS). Labels come from a table
keyed by path or patient, with a column of slices if these are labelled one by one, or from the folders that
the files lie in.

Volumes are turned so that an axial slice shows the patient's right on the left and the back below; slices
count from foot to head. Without a window, grey levels go from the 0.5th to the 99.5th percentile of the
whole volume.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813
from pydantic import AfterValidator

from radtransfer.data.dicom import apply_window
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.formats.common import NO_PATIENTS, cohort, parse_options
from radtransfer.data.formats.folder import names_patient, patient_of
from radtransfer.data.formats.labelling import LabelledFiles, attach_labels
from radtransfer.data.images import DecodeError
from radtransfer.data.volumes import NIFTI_SUFFIXES, count_slices, read_volume
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

PERCENTILES = (0.5, 99.5)
"""Of a volume's values: what is shown black and white without a window."""


class Options(LabelledFiles):
    """What a manifest entry says of a folder of NIfTI files.

    Attributes
    ----------
    rows : {"slice", "volume"}
        Whether a cohort has a row per axial slice, or one per volume, whose image is the middle slice.
    labels_are_for : {"path", "patient"}
        What the table's key column holds.
    patient : str, optional
        Regular expression, searched for in a file's path, whose group ``patient`` tells patients apart.
    """

    rows: Literal["slice", "volume"] = "slice"
    labels_are_for: Literal["path", "patient"] = "path"
    patient: Annotated[str, AfterValidator(names_patient)] | None = None


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of all volumes below a folder.

    Parameters
    ----------
    root : Path
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        ``image_id`` is the path, with ``@`` and the slice where there are several. ``group_id`` is the
        volume.

    Raises
    ------
    InputError
        If an option is wrong.
    DataError
        If there are no files, one is damaged or names no patient, or the table is broken.
    """
    chosen = parse_options(Options, options, "nifti")
    names = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.name.endswith(NIFTI_SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )
    if not names:
        raise DataError(f"{root} has no files *.nii or *.nii.gz")
    rows = [row for name in names for row in _rows(root, name, chosen)]
    center, width = chosen.window or (None, None)
    frame = pd.DataFrame(rows).astype({"frame": "Int64", "slice_fraction": "Float64"})
    frame = frame.assign(
        window_center=pd.Series(center, index=frame.index, dtype="Float64"),
        window_width=pd.Series(width, index=frame.index, dtype="Float64"),
    )
    by = {"path": "path", "patient": "patient_id"}[chosen.labels_are_for]
    frame, tasks, classes = attach_labels(frame, root, by, chosen.labels, chosen.folders)
    return cohort(frame, root, tasks, classes)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Cut the slice of one row of the cohort out of its volume."""
    center, width = row["window_center"], row["window_width"]
    window = None if pd.isna(center) else (float(center), float(width))
    path = root / row["path"]
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror}") from error
    volume = _shown(path, changed, window)
    if not 0 <= int(row["frame"]) < len(volume):
        raise DecodeError(f"{path} has no slice {row['frame']}; it has {len(volume)}")
    return np.array(volume[int(row["frame"])])


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say so if patients are unknown."""
    chosen = parse_options(Options, options, "nifti")
    return () if chosen.patient else (NO_PATIENTS,)


def _rows(root: Path, name: str, chosen: Options) -> list[dict[str, Any]]:
    n_slices = count_slices(root / name)
    patient = patient_of(chosen.patient, name)
    kept = range(n_slices) if chosen.rows == "slice" else [n_slices // 2]
    return [
        {
            "image_id": f"{name}@{frame:04d}" if len(kept) > 1 else name,
            "patient_id": patient,
            "group_id": name,
            "path": name,
            "frame": frame,
            "slice_fraction": frame / (n_slices - 1) if n_slices > 1 else None,
        }
        for frame in kept
    ]


# the slices of a volume are read one after the other; a packed volume can only be read whole
@lru_cache(maxsize=1)
def _shown(path: Path, changed: int, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Grey levels of a volume, shape (slices, rows, columns)."""
    image = read_volume(path)
    if image.GetDimension() == 3:
        image = sitk.DICOMOrient(image, "LPS")
    values = np.atleast_3d(sitk.GetArrayFromImage(image))
    if image.GetDimension() == 2:
        values = values.transpose(2, 0, 1)
    if values.dtype.kind not in "iuf":
        raise DecodeError(f"{path} has values of type {values.dtype}, not grey levels")
    if window is None:
        low, high = np.percentile(values, PERCENTILES)
        window = ((low + high) / 2, high - low) if high > low else (low + 0.5, 1.0)
    shown = np.empty(values.shape, dtype=np.uint8)
    for plane, out in zip(values, shown, strict=True):
        out[:] = np.rint(apply_window(plane, *window) * 255)
    return shown
