"""What holds for every input, not only for those that somebody thought of."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from radtransfer.data.archives import is_web_page, unpack
from radtransfer.data.delimited import read_delimited
from radtransfer.data.demographics import parse_age, parse_sex
from radtransfer.data.images import DecodeError, decode
from radtransfer.data.manifest import FileEntry
from radtransfer.errors import DataError

BODY = b"wanted"
PARTS = st.sampled_from(
    ["..", ".", "", "a", "A", "a.png", "C:", "\\", "é", "e\u0301", "con", "x" * 200, "\x01"]
)
NAMES = st.one_of(st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.text(min_size=1, max_size=12))


def zipped(names: list[str]) -> bytes:
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, BODY)
    return buffer.getvalue()


def tarred(names: list[str], kinds: list[bytes]) -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", errors="surrogateescape") as archive:
        for name, kind in zip(names, kinds, strict=False):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a/../../x"
            info.size = len(BODY) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(BODY))
    return buffer.getvalue()


def nothing_but_what_is_wanted_comes_out(archive: bytes) -> None:
    file = FileEntry(
        path="out/b.png", bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest(), member="a.png"
    )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target"
        target.mkdir()
        (Path(folder) / "archive").write_bytes(archive)
        try:
            unpack(Path(folder) / "archive", [file], target)
            expected = {"target/out/b.png"}
        except DataError as error:
            told = str(error)
            assert told.isprintable()
            expected = set()
        there = {p.relative_to(folder).as_posix(): p for p in Path(folder).rglob("*") if not p.is_dir()}
        assert set(there) - {"archive"} in (expected, {"target/out/b.png"})
        assert all(path.read_bytes() == BODY for name, path in there.items() if name != "archive")


@settings(max_examples=60)
@given(st.lists(NAMES, max_size=4).map(lambda names: [*names, "a.png"]))
def test_names_in_a_zip_archive_do_not_decide_where_files_go(names: list[str]) -> None:
    try:
        archive = zipped(names)
    except (UnicodeEncodeError, IndexError):  # the writer's refusal, also of an empty name
        return
    nothing_but_what_is_wanted_comes_out(archive)


KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])


@settings(max_examples=60)
@given(st.lists(NAMES, max_size=4), st.lists(KINDS, min_size=4, max_size=4))
def test_names_and_links_in_a_tar_archive_do_not_decide_where_files_go(
    names: list[str], kinds: list[bytes]
) -> None:
    try:
        archive = tarred([*names, "a.png"], [*kinds[: len(names)], tarfile.REGTYPE])
    except (UnicodeEncodeError, IndexError):  # the writer's refusal, also of an empty name
        return
    nothing_but_what_is_wanted_comes_out(archive)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8).map(
    lambda cell: " ".join(cell.split())
)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), st.sampled_from([",", ";", "\t"]), st.booleans())
def test_a_table_comes_back_as_it_was_written(
    rows: list[tuple[str, str]], separator: str, marked: bool
) -> None:
    csv.writer(buffer := io.StringIO(), delimiter=separator).writerows([("a", "b"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(buffer.getvalue().encode("utf-8-sig" if marked else "utf-8"))
        frame = read_delimited(path, required=["a", "b"], separator=separator)
    assert [tuple(row) for row in frame.fillna("").to_numpy()] == rows


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_tables(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(content)
        try:
            read_delimited(path)
        except DataError as error:
            told = str(error)
            assert "t.csv" in told


@settings(max_examples=60)
@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"GIF89a"]),
    st.binary(max_size=100),
)
def test_no_bytes_break_the_decoder_of_images(magic: bytes, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "i.png"
        path.write_bytes(magic + content)
        try:
            image = decode(path)
        except DecodeError as error:
            told = str(error)
            assert "i.png" in told
        else:
            assert image.dtype == np.uint8


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none()))
def test_an_age_is_one_or_unknown(value: object) -> None:
    age = parse_age(value)
    assert age is None or 0 <= age <= 120
    assert parse_sex(value) in ("F", "M", None)


@given(NAMES)
def test_a_path_of_the_manifest_stays_below_its_folder(name: str) -> None:
    try:
        path = FileEntry(path=name, bytes=0, sha256="0" * 64).path
    except ValidationError:
        return
    folder = Path("/folder")
    assert folder in (folder / path).parents


@given(st.binary())
def test_any_bytes_may_be_asked_whether_they_are_a_page(content: bytes) -> None:
    assert is_web_page(content) in (True, False)
