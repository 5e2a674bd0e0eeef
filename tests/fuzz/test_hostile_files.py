"""Files made by hand to break what reads them, each refused in one line that names it and says what to do."""

from __future__ import annotations

import gzip
import pickle
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parsers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from parsers import all_cases, dicom_file, encoded, grey, npz, table

from radtransfer.data import deidentify, delimited, dicom, images, volumes
from radtransfer.data.formats import read_cohort
from radtransfer.data.manifest import Dataset, load_manifest
from radtransfer.errors import DataError, InputError, RadtransferError

RNG = np.random.default_rng(0)
PNG, JPEG = encoded(grey(RNG, 40, 40), "PNG"), encoded(grey(RNG, 40, 40), "JPEG")


def refused(error: pytest.ExceptionInfo[RadtransferError], name: str) -> str:
    """Check that a refusal is one line that names the file and gives advice."""
    told = str(error.value)
    assert told.isprintable()
    assert name in told
    assert error.value.hint
    return told


class Canary:
    """Sings if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("array", ["train_images", "val_labels", "test_images"])
def test_a_pickle_in_an_npz_file_does_not_run(tmp_path: Path, array: str) -> None:
    (case, *_) = all_cases()["medmnist"]
    case.write(tmp_path)
    with np.load(tmp_path / "a.npz") as stored:
        arrays = dict(stored)
    sung = tmp_path / "sung"
    arrays[array] = np.array([Canary(sung)] * len(arrays[array]), dtype=object)
    (tmp_path / "a.npz").write_bytes(npz(**arrays))
    with pytest.raises(DataError, match="pickle") as error:
        case.parse(tmp_path)
    refused(error, "a.npz")
    assert not sung.exists()
    pickle.loads(pickle.dumps(Canary(sung)))  # it can sing
    assert sung.exists()


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("a.png", PNG, images.decode),
        ("a.jpeg", JPEG, images.decode),
        ("a.dcm", dicom_file(grey(RNG, 16, 12)), dicom.read_frame),
        ("a.nii", parsers.nifti(RNG), volumes.read_volume),
        ("a.nii.gz", gzip.compress(parsers.nifti(RNG)), volumes.read_volume),
    ],
)
def test_an_image_cut_at_any_place_is_refused(
    tmp_path: Path, name: str, content: bytes, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / name
    for keep in sorted({0, 1, 7, len(content) // 4, len(content) // 2, len(content) - 30}):
        path.write_bytes(content[:keep])
        with pytest.raises(images.DecodeError) as error:
            read(path)
        refused(error, name)
    path.write_bytes(content)
    read(path)


def test_a_volume_cut_short_is_refused(tmp_path: Path) -> None:
    (case,) = all_cases()["mhd"]
    case.write(tmp_path)
    raw = tmp_path / "1.2.3.raw"
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(images.DecodeError, match=r"tells of 1440 bytes of voxels, but 1\.2\.3\.raw has 1439"):
        volumes.read_volume(tmp_path / "1.2.3.mhd")


def test_a_program_in_a_page_language_is_no_image(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for it, whatever its name says."""
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(images.DecodeError) as error:
        images.decode(tmp_path / "a.png")
    refused(error, "a.png")


def test_a_png_that_promises_too_many_pixels_is_refused_unread(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = PNG[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG[33:]
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(images.DecodeError, match="decompression bomb") as error:
        images.decode(tmp_path / "a.png")
    refused(error, "a.png")


HEADER = "file,who,age,sex,sick"
OPTIONS = {
    "image": "file",
    "patient": "who",
    "age": "age",
    "sex": "sex",
    "labels": {"sick": {"column": "sick"}},
}


def cohort_of(tmp_path: Path, content: bytes) -> Any:
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path.parent / "outside.png").write_bytes(PNG)
    (tmp_path / "own.csv").write_bytes(content)
    entry = Dataset.model_construct(id="own", format="table", options=OPTIONS, modality="ct")
    return read_cohort(entry, tmp_path).frame.set_index("image_id")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_what_a_table_does_not_know_is_null(tmp_path: Path, mark: bytes) -> None:
    frame = cohort_of(tmp_path, mark + table(HEADER, "x.png,p1,058Y,F,1", "y.png,p2,411,diverse,-1"))
    assert frame.loc["x.png", ["age_years", "sex", "label_sick"]].tolist() == [58.0, "F", 1]
    assert frame.loc["y.png", ["age_years", "sex", "label_sick"]].isna().all()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (table(HEADER, "x.png,p1,58,F,1", "x.png,p1,58,F,1"), "x.png in lines 2 and 3"),
        (table(HEADER, "x.png,p1,58,F,3"), "line 2: sick is '3'"),
        (table(HEADER, "x.png,,58,F,1"), "line 2: who is empty"),
        (table(HEADER, "x.png,p1,58,F"), "line 2: 4 fields, but the header has 5"),
        (table(HEADER, "../outside.png,p1,58,F,1"), "line 2: the path '../outside.png' leaves the folder"),
        (table(HEADER, "/etc/passwd,p1,58,F,1"), "leaves the folder"),
        (table(HEADER, "z.png,p1,58,F,1"), "1 of 1 images are not there, first z.png in line 2"),
        (table(HEADER.replace(",", "|"), "x.png|p1|58|F|1"), "the header has none of"),
        (table("file,who,age,sex", "x.png,p1,58,F"), "no column 'sick'"),
        (table(f"{HEADER},sick", "x.png,p1,58,F,1,1"), "two columns 'sick'"),
        (table(HEADER, 'x.png,p1,58,F,"1'), "unexpected end of data"),
        (HEADER.encode("utf-16"), "no UTF-8 text"),
        (b"", "own.csv"),
        (table(HEADER), "no rows"),
    ],
)
def test_what_a_table_gets_wrong_is_refused_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(RadtransferError) as error:
        cohort_of(folder, content)
    assert told in refused(error, "own.csv")


def test_a_gzipped_table_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_BYTES", 1 << 20)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(bytes((1 << 20) + 1), 1))
    with pytest.raises(DataError, match="more than 1 MiB") as error:
        delimited.read_delimited(tmp_path / "a.csv.gz")
    refused(error, "a.csv.gz")
    damaged = bytearray(gzip.compress(b"a,b\n1,2\n" * 1000))
    damaged[12] ^= 0xFF
    (tmp_path / "b.csv.gz").write_bytes(bytes(damaged))
    with pytest.raises(DataError, match="cannot be read") as error:
        delimited.read_delimited(tmp_path / "b.csv.gz")
    refused(error, "b.csv.gz")


@pytest.mark.parametrize(
    "text",
    [
        "version: !!python/object/apply:os.system ['true']",
        "version: 2020-13-45",
        f"version: {'9' * 5000}",
        "[" * 5000,
        "&a [*a]",
        "version: 1\ndatasets: {a: {licence: &a [*a]}}",
        "\n".join(
            [
                "version: 1",
                "a0: &a0 [x]",
                *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)),
            ]
        ),
        "version: 1\ndatasets: {1: {}}",
        "- version",
        "",
        "\x00",
    ],
    ids=range(11),
)
def test_yaml_that_runs_grows_or_is_none_is_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(InputError) as error:
        load_manifest(tmp_path / "m.yaml")
    refused(error, "m.yaml")
    assert time.process_time() - start < 3


def test_yaml_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(yaml.safe_dump({"version": 1}).encode("utf-16"))
    with pytest.raises(InputError) as error:
        load_manifest(tmp_path / "m.yaml")
    refused(error, "m.yaml")


def test_a_file_whose_values_cannot_be_read_fails_its_audit(tmp_path: Path) -> None:
    content = dicom_file(grey(RNG, 16, 12))
    at = content.index(b"LO", 200)
    (tmp_path / "a.dcm").write_bytes(content[:at] + b"S@" + content[at + 2 :])
    report = deidentify.audit_folder(tmp_path)
    assert [finding.path for finding in report.of("fail")] == ["a.dcm"]


def test_text_in_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (case,) = all_cases()["phantom"]
    case.write(tmp_path)
    stored = pq.read_table(tmp_path / "cohort.parquet")
    offsets = np.arange(len(stored) + 1, dtype=np.int32)
    text = pa.StringArray.from_buffers(
        len(stored), pa.py_buffer(offsets), pa.py_buffer(b"\x80" * len(stored))
    )
    at = stored.schema.get_field_index("site")
    pq.write_table(stored.set_column(at, "site", text), tmp_path / "cohort.parquet")
    with pytest.raises(DataError, match="is damaged") as error:
        case.parse(tmp_path)
    refused(error, "cohort.parquet")


def test_messages_cannot_command_a_terminal() -> None:
    error = DataError("a.csv: \x1b[2J\r\n\u202egnp.exe \ud800", hint="\x07look")
    assert str(error) == "a.csv: \\x1b[2J \\u202egnp.exe \\ud800 (\\x07look)"
    assert len(str(DataError("x" * 100_000))) < 2000
