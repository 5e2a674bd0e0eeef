"""One's own DICOM folder: who is in it, in which order, and with which labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import item, write_dicom

from radtransfer.data.cohort import Cohort
from radtransfer.data.formats import dicom
from radtransfer.errors import DataError, InputError

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
AXIAL = [1, 0, 0, 0, 1, 0]
CLASSES = {"folders": {"task": "bleeding", "classes": ["normal", "bleeding"]}}


def series(
    root: Path, places: list[float], *, folder: str = "normal", uid: str = "1.1", **attributes: object
) -> None:
    for number, place in enumerate(places):
        write_dicom(
            root / folder / f"{uid}_{number}.dcm",
            PIXELS + number,
            SOPInstanceUID=f"{uid}.{number}",
            SeriesInstanceUID=uid,
            ImagePositionPatient=[0, 0, place],
            ImageOrientationPatient=AXIAL,
            **attributes,
        )


def values(cohort: Cohort, column: str) -> dict[str, object]:
    """Values of a column by patient, None where they are unknown."""
    by_patient = cohort.frame.set_index("patient_id")[column].astype(object)
    return by_patient.where(by_patient.notna(), None).to_dict()


def test_headers_become_columns(tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "normal" / "IM1",
        PIXELS,
        PatientAge="018M",
        PatientSex="O",
        Modality="DX",
        ViewPosition="PA",
    )
    write_dicom(
        tmp_path / "bleeding" / "b.dcm",
        PIXELS,
        PatientID="p2",
        PatientAge="411",
        PatientSex="F",
        Modality="MR",
    )
    write_dicom(tmp_path / "bleeding" / "report.dcm", None, Modality="SR")
    (tmp_path / "bleeding" / "notes.txt").write_text("no image")
    cohort = dicom.read_cohort(tmp_path, CLASSES)
    assert values(cohort, "age_years") == {"p1": 1.5, "p2": None}
    assert values(cohort, "sex") == {"p1": None, "p2": "F"}
    assert values(cohort, "modality") == {"p1": "xray", "p2": "mri"}
    assert values(cohort, "view") == {"p1": "PA", "p2": None}
    assert values(cohort, "label_bleeding") == {"p1": 0, "p2": 1}
    assert cohort.frame.attrs["not_images"] == ["bleeding/report.dcm"]
    assert dicom.findings(tmp_path, CLASSES)[0].startswith("1 DICOM files have no pixels")
    image = dicom.read_image(tmp_path, cohort.frame.iloc[0].to_dict())
    assert image.shape == (3, 4)


def test_slices_are_ordered_along_the_normal(tmp_path: Path) -> None:
    series(tmp_path, [10, -5, 2.5, 40])
    series(tmp_path, [7], uid="1.2")
    frame = dicom.read_cohort(tmp_path, CLASSES).frame.set_index("image_id")
    assert frame.loc[[f"1.1.{n}" for n in range(4)], "slice_fraction"].tolist() == pytest.approx(
        [2 / 3, 0, 1 / 3, 1]
    )
    assert pd.isna(frame["slice_fraction"]["1.2.0"])
    assert set(frame["group_id"]) == {"1.1", "1.2"}


def test_coronal_slices_are_ordered_from_front_to_back(tmp_path: Path) -> None:
    """Rows to the left, columns down: the normal points to the back."""
    for number, place in enumerate([30.0, -30.0]):
        write_dicom(
            tmp_path / "normal" / f"{number}.dcm",
            PIXELS,
            SOPInstanceUID=f"2.{number}",
            ImagePositionPatient=[0, place, 0],
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        )
    frame = dicom.read_cohort(tmp_path, CLASSES).frame.set_index("image_id")
    assert frame["slice_fraction"].to_dict() == {"2.0": 1, "2.1": 0}


def test_planes_that_are_not_parallel_have_no_order(tmp_path: Path) -> None:
    series(tmp_path, [0, 1])
    write_dicom(
        tmp_path / "normal" / "scout.dcm",
        PIXELS,
        SOPInstanceUID="9",
        SeriesInstanceUID="1.1",
        ImagePositionPatient=[0, 0, 2],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )
    assert dicom.read_cohort(tmp_path, CLASSES).frame["slice_fraction"].isna().all()


def test_frames_are_rows(tmp_path: Path) -> None:
    frames = np.stack([PIXELS, PIXELS[::-1]])
    own = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (4, 1)]
    shared = item(PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)])
    write_dicom(
        tmp_path / "normal" / "m.dcm",
        frames,
        frames=True,
        SOPInstanceUID="5",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=own,
    )
    cohort = dicom.read_cohort(tmp_path, CLASSES)
    assert cohort.frame["image_id"].tolist() == ["5@0", "5@1"]
    assert cohort.frame["slice_fraction"].tolist() == [1, 0]
    first, second = (dicom.read_image(tmp_path, row) for row in cohort.frame.to_dict("records"))
    np.testing.assert_array_equal(first, second[::-1])


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("SOPInstanceUID", ["1.1.0", "1.2.0"]),
        ("SeriesInstanceUID", ["1.1", "1.2"]),
        ("PatientID", ["a", "b"]),
        ("path", ["normal/1.1_0.dcm", "normal/1.2_0.dcm"]),
    ],
)
def test_labels_come_from_a_table(tmp_path: Path, key: str, keys: list[str]) -> None:
    series(tmp_path, [0], PatientID="a")
    series(tmp_path, [0], uid="1.2", PatientID="b")
    series(tmp_path, [0], uid="1.3", PatientID="c")
    (tmp_path / "labels.csv").write_text(f"﻿id,finding\n{keys[0]},yes\n{keys[1]},\nelsewhere,no\n")
    table = {
        "table": "labels.csv",
        "key": "id",
        "labels": {"bleeding": {"column": "finding", "values": {"yes": 1, "no": 0}}},
    }
    cohort = dicom.read_cohort(tmp_path, {"labels": table, "labels_are_for": key})
    assert values(cohort, "label_bleeding") == {"a": 1, "b": None, "c": None}


def test_three_classes_by_folder(tmp_path: Path) -> None:
    for name in ("Epidural Bleed", "none", "subdural"):
        series(
            tmp_path,
            [0],
            folder=f"{name}/deep",
            uid={"none": "1.1"}.get(name, f"1.{len(name)}"),
            PatientID=name,
        )
    series(tmp_path, [0], folder="other", uid="7", PatientID="x")
    folders = {"task": "bleeding", "classes": ["none", "subdural", "Epidural Bleed"]}
    cohort = dicom.read_cohort(tmp_path, {"folders": folders})
    assert cohort.classes_of("bleeding") == ("none", "subdural", "epidural_bleed")
    assert values(cohort, "label_bleeding") == {"none": 0, "subdural": 1, "Epidural Bleed": 2, "x": None}


@pytest.mark.parametrize(
    ("rows", "error", "told"),
    [
        ("p1,1\np1,0\n", DataError, "line 3: the key is there twice"),
        ("p1,maybe\n", DataError, "line 2: finding is 'maybe'"),
        (",1\n", DataError, "line 2: the key is empty"),
        ("p9,1\n", InputError, "no value of id belongs to a file"),
        ("p1;1\n", DataError, "line 2"),
    ],
)
def test_broken_label_tables_are_refused(
    tmp_path: Path, rows: str, error: type[Exception], told: str
) -> None:
    series(tmp_path, [0])
    (tmp_path / "labels.csv").write_text("id,finding\n" + rows)
    table = {"table": "labels.csv", "key": "id", "labels": {"bleeding": {"column": "finding"}}}
    with pytest.raises(error, match=told):
        dicom.read_cohort(tmp_path, {"labels": table, "labels_are_for": "PatientID"})


def test_a_file_without_patient_is_refused_unless_the_study_stands_for_it(tmp_path: Path) -> None:
    series(tmp_path, [0], PatientID="")
    with pytest.raises(DataError, match="has no PatientID"):
        dicom.read_cohort(tmp_path, CLASSES)
    options = {**CLASSES, "patient": "StudyInstanceUID"}
    assert dicom.read_cohort(tmp_path, options).frame["patient_id"].tolist() == ["1.2"]
    assert "study stands for a patient" in dicom.findings(tmp_path, options)[-1]


def test_the_same_image_twice_is_refused(tmp_path: Path) -> None:
    series(tmp_path, [0])
    series(tmp_path, [0], folder="copy")
    with pytest.raises(DataError, match="same SOPInstanceUID"):
        dicom.read_cohort(tmp_path, CLASSES)


def test_a_damaged_file_is_refused_or_told_of(tmp_path: Path) -> None:
    series(tmp_path, [0, 1])
    (tmp_path / "normal" / "x.dcm").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"x\.dcm"):
        dicom.read_cohort(tmp_path, CLASSES)
    cohort = dicom.read_cohort(tmp_path, {**CLASSES, "skip_damaged": True})
    assert cohort.n_images == 2
    assert cohort.frame.attrs["damaged"] == ["normal/x.dcm"]


def test_options_are_checked(tmp_path: Path) -> None:
    for options, told in (
        ({}, "name a table"),
        ({**CLASSES, "window": [0, 0]}, "width"),
        ({**CLASSES, "patients": "PatientID"}, "did you mean"),
    ):
        with pytest.raises(InputError, match=told):
            dicom.read_cohort(tmp_path, options)
    with pytest.raises(DataError, match="no DICOM image"):
        dicom.read_cohort(tmp_path, CLASSES)


@pytest.mark.shared
def test_real_slices(shared_data: Path) -> None:
    """The slice at z = -57 lies above the one at z = -240; a lung window of the caller's own."""
    root = shared_data / "luna16"
    options = {
        "folders": {"task": "any", "classes": ["none", "cptac_lscc_dicom_sample"]},
        "window": [-600, 1500],
    }
    cohort = dicom.read_cohort(root, options)
    frame = cohort.frame.set_index("path")
    assert set(frame["patient_id"]) == {"C3N-00247"}
    assert frame["slice_fraction"].to_dict() == {
        "cptac_lscc_dicom_sample/000040.dcm": 1,
        "cptac_lscc_dicom_sample/000050.dcm": 0,
    }
    assert frame["group_id"].nunique() == 1
    assert dicom.read_image(root, cohort.frame.iloc[0].to_dict()).shape == (512, 512)


@pytest.mark.parametrize("identified", [False, True])
def test_no_figure_shows_a_file_that_may_identify_a_patient(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, identified: bool
) -> None:
    from radtransfer import paths
    from radtransfer.data.own import prepare, record
    from radtransfer.data.store import curate
    from radtransfer.report.curation import examples
    from radtransfer.report.step import Step

    (tmp_path / "study").mkdir()
    shutil.copy(paths.manifest_path(), tmp_path / "study")
    rng = np.random.default_rng(0)
    for number in range(24):
        write_dicom(
            tmp_path / "mine" / ("bleeding" if number % 2 else "normal") / f"{number}.dcm",
            rng.integers(0, 255, (24, 24), dtype=np.uint8),
            SeriesInstanceUID=f"1.{number}",
            PatientID=f"p{number:02d}",
            PatientName="Doe^Jane" if identified else "p",
            PatientIdentityRemoved="NO" if identified else "YES",
        )
    with monkeypatch.context() as patch:
        patch.setenv("RADTRANSFER_ROOT", str(tmp_path / "study"))
        record(prepare(tmp_path / "mine", "mine", {"format": "dicom", "modality": "ct", "options": CLASSES}))
        dataset = curate("mine", task="bleeding", image_size=24, n_folds=2, age_min=0, age_max=120, seed=1)
        step = Step("01_data_curation", study_dir=tmp_path / "out")
        if identified:
            with pytest.raises(DataError, match="6 of 6 DICOM files may identify patients"):
                examples(step, dataset, seed=0)
        else:
            assert examples(step, dataset, seed=0).caption
