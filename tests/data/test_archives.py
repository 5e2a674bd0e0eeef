"""Archives that are honest, damaged and hostile."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import struct
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from radtransfer.data import archives
from radtransfer.data.archives import is_web_page, unpack
from radtransfer.data.manifest import FileEntry
from radtransfer.errors import DataError

BODY = bytes(range(256)) * 40
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def entry(path: str, content: bytes = BODY, member: str = "") -> FileEntry:
    return FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), member=member)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar(
    *members: tuple[tarfile.TarInfo | str, bytes],
    pack: Callable[[bytes], bytes] = bytes,
    form: int = tarfile.PAX_FORMAT,
) -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=form) as content:
        for info, body in members:
            info = member(info) if isinstance(info, str) else info
            info.size = len(body)
            content.addfile(info, io.BytesIO(body))
    return pack(buffer.getvalue())


def zip_(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", method) as content:
        for info, body in members:
            with warnings.catch_warnings(action="ignore"):  # of the same name twice
                content.writestr(info, body)
    return buffer.getvalue()


def zip_member(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o644) << 16
    return info


def encrypted(archive: bytes) -> bytes:
    """Set the flag in the local header and in the directory."""
    marked = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = marked.index(signature) + offset
        marked[at : at + 2] = struct.pack("<H", 1)
    return bytes(marked)


def unpacked(archive: bytes, folder: Path, *files: FileEntry, root: str = "r/") -> dict[str, bytes]:
    """Contents of the target; whatever lies elsewhere in ``folder`` fails the test."""
    (folder / "archive").write_bytes(archive)
    target = folder / "deep" / "target"
    target.mkdir(parents=True, exist_ok=True)
    try:
        unpack(folder / "archive", files or (entry("a"),), target, root=root)
    finally:
        everything = {path for path in folder.rglob("*") if not path.is_dir()} - {folder / "archive"}
        assert all(target in path.parents for path in everything)
        assert not any(path.is_symlink() or path.name.startswith(".partial-") for path in everything)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in everything}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("prefix", ["r/", "./r/"])
def test_tar_gives_the_listed_files(tmp_path: Path, pack: Callable[[bytes], bytes], prefix: str) -> None:
    long = "n" * 150 + "/a"
    archive = tar(
        (member("r", tarfile.DIRTYPE), b""),
        (f"{prefix}b", b"unlisted"),
        (f"{prefix}{long}", BODY),
        (f"{prefix}c", b""),
        pack=pack,
    )
    files = (entry("sub/a", BODY, long), entry("c", b""))
    assert unpacked(archive, tmp_path, *files) == {"sub/a": BODY, "c": b""}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_of_tar_is_read(tmp_path: Path, form: int) -> None:
    assert unpacked(tar(("r/a", BODY), form=form), tmp_path) == {"a": BODY}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_gives_the_listed_files(tmp_path: Path, method: int) -> None:
    archive = zip_(("r/b", b"unlisted"), ("r/a", BODY), method=method)
    assert unpacked(archive, tmp_path) == {"a": BODY}


GOOD = ("r/a", BODY)
OUT = "the archive is refused: its member .* leads out of it"
ABSOLUTE = "its member .* has an absolute path"
TWIN = "its member 'r/A' differs from 'r/a' by case or Unicode form only"
LINK_OUT = "its member .* is a link out of it"
DEVICE = "its member .* is a device"
NOT_A_FILE = "its member 'r/a' is a link or a folder, not a file"

HOSTILE = {
    **{
        f"{kind} {name}": (make(GOOD, (name, b"evil")), reason)
        for kind, make in (("zip", zip_), ("tar", tar))
        for name, reason in (
            ("../evil", OUT),
            ("r/../../evil", OUT),
            ("r\\..\\..\\evil", OUT),
            ("..", OUT),
            ("/etc/evil", ABSOLUTE),
            ("\\\\server\\evil", ABSOLUTE),
            ("C:evil", "names a drive"),
            ("c:\\evil", "names a drive"),
            ("r/A", TWIN),
            ("r/a", "its member 'r/a' is there twice"),
        )
    },
    "tar two Unicode forms": (tar(("r/é", b"1"), ("r/e\u0301", b"2")), "Unicode form"),
    **{
        f"tar link {name} to {link}": (tar(GOOD, (member(name, kind, link), b"")), LINK_OUT)
        for name, kind, link in (
            ("r/l", tarfile.SYMTYPE, "/etc/passwd"),
            ("r/l", tarfile.SYMTYPE, "../../etc/passwd"),
            ("r/l", tarfile.SYMTYPE, "x/../../../etc"),
            ("r/l", tarfile.LNKTYPE, "/etc/passwd"),
            ("r/l", tarfile.LNKTYPE, "../passwd"),
        )
    },
    **{
        f"tar {kind!r}": (tar(GOOD, (member("r/d", kind), b"")), DEVICE)
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    },
    "zip link out": (zip_(GOOD, (zip_member("r/l", stat.S_IFLNK), b"../../etc")), LINK_OUT),
    "zip link too long": (zip_(GOOD, (zip_member("r/l", stat.S_IFLNK), b"x" * 5000)), "cannot be read"),
    "zip device": (zip_(GOOD, (zip_member("r/d", stat.S_IFCHR), b"")), DEVICE),
    "zip pipe": (zip_(GOOD, (zip_member("r/d", stat.S_IFIFO), b"")), DEVICE),
    "tar wanted symbolic link": (tar(("r/b", BODY), (member("r/a", tarfile.SYMTYPE, "b"), b"")), NOT_A_FILE),
    "tar wanted hard link": (tar(("r/b", BODY), (member("r/a", tarfile.LNKTYPE, "r/b"), b"")), NOT_A_FILE),
    "tar wanted folder": (tar((member("r/a", tarfile.DIRTYPE), b"")), NOT_A_FILE),
    "zip wanted link": (zip_(("r/b", BODY), (zip_member("r/a", stat.S_IFLNK), b"b")), NOT_A_FILE),
    "zip encrypted": (encrypted(zip_(GOOD)), "its member 'r/a' is encrypted"),
    "zip by LZMA": (zip_(GOOD, method=zipfile.ZIP_LZMA), "packed in an unusual way"),
}


@pytest.mark.parametrize(("archive", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(tmp_path: Path, archive: bytes, reason: str) -> None:
    files = (entry("é", b"1"),) if reason == "Unicode form" else (entry("a"),)
    with pytest.raises(DataError, match=reason) as refusal:
        unpacked(archive, tmp_path, *files)
    assert "\n" not in str(refusal.value)
    assert refusal.value.hint


def test_links_inside_an_archive_do_no_harm_and_are_not_made(tmp_path: Path) -> None:
    links = (member("r/l", tarfile.SYMTYPE, "../r/a"), b""), (member("r/h", tarfile.LNKTYPE, "r/a"), b"")
    assert unpacked(tar(GOOD, *links), tmp_path) == {"a": BODY}
    link = zip_member("r/l", stat.S_IFLNK), b"a"
    assert unpacked(zip_(GOOD, link), tmp_path) == {"a": BODY}


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    """A member below a folder that is a link elsewhere: the usual way out of a folder."""
    archive = tar((member("r/l", tarfile.SYMTYPE, "r/x"), b""), ("r/l/a", BODY))
    assert unpacked(archive, tmp_path, entry("l/a")) == {"l/a": BODY}
    assert (tmp_path / "deep/target/l").is_dir()


@pytest.mark.parametrize("pack", [gzip.compress, lambda body: bz2.compress(body, 9), lzma.compress])
def test_a_tar_bomb_stops_early(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_SLACK_BYTES", 0)
    bomb = tar(("r/zeros", bytes(20_000_000)), GOOD, pack=pack)
    assert len(bomb) * archives.MAX_RATIO < 20_000_000
    with pytest.raises(DataError, match=r"refused: it unpacks to more than \d+ bytes"):
        unpacked(bomb, tmp_path)


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a: expected 10240 bytes, got 20000000"):
        unpacked(zip_(("r/a", bytes(20_000_000))), tmp_path)


def test_a_zip_that_lies_about_sizes_gives_no_more_than_listed(tmp_path: Path) -> None:
    archive = bytearray(zip_(("r/a", BODY * 100)))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = archive.index(signature) + offset
        archive[at : at + 4] = struct.pack("<I", len(BODY))
    with pytest.raises(DataError, match=r"damaged: Bad CRC-32|expected"):
        unpacked(bytes(archive), tmp_path)


def with_size_field(archive: bytes, field: bytes) -> bytes:
    """Change the size in the first header of a tar archive, and its checksum."""
    header = bytearray(archive[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[512:]


def test_a_tar_header_that_points_backwards_does_not_run_in_circles(tmp_path: Path) -> None:
    backwards = b"\xff" + (-1024).to_bytes(11, "big", signed=True)
    archive = with_size_field(tar(("x", b""), GOOD, form=tarfile.GNU_FORMAT), backwards)
    with pytest.raises(DataError, match="a header points backwards"):
        unpacked(archive, tmp_path)


def test_a_huge_extended_header_is_not_read(tmp_path: Path) -> None:
    digits = member("r/x", tarfile.XHDTYPE)
    archive = tar((digits, b"9" * 3_000_000), GOOD)
    start = time.process_time()
    with pytest.raises(DataError, match="a header of 3000320 bytes"):
        unpacked(archive, tmp_path)
    record = b"%d comment=" % archives.MAX_HEADER_BYTES
    record += b"9" * (archives.MAX_HEADER_BYTES - len(record) - 1) + b"\n"
    just_below = tar((member("r/x", tarfile.XHDTYPE), record), GOOD)
    assert unpacked(just_below, tmp_path) == {"a": BODY}
    assert time.process_time() - start < 5


def test_thousands_of_nested_headers_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    one = tar((member("r/x", tarfile.GNUTYPE_LONGNAME), b"name"), form=tarfile.GNU_FORMAT)[:1024]
    with pytest.raises(DataError, match="damaged: maximum recursion depth"):
        unpacked(one * 3000, tmp_path)


@pytest.mark.parametrize(
    "archive", [zip_(GOOD), *(tar(GOOD, pack=pack) for pack in PACKERS.values())], ids=["zip", *PACKERS]
)
def test_a_truncated_archive_is_damaged(tmp_path: Path, archive: bytes) -> None:
    for keep in (len(archive) // 3, len(archive) // 2, 600 if len(archive) > 2000 else 60):
        with pytest.raises(DataError, match=r"damaged|expected|it has no|neither zip nor tar"):
            unpacked(archive[:keep], tmp_path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "empty"),
        (b"<html><body>Quota exceeded</body>", "a web page"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML>", "a web page"),
        (b"\x89PNG\r\n\x1a\n", "neither zip nor tar"),
        (b"Rar!\x1a\x07\x00", "neither zip nor tar"),
    ],
)
def test_what_is_no_archive_is_told_apart(tmp_path: Path, content: bytes, got: str) -> None:
    with pytest.raises(DataError, match=f"the archive is {got} "):
        unpacked(content, tmp_path)


def test_a_table_is_no_web_page() -> None:
    assert not is_web_page(b"<5 years,>5 years\n")
    assert is_web_page(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>")


def test_wrong_bytes_and_missing_members_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a: expected sha256"):
        unpacked(tar(("r/a", BODY[::-1])), tmp_path)
    with pytest.raises(DataError, match="it has no r/absent"):
        unpacked(tar(GOOD), tmp_path, entry("absent"))
    with pytest.raises(DataError, match="lists a member of archive twice"):
        unpacked(tar(GOOD), tmp_path, entry("x", BODY, "a"), entry("y", BODY, "a"))
