"""The official layout of the NIH's radiographs: tables, lists, boxes and the second reference standard."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radtransfer.data.boxes import boxes_of
from radtransfer.data.cohort import Cohort
from radtransfer.data.demographics import parse_age
from radtransfer.data.formats import chestxray14
from radtransfer.data.images import DecodeError
from radtransfer.errors import DataError, InputError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = {
    "00000001_000": "Pneumonia|Mass,0,1,058Y,M,PA",
    "00000001_001": "No Finding,1,1,411Y,M,PA",
    "00000002_000": "Hernia,0,2,,F,AP",
    "00000003_000": "Pleural_Thickening|Infiltration,0,3,24,U,",
}
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def write_table(root: Path, rows: dict[str, str] = ROWS, *, start: str = "") -> None:
    lines = [f"{image}.png,{cells},1000,1100,0.1,0.1" for image, cells in rows.items()]
    (root / chestxray14.TABLE).write_text(start + "\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images in two folders, one of them RGBA."""
    write_table(tmp_path)
    for number, image in enumerate(ROWS):
        folder = tmp_path / f"images_{1 + number % 2:03}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        mode = "RGBA" if number == 3 else "L"
        Image.new("L", (8, 9), 50 * number).convert(mode).save(folder / f"{image}.png")
    return tmp_path


def labels(cohort: Cohort, task: str) -> list[int | None]:
    return [None if pd.isna(label) else int(label) for label in cohort.labels(task)]


def test_each_finding_against_none_and_against_the_rest(root: Path) -> None:
    cohort = chestxray14.read_cohort(root)
    assert len(cohort.tasks) == 28
    assert cohort.tasks[0] == "pneumonia"
    assert labels(cohort, "pneumonia") == [1, 0, None, None]
    assert labels(cohort, "mass") == [1, 0, None, None]
    assert labels(cohort, "hernia") == [None, 0, 1, None]
    assert labels(cohort, "pleural_thickening") == [None, 0, None, 1]
    assert labels(cohort, "pneumonia_v_rest") == [1, 0, 0, 0]
    assert labels(cohort, "infiltration_v_rest") == [0, 0, 0, 1]
    assert cohort.frame["findings"][0] == "Pneumonia|Mass"


def test_unknown_age_and_sex_are_null(root: Path) -> None:
    frame = chestxray14.read_cohort(root).frame
    assert frame["age_years"].fillna(-1).tolist() == [58, -1, -1, 24]
    assert frame["sex"].fillna("?").tolist() == ["M", "M", "F", "?"]
    assert frame["view"].fillna("?").tolist() == ["PA", "PA", "AP", "?"]
    assert frame["patient_id"].tolist() == ["00000001", "00000001", "00000002", "00000003"]


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("058Y", 58),
        ("58", 58),
        ("58.0", 58),
        (" 7y ", 7),
        ("018M", 1.5),
        ("0730D", 730 / 365.25),
        ("730D", 730 / 365.25),
        ("120", 120),
        ("121", None),
        ("411", None),
        ("-4", None),
        ("5.5", None),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_ages(text: object, years: float | None) -> None:
    assert parse_age(text) == (None if text == "0730D" else years)


def test_images_and_flat_folders(root: Path) -> None:
    cohort = chestxray14.read_cohort(root)
    rows = cohort.frame.to_dict("records")
    assert [int(chestxray14.read_image(root, row)[0, 0]) for row in rows] == [0, 50, 100, 150]
    (root / "images").mkdir()
    for path in root.glob("images_*/images/*.png"):
        path.rename(root / "images" / path.name)
    flat = chestxray14.read_cohort(root).frame
    pd.testing.assert_frame_equal(flat.drop(columns="path"), cohort.frame.drop(columns="path"))
    (root / "images_001" / "images" / "00000001_000.png").write_bytes(b"")
    with pytest.raises(DataError, match="twice"):
        chestxray14.read_cohort(root)


def test_what_is_missing_is_counted(root: Path) -> None:
    (root / "images_001" / "images" / "00000001_000.png").unlink()
    cohort = chestxray14.read_cohort(root)
    assert cohort.n_images == 3
    assert cohort.frame.attrs["rows_without_file"] == 1
    assert chestxray14.findings(root) == ("1 images of the NIH's table are not there",)


def test_official_split(root: Path) -> None:
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    with pytest.raises(DataError, match=r"test_list\.txt is missing"):
        chestxray14.read_cohort(root)
    (root / "test_list.txt").write_text("﻿00000002_000.png\r\n")
    frame = chestxray14.read_cohort(root).frame
    assert frame["official_split"].fillna("?").tolist() == ["train", "train", "test", "?"]
    (root / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(DataError, match="both lists"):
        chestxray14.read_cohort(root)


def test_boxes(root: Path) -> None:
    rows = "00000001_000.png,Mass,1.5,2,3,4,,,\n00000002_000.png,Hernia,1,1,2,2,,,\n"
    rows += "00000002_000.png,Infiltrate,5,5,1,1,,,\nelsewhere.png,Mass,1,1,1,1,,,\n"
    (root / chestxray14.BOXES).write_text(BOX_HEADER + rows)
    frame = chestxray14.read_cohort(root).frame.set_index("image_id")
    one = boxes_of(frame["boxes"]["00000001_000"])
    assert one.to_dict("records") == [{"finding": "Mass", "x": 1.5, "y": 2, "width": 3, "height": 4}]
    assert frame.loc["00000001_000", ["bbox_x", "bbox_height"]].tolist() == [1.5, 4]
    two = boxes_of(frame["boxes"]["00000002_000"])
    assert two["finding"].tolist() == ["Hernia", "Infiltration"]
    # which of two would be a guess
    assert pd.isna(frame["bbox_x"]["00000002_000"])
    assert boxes_of(frame["boxes"]["00000003_000"]).empty


@pytest.mark.parametrize(
    "row", ["00000001_000.png,Mass,1,2,0,4,,,", "00000001_000.png,Mass,1,x,3,4,,,", ",,1,2,3,4,,,"]
)
def test_broken_boxes_are_refused(root: Path, row: str) -> None:
    (root / chestxray14.BOXES).write_text(BOX_HEADER + "00000001_000.png,Mass,1,2,3,4,,,\n" + row + "\n")
    with pytest.raises(DataError, match="line 3: no box"):
        chestxray14.read_cohort(root)


@pytest.mark.parametrize("official", [True, False])
def test_adjudicated_labels(root: Path, official: bool) -> None:
    findings = "Fracture,Pneumothorax,Airspace opacity,Nodule or mass"
    if official:
        (root / "four_findings_expert_labels").mkdir()
        for part, row in (
            ("validation", "00000001_000.png,NO,NO,YES,NO"),
            ("test", "00000003_000.png,YES,NO,NO,NO"),
        ):
            path = root / "four_findings_expert_labels" / f"{part}_labels.csv"
            path.write_text(f"Image Index,{findings}\n{row}\n")
    else:
        text = f"Image Index,{findings},Set Id\n00000001_000.png,NO,NO,YES,NO,val\n"
        text += "00000003_000.png,YES,NO,NO,NO,test\n"
        with gzip.open(root / f"{chestxray14.ADJUDICATED[0]}.gz", "wt") as file:
            file.write(text)
    cohort = chestxray14.read_cohort(root)
    assert len(cohort.tasks) == 32
    assert labels(cohort, "adjudicated_airspace_opacity") == [1, None, None, 0]
    assert labels(cohort, "adjudicated_fracture") == [0, None, None, 1]
    assert cohort.frame["adjudicated_set"].fillna("?").tolist() == ["validation", "?", "?", "test"]


def test_a_table_with_byte_order_mark_is_read(root: Path) -> None:
    expected = chestxray14.read_cohort(root).frame
    write_table(root, start="﻿")
    pd.testing.assert_frame_equal(chestxray14.read_cohort(root).frame, expected)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text.replace(",", ";"), "no column 'Image Index'"),
        (lambda text: text.replace("Patient ID", "Patient"), "no column 'Patient ID'"),
        (
            lambda text: text + "00000001_000.png" + text.splitlines()[2][16:] + "\n",
            "lists 00000001_000.png twice",
        ),
        (lambda text: text.replace("00000002_000.png", "00000002_009.png"), "not in NIH's table"),
        (lambda text: text.replace("Hernia,0,2", "Hernia,0,"), "no 'Patient ID' for 00000002_000.png"),
        (lambda text: text + "half a row\n", "line 6"),
        (lambda text: "", "no column"),
    ],
)
def test_damaged_tables_are_refused(root: Path, damage: object, told: str) -> None:
    path = root / chestxray14.TABLE
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises((DataError, InputError), match=told) as refusal:
        chestxray14.read_cohort(root)
    assert "\n" not in str(refusal.value)


def test_folders_without_table_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        chestxray14.read_cohort(tmp_path)
    write_table(tmp_path)
    with pytest.raises(DataError, match="no images"):
        chestxray14.read_cohort(tmp_path)


def test_a_truncated_image_is_refused(root: Path) -> None:
    path = root / "images_001" / "images" / "00000001_000.png"
    path.write_bytes(path.read_bytes()[:40])
    row = chestxray14.read_cohort(root).frame.iloc[0].to_dict()
    with pytest.raises(DecodeError, match="00000001_000"):
        chestxray14.read_image(root, row)


@pytest.fixture(scope="module")
def whole(shared_data: Path) -> Cohort:
    """The cohort if all 112,120 images were there."""
    root = shared_data / "chestxray14_layout"
    files = {name: f"images/{name}" for name in chestxray14.read_table(root)["Image Index"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chestxray14, "_image_files", lambda root: files)
        return chestxray14.read_cohort(root)


@pytest.mark.shared
def test_the_whole_official_table(whole: Cohort) -> None:
    """Counts of the NIH's own description of the collection, and of the boxes and adjudicated labels."""
    assert (whole.n_images, whole.n_patients) == (112_120, 30_805)
    counts = {task: int(whole.labels(task).sum()) for task in whole.tasks}
    assert counts["pneumonia"] == counts["pneumonia_v_rest"] == 1431
    assert counts["infiltration"] == 19_894
    assert counts["hernia"] == 227
    assert int((whole.labels("effusion") == 0).sum()) == 60_361
    assert int(whole.labels("effusion_v_rest").notna().sum()) == 112_120
    frame = whole.frame
    assert frame["boxes"].notna().sum() == 880
    assert sum(len(boxes_of(cell)) for cell in frame["boxes"].dropna()) == 984
    findings = pd.concat(map(boxes_of, frame["boxes"].dropna()))["finding"].value_counts()
    assert findings["Infiltration"] == 123
    assert set(findings.index) < set(chestxray14.FINDINGS)
    assert counts["adjudicated_airspace_opacity"] == 2166
    assert frame["adjudicated_set"].value_counts().to_dict() == {"validation": 2414, "test": 1962}
    assert frame["age_years"].max() == 95


@pytest.mark.shared
def test_the_twelve_originals(shared_data: Path) -> None:
    root = shared_data / "chestxray14_layout"
    cohort = chestxray14.read_cohort(root)
    assert cohort.frame.attrs["rows_without_file"] == 112_120 - 12
    images = [chestxray14.read_image(root, row) for row in cohort.frame.to_dict("records")]
    assert {image.shape for image in images} == {(1024, 1024)}
    assert all(image.dtype == np.uint8 for image in images)
