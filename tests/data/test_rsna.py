"""The challenge's tables and radiographs."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom

from radtransfer.data.boxes import boxes_of
from radtransfer.data.cohort import Cohort
from radtransfer.data.formats import rsna_pneumonia as rsna
from radtransfer.errors import DataError

LABELS = "patientId,x,y,width,height,Target\n"
ROWS = "a,10,20,30,40,1\na,100,20.5,30,40,1\nb,1,2,3,4,1\nc,,,,,0\nz,,,,,0\n"
PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / rsna.LABELS).write_text(LABELS + ROWS)
    for number, image in enumerate("abcd"):
        header = {"PatientAge": f"{40 + number}", "PatientSex": "F", "ViewPosition": "AP", "Modality": "CR"}
        write_dicom(tmp_path / rsna.IMAGES / f"{image}.dcm", PIXELS, PatientID=image, **header)
    return tmp_path


def labels(cohort: Cohort, task: str) -> list[int | None]:
    return [None if pd.isna(label) else int(label) for label in cohort.labels(task)]


def test_one_row_per_image(root: Path) -> None:
    cohort = rsna.read_cohort(root)
    frame = cohort.frame
    assert frame["image_id"].tolist() == list("abcd")
    # d is not in the table
    assert labels(cohort, "pneumonia") == [1, 1, 0, None]
    assert len(boxes_of(frame["boxes"][0])) == 2
    assert boxes_of(frame["boxes"][0])["y"].tolist() == [20, 20.5]
    assert frame["bbox_width"].fillna(-1).tolist() == [-1, 3, -1, -1]
    assert frame["age_years"].tolist() == [40, 41, 42, 43]
    assert frame.attrs["rows_without_file"] == 1
    assert len(rsna.findings(root)) == 2
    np.testing.assert_array_equal(rsna.read_image(root, frame.iloc[0].to_dict()), PIXELS)


def test_the_table_of_headers_spares_opening_the_images(root: Path) -> None:
    header = "PatientID,PatientAge,PatientSex,ViewPosition\na,155,M,PA\nb,31,X,\nc,30,F,AP\n"
    with gzip.open(root / f"kaggle_{rsna.HEADERS}.gz", "wt") as file:
        file.write(header)
    (root / rsna.IMAGES / "a.dcm").write_bytes(b"damaged")
    frame = rsna.read_cohort(root).frame
    # d is read from its file
    assert frame["age_years"].fillna(-1).tolist() == [-1, 31, 30, 43]
    assert frame["sex"].fillna("?").tolist() == ["M", "?", "F", "F"]
    assert frame["view"].fillna("?").tolist() == ["PA", "?", "AP", "AP"]


def test_classes(root: Path) -> None:
    table = "patientId,class\na,Lung Opacity\na,Lung Opacity\nb,Lung Opacity\n"
    table += "c,No Lung Opacity / Not Normal\nd,Normal\n"
    (root / rsna.CLASSES).write_text(table)
    cohort = rsna.read_cohort(root)
    assert labels(cohort, "pneumonia_v_normal") == [1, 1, None, 0]
    assert labels(cohort, "pneumonia") == [1, 1, 0, None]
    (root / rsna.CLASSES).write_text(table + "d,Lung Opacity\n")
    with pytest.raises(DataError, match="d has two values of class"):
        rsna.read_cohort(root)


def test_the_mapping_tells_patients(root: Path) -> None:
    assert rsna.read_cohort(root).frame["patient_id"].tolist() == list("abcd")
    entries = [
        {"subset_img_id": "a", "img_id": "00000013_026.png", "SOPInstanceUID": "1.2"},
        {"subset_img_id": "c", "img_id": "00000013_027.png", "SOPInstanceUID": "1.3"},
    ]
    (root / rsna.MAPPING).write_text(json.dumps(entries))
    assert rsna.read_cohort(root).frame["patient_id"].tolist() == ["00000013", "b", "00000013", "d"]
    for broken in ("{}[", "[1]", '[{"img_id": "x"}]', "[" * 100_000):
        (root / rsna.MAPPING).write_text(broken)
        with pytest.raises(DataError, match="not the challenge's mapping"):
            rsna.read_cohort(root)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,,,,,0\n", "a has two values of Target"),
        ("q,1,2,3,4,2\n", "line 7: Target is '2'"),
        ("q,,,,,1\n", "line 7: a positive image without box"),
        ("q,1,2,-3,4,1\n", "line 7: a positive image without box"),
        ("q;1\n", "line 7"),
    ],
)
def test_broken_labels_are_refused(root: Path, row: str, told: str) -> None:
    with (root / rsna.LABELS).open("a") as file:
        file.write(row)
    with pytest.raises(DataError, match=told):
        rsna.read_cohort(root)


def test_zipped_tables(root: Path) -> None:
    expected = rsna.read_cohort(root).frame
    (root / rsna.LABELS).unlink()
    path = root / f"kaggle_{rsna.LABELS}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(rsna.LABELS, LABELS + ROWS)
    pd.testing.assert_frame_equal(rsna.read_cohort(root).frame, expected)
    whole = path.read_bytes()
    for damaged in (whole[:50], whole[:60] + b"\xff" + whole[61:], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="no readable zip"):
            rsna.read_cohort(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.csv", "")
    with pytest.raises(DataError, match="does not hold"):
        rsna.read_cohort(root)


def test_a_zip_bomb_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / rsna.LABELS).unlink()
    with zipfile.ZipFile(root / f"{rsna.LABELS}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(rsna.LABELS, bytes(1 << 20))
    monkeypatch.setattr(rsna, "MAX_TABLE_BYTES", 1 << 16)
    with pytest.raises(DataError, match="larger than"):
        rsna.read_cohort(root)


def test_what_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        rsna.read_cohort(tmp_path)
    write_dicom(tmp_path / rsna.IMAGES / "a.dcm", PIXELS)
    with pytest.raises(DataError, match="is missing"):
        rsna.read_cohort(tmp_path)


@pytest.mark.shared
def test_the_real_tables(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one real radiograph is in neither table: its label is unknown, the rest is its header's."""
    source = shared_data / "rsna_pneumonia_layout"
    row = rsna.read_cohort(source).frame.iloc[0]
    assert pd.isna(row["label_pneumonia"])
    assert (row["age_years"], row["sex"], row["view"]) == (62, "M", "PA")
    assert rsna.read_image(source, row.to_dict()).shape == (1024, 1024)
    for path in source.glob("kaggle_*"):
        (tmp_path / path.name).symlink_to(path)
    table = pd.read_csv(source / f"kaggle_{rsna.HEADERS}.gz", usecols=["PatientID"])["PatientID"]
    every = {image: f"{rsna.IMAGES}/{image}.dcm" for image in sorted(table)}
    monkeypatch.setattr(rsna, "_image_files", lambda root: every)
    whole = rsna.read_cohort(tmp_path)
    assert whole.n_images == whole.n_patients == 26_684
    assert whole.labels("pneumonia").value_counts().to_dict() == {0: 20_672, 1: 6012}
    assert sum(len(boxes_of(cell)) for cell in whole.frame["boxes"].dropna()) == 9555
    assert whole.frame["sex"].value_counts().to_dict() == {"M": 15_166, "F": 11_518}
    # five ages above 120, up to 155, count as unknown
    assert whole.frame["age_years"].isna().sum() == 5
    assert whole.frame.attrs["rows_without_file"] == 0
