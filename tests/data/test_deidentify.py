"""What the audit finds, against the standard's table by hand, made files and the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import item, write_dicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from radtransfer.data.deidentify import (
    AuditReport,
    Finding,
    assert_publishable,
    audit_file,
    audit_folder,
    looks_like_text,
    profile,
)
from radtransfer.data.images import decode
from radtransfer.errors import DataError, InputError

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
UUID = "16d7f894-55d7-4d95-8957-d18987f0e981"
ANONYMOUS: dict[str, Any] = {"PatientID": UUID, "PatientName": UUID}
RETAINED = "DeidentificationMethodCodeSequence"


def options(*codes: int) -> dict[str, Any]:
    return {RETAINED: [item(CodeValue=str(code), CodingSchemeDesignator="DCM") for code in codes]}


def severities(path: Path) -> dict[str, str]:
    """Severity by attribute, without the identifiers that every file has."""
    return {
        finding.name: finding.severity for finding in audit_file(path) if not finding.name.endswith("UID")
    }


@pytest.mark.parametrize(
    ("tag", "action", "kept_by"),
    [
        # Table E.1-1 of PS3.15, read off by hand
        ("(0010,0010)", "Z", ()),
        ("(0010,0020)", "Z/D", ()),
        ("(0010,0030)", "Z", ()),
        ("(0010,0040)", "Z", ("characteristics",)),
        ("(0010,1010)", "X", ("characteristics",)),
        ("(0010,1000)", "X", ()),
        ("(0010,1040)", "X", ()),
        ("(0010,2154)", "X", ()),
        ("(0010,2110)", "X", ("characteristics", "descriptors")),
        ("(0008,0050)", "Z", ()),
        ("(0008,0020)", "Z", ("full_dates", "modified_dates")),
        ("(0008,002A)", "X/Z/D", ("full_dates", "modified_dates")),
        ("(0008,0080)", "X/Z/D", ("institution",)),
        ("(0008,0081)", "X", ("institution",)),
        ("(0008,0090)", "Z", ()),
        ("(0008,1070)", "X/Z/D", ()),
        ("(0008,1030)", "X", ("descriptors",)),
        ("(0008,103E)", "X", ("descriptors",)),
        ("(0008,1010)", "X/Z/D", ("device",)),
        ("(0018,1000)", "X/Z/D", ("device",)),
        ("(0018,1002)", "U", ("uids", "device")),
        ("(0020,000D)", "U", ("uids",)),
        ("(0020,4000)", "X", ("descriptors",)),
        ("(0040,0555)", "X/Z", ("structured_content",)),
        ("(60xx,3000)", "X", ("graphics",)),
        ("private", "X", ("safe_private",)),
    ],
)
def test_the_table_is_the_standards(tag: str, action: str, kept_by: tuple[str, ...]) -> None:
    assert profile()[tag].action == action
    assert set(profile()[tag].options) == set(kept_by)


def test_the_table_is_whole() -> None:
    assert len(profile()) == 623
    assert {rule.action for rule in profile().values()} == {
        *("X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"),
    }


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {}),
        ({"PatientName": "Doe^Jane"}, {"Patient's Name": "fail"}),
        ({"PatientName": ""}, {}),
        ({"PatientBirthDate": "19570312"}, {"Patient's Birth Date": "fail"}),
        ({"PatientBirthDate": "19000101"}, {"Patient's Birth Date": "note"}),
        ({"AccessionNumber": "1598252606449858"}, {"Accession Number": "fail"}),
        ({"AccessionNumber": "5f4dcc3b5aa765d61d8327deb882cf99"}, {"Accession Number": "note"}),
        ({"ReferringPhysicianName": "House^Gregory"}, {"Referring Physician's Name": "fail"}),
        # dates, places and devices need their option; descriptions and characteristics should have it
        ({"StudyDate": "20100227"}, {"Study Date": "fail"}),
        ({"StudyDate": "20100227", **options(113107)}, {"Study Date": "note"}),
        ({"StudyDate": "20100227", **options(113108)}, {"Study Date": "fail"}),
        ({"StudyDate": "19010101", "StudyTime": "000000.00"}, {"Study Date": "note", "Study Time": "note"}),
        ({"InstitutionName": "St Elsewhere"}, {"Institution Name": "fail"}),
        ({"InstitutionName": "St Elsewhere", **options(113112)}, {"Institution Name": "note"}),
        ({"StationName": "CT1"}, {"Station Name": "fail"}),
        ({"StudyDescription": "CT chest"}, {"Study Description": "warning"}),
        ({"StudyDescription": "CT chest", **options(113105)}, {"Study Description": "note"}),
        ({"PatientAge": "058Y", "PatientSex": "F"}, {"Patient's Age": "warning", "Patient's Sex": "warning"}),
        # Z and D may be dummies where the file declares it, X may not
        ({"PatientName": "C3N-00247", "PatientIdentityRemoved": "YES"}, {"Patient's Name": "note"}),
        ({"OtherPatientIDs": "A12", "PatientIdentityRemoved": "YES"}, {"Other Patient IDs": "fail"}),
        ({"BurnedInAnnotation": "YES"}, {"Burned In Annotation": "fail"}),
        ({"BurnedInAnnotation": "NO"}, {}),
        ({"RecognizableVisualFeatures": "YES"}, {"Recognizable Visual Features": "fail"}),
    ],
)
def test_severities(tmp_path: Path, attributes: dict[str, Any], expected: dict[str, str]) -> None:
    path = write_dicom(tmp_path / "i.dcm", PIXELS, **{**ANONYMOUS, **attributes})
    named = severities(path)
    for name in ("Patient ID", "Patient's Name"):
        if name not in expected and named.get(name) == "note":
            named.pop(name)
    assert named == expected


def test_private_attributes_need_their_option(tmp_path: Path) -> None:
    for codes, severity in (((), "fail"), ((113111,), "note")):
        path = tmp_path / f"{severity}.dcm"
        dataset = write_and_read(path, **options(*codes))
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "LO", "Doe")
        dataset.save_as(path)
        assert severities(path)["Private attribute"] == severity
        # the creator alone names nobody
        del dataset[0x0029, 0x1010]
        dataset.save_as(path)
        assert "Private attribute" not in severities(path)


def write_and_read(path: Path, **attributes: Any) -> Dataset:
    from pydicom import dcmread

    return dcmread(write_dicom(path, PIXELS, **ANONYMOUS, **attributes))


def test_sequences_and_overlays_are_searched(tmp_path: Path) -> None:
    inner = item(PatientID="12345", PatientName="Doe^Jane")
    path = tmp_path / "i.dcm"
    dataset = write_and_read(path, SourceImageSequence=[item(ReferencedSOPInstanceUID="1.2.3", **{})])
    dataset.SourceImageSequence[0].PurposeOfReferenceCodeSequence = [inner]
    dataset.add_new(0x60020010, "US", 3)
    dataset.add_new(0x60023000, "OW", b"\1\0\1\0")
    dataset.save_as(path)
    found = {finding.tag: finding.severity for finding in audit_file(path)}
    assert found["(0008,2112)/(0040,A170)/(0010,0010)"] == "fail"
    assert found["(0008,2112)/(0040,A170)/(0010,0020)"] == "fail"
    assert found["(6002,3000)"] == "warning"
    assert "(6002,0010)" not in found


def test_no_value_is_told(tmp_path: Path) -> None:
    secrets = {
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19570312",
        "PatientAddress": "7 Elm St",
        "StudyDescription": "Jane's head",
        "PatientComments": "Wife of John",
    }
    write_dicom(tmp_path / "i.dcm", PIXELS, **{**secrets, "PatientID": "4711-0815"})
    report = audit_folder(tmp_path)
    with pytest.raises(DataError) as refusal:
        assert_publishable(report)
    told = str(refusal.value) + report.summary() + report.table().to_string() + repr(report)
    for value in (*secrets.values(), "4711", "Doe", "Jane"):
        assert value not in told
    assert "PN, 8 characters" in told
    assert "\n" not in str(refusal.value)


def test_report(tmp_path: Path) -> None:
    for number in range(3):
        write_dicom(tmp_path / f"{number}.dcm", PIXELS, **ANONYMOUS, StudyDescription="x")
    write_dicom(tmp_path / "deep" / "bad", PIXELS, **{**ANONYMOUS, "PatientName": "Doe"})
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("Doe")
    report = audit_folder(tmp_path)
    assert report.n_files == 5
    assert not report.publishable
    assert report.summary().endswith("5 DICOM files; 2 with fails, 3 with warnings, 4 with notes")
    table = report.table().set_index("name")
    assert table.loc["Study Description", "files"] == 3
    assert table.loc["Patient's Name"].iloc[0]["first"] == "deep/bad"
    assert table["severity"].tolist() == sorted(table["severity"], key=["fail", "warning", "note"].index)
    with pytest.raises(DataError, match=r"2 of 5 DICOM files may identify patients, first broken\.dcm"):
        assert_publishable(report)
    assert_publishable(AuditReport("x", 1, (Finding("a", "", "", "warning", "", ""),)))


def test_folders_without_dicom_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DICOM file"):
        audit_folder(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        audit_folder(tmp_path / "nowhere")


def write_on(image: np.ndarray, text: str, size: int, level: int = 255) -> np.ndarray:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    draw.text((20, 30), text, fill=level, font=ImageFont.load_default(size))
    return np.asarray(picture)


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:256, 0:256]
    ramp = 40 + rows / 4 + 20 * np.sin(columns / 30)
    return np.clip(ramp + rng.normal(0, 6, ramp.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [10, 14, 20, 30])
def test_burned_in_text_is_suspected(size: int) -> None:
    found = [looks_like_text(write_on(noise(seed), "DOE JANE 12.03.1957", size)) for seed in range(10)]
    assert sum(found) >= 9


def test_plain_images_and_short_marks_are_not_suspected() -> None:
    images = [noise(seed) for seed in range(20)]
    images += [write_on(noise(seed), mark, 20) for seed, mark in enumerate(("L", "R", "AP", "PA"))]
    assert not any(map(looks_like_text, images))
    assert not looks_like_text(np.zeros((64, 64), dtype=np.uint8))
    assert not looks_like_text(np.full((64, 64), 255, dtype=np.uint8))


def test_text_in_a_file_is_a_warning(tmp_path: Path) -> None:
    write_dicom(tmp_path / "i.dcm", write_on(noise(1), "DOE JANE 12.03.1957", 16), **ANONYMOUS)
    report = audit_folder(tmp_path)
    assert [finding.reason for finding in report.of("warning")] == ["something in the image looks like text"]


def test_pixels_that_do_not_decode_are_told_of(tmp_path: Path) -> None:
    write_dicom(tmp_path / "i.dcm", PIXELS, **ANONYMOUS, Rows=9)
    assert "do not decode" in audit_folder(tmp_path).of("warning")[0].reason


@pytest.mark.shared
def test_the_radiograph_that_says_portable(shared_data: Path) -> None:
    folder = shared_data / "chestxray14_layout" / "images_001" / "images"
    flagged = [path.name for path in sorted(folder.glob("*.png")) if looks_like_text(decode(path))]
    assert flagged == ["00002658_002.png"]


@pytest.mark.shared
def test_real_files(shared_data: Path) -> None:
    """Neither is a failure. The RSNA's files declare nothing: what they keep are warnings."""
    rsna = audit_folder(shared_data / "rsna_pneumonia_layout")
    assert (rsna.n_files, rsna.publishable) == (2, True)
    assert {finding.name for finding in rsna.of("warning")} == {
        "Patient's Age",
        "Patient's Sex",
        "Series Description",
    }
    # the CPTAC's declare the profile with five options, under which dates, age and private attributes stay
    ct = audit_folder(shared_data / "luna16")
    assert (ct.n_files, ct.of("fail"), ct.of("warning")) == (2, (), ())
    notes = ct.table().set_index("tag")["reason"]
    assert notes["(0008,0020)"] == "stays by a declared option (modified_dates)"
    assert notes["(0010,1010)"] == "stays by a declared option (characteristics)"
    assert notes["(0013,1010)"] == "stays by a declared option (safe_private)"
    assert notes["(0008,0050)"].startswith("taken for a dummy")
