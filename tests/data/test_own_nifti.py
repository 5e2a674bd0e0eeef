"""One's own NIfTI files: slices of known content, upright whatever way they are stored."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_files import write_sphere

from radtransfer.data.formats import nifti
from radtransfer.data.images import DecodeError
from radtransfer.data.volumes import count_slices, read_volume
from radtransfer.errors import DataError, InputError

CLASSES = {"folders": {"task": "tumour", "classes": ["no", "yes"]}, "window": [-500, 1000]}
BALL = (12.0, 25.0, 8.0)


def centroid(image: np.ndarray) -> list[float]:
    weights = image.astype(float)
    return ((np.indices(image.shape) * weights).sum(axis=(1, 2)) / weights.sum()).tolist()


def test_slices_are_rows(tmp_path: Path) -> None:
    write_sphere(tmp_path / "yes" / "sub-01" / "t1.nii.gz", center=BALL, radius=4)
    write_sphere(tmp_path / "no" / "sub-02.nii", center=BALL, radius=4, size=(20, 30, 10))
    options = {**CLASSES, "patient": r"(?P<patient>sub-\d+)"}
    cohort = nifti.read_cohort(tmp_path, options)
    frame = cohort.frame
    assert cohort.n_images == 30 + 10
    assert set(frame["patient_id"]) == {"sub-01", "sub-02"}
    assert frame.groupby("patient_id")["label_tumour"].unique().map(list).to_dict() == {
        "sub-01": [1],
        "sub-02": [0],
    }
    whole = frame[frame["patient_id"] == "sub-01"].sort_values("frame")
    assert whole["slice_fraction"].iloc[[0, -1]].tolist() == [0, 1]
    bright = [nifti.read_image(tmp_path, row).sum() for row in whole.to_dict("records")]
    # the ball reaches 4 mm up and down from z = 8
    assert np.flatnonzero(bright).tolist() == list(range(4, 13))
    assert int(np.argmax(bright)) == 8
    assert nifti.findings(tmp_path, options) == ()
    assert len(nifti.findings(tmp_path, CLASSES)) == 1


@pytest.mark.parametrize(
    ("direction", "origin", "size"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 0), (40, 40, 30)),
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), (39, 39, 0), (40, 40, 30)),
        ((1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 0, 29), (40, 40, 30)),
        # stored as coronal planes: the second axis goes to the feet, the third to the back
        ((1, 0, 0, 0, 0, 1, 0, -1, 0), (0, 0, 29), (40, 30, 40)),
    ],
    ids=["lps", "ras", "head_first", "coronal"],
)
def test_slices_are_upright(
    tmp_path: Path, direction: tuple[float, ...], origin: tuple[float, ...], size: tuple[int, ...]
) -> None:
    path = tmp_path / "yes" / "a.nii.gz"
    write_sphere(path, center=BALL, radius=4, direction=direction, origin=origin, size=size)
    assert count_slices(path) == 30
    rows = nifti.read_cohort(tmp_path, CLASSES).frame.set_index("frame").to_dict("index")
    image = nifti.read_image(tmp_path, {**rows[8], "frame": 8})
    assert image.shape == (40, 40)
    # 25 mm to the back is row 25, 12 mm to the left is column 12
    assert centroid(image) == pytest.approx([25, 12], abs=0.01)


def test_a_volume_is_its_middle_slice(tmp_path: Path) -> None:
    write_sphere(tmp_path / "yes" / "a.nii", center=(20, 20, 15), radius=4)
    cohort = nifti.read_cohort(tmp_path, {**CLASSES, "rows": "volume"})
    assert cohort.frame["image_id"].tolist() == ["yes/a.nii"]
    assert cohort.frame["frame"].tolist() == [15]
    assert nifti.read_image(tmp_path, cohort.frame.iloc[0].to_dict()).max() == 255


def test_flat_images_and_series_of_one(tmp_path: Path) -> None:
    plane = np.arange(12, dtype=np.int16).reshape(3, 4)
    (tmp_path / "no").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(plane), str(tmp_path / "no" / "flat.nii"))
    series = sitk.GetImageFromArray(np.stack([plane, plane])[None], isVector=False)
    sitk.WriteImage(series, str(tmp_path / "no" / "series.nii"))
    cohort = nifti.read_cohort(tmp_path, {**CLASSES, "window": [5.5, 11]})
    assert cohort.frame["image_id"].tolist() == ["no/flat.nii", "no/series.nii@0000", "no/series.nii@0001"]
    flat = nifti.read_image(tmp_path, cohort.frame.iloc[0].to_dict())
    np.testing.assert_array_equal(flat, np.rint(plane / 11 * 255))
    assert nifti.read_image(tmp_path, cohort.frame.iloc[1].to_dict()).shape == (3, 4)


def test_without_a_window_the_volume_decides(tmp_path: Path) -> None:
    """The same grey levels in every slice: black and white are the percentiles of 0 to 999; NaN is 0."""
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    values[9, 9, 9] = np.nan
    (tmp_path / "no").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "no" / "a.nii"))
    options = {"folders": CLASSES["folders"]}
    # an image without direction of its own is stored as SimpleITK has it: LPS
    frame = nifti.read_cohort(tmp_path, options).frame
    shown = np.stack([nifti.read_image(tmp_path, row) for row in frame.to_dict("records")])
    values[9, 9, 9] = 0
    # of 1,000 values the 0.5th percentile lies 4.995 steps from the least: between the fifth and sixth of
    # 0, 0, 1, 2, 3, 4, 5, ...
    low, high = 3 + 0.995, 993 + 0.005
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(shown, expected)


def test_single_slices_can_be_labelled(tmp_path: Path) -> None:
    write_sphere(tmp_path / "a.nii", center=BALL, radius=4, size=(9, 9, 3))
    (tmp_path / "labels.csv").write_text("file,slice,tumour\na.nii,0,0\na.nii,2,1\n")
    table = {
        "table": "labels.csv",
        "key": "file",
        "frame": "slice",
        "labels": {"tumour": {"column": "tumour"}},
    }
    frame = nifti.read_cohort(tmp_path, {"labels": table}).frame.sort_values("frame")
    assert frame["label_tumour"].fillna(-1).tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("offset", "value", "told"),
    [
        (0, struct.pack("<i", 540), "no NIfTI-1"),
        (344, b"ni1\0", "no NIfTI-1"),
        (40, struct.pack("<h", 9), "has the shape"),
        (42, struct.pack("<h", -3), "has the shape"),
        (42, struct.pack("<h", 30000), "more than it has"),
        (72, struct.pack("<h", 24), "bits per voxel"),
        (108, struct.pack("<f", 1e9), "more than it has"),
        (84, struct.pack("<f", float("inf")), "nowhere"),
        (280, struct.pack("<f", float("nan")), "nowhere"),
        (108, struct.pack("<f", float("nan")), "at byte nan"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, offset: int, value: bytes, told: str) -> None:
    path = tmp_path / "yes" / "a.nii"
    write_sphere(path, center=BALL, radius=4)
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=told):
        nifti.read_cohort(tmp_path, CLASSES)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "yes" / "a.nii.gz"
    write_sphere(path, center=BALL, radius=4)
    packed = path.read_bytes()
    for length in (0, 40, len(packed) // 2):
        path.write_bytes(packed[:length])
        with pytest.raises(DecodeError):
            read_volume(path)
    path.write_bytes(gzip.compress(b"not a volume" * 100))
    with pytest.raises(DecodeError, match="no NIfTI-1"):
        read_volume(path)


@given(data=st.data())
@settings(max_examples=50)
def test_damage_ends_in_one_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.nii"
    if not whole.is_file():
        write_sphere(whole, center=BALL, radius=4, size=(8, 8, 4))
    content = bytearray(whole.read_bytes())
    del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, min(len(content), 352) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.nii"
    path.write_bytes(content)
    for read in (read_volume, count_slices):
        try:
            read(path)
        except DecodeError:
            continue


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a table"):
        nifti.read_cohort(tmp_path)
    with pytest.raises(InputError, match="no group"):
        nifti.read_cohort(tmp_path, {**CLASSES, "patient": "sub"})
    with pytest.raises(DataError, match="no files"):
        nifti.read_cohort(tmp_path, CLASSES)
