"""Real downloads from a real server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_server import Handler, Server, drip, endless, redirect, serving, silence, status

from radtransfer.data import fetch as module
from radtransfer.data.fetch import check, fetch_entry
from radtransfer.data.manifest import ArchiveSource, FileEntry, MirrorSource, PackageSource, UrlSource
from radtransfer.errors import DataError

BIG = bytes(range(256)) * 12_000  # 3 MB: several chunks
SMALL = b"small"


def entry(path: str, content: bytes, member: str = "") -> FileEntry:
    return FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), member=member)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("RADTRANSFER_OFFLINE", raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits between attempts
    with serving() as server:
        yield server


def here(target: Path) -> set[str]:
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}


def url(server: Server, **fields: Any) -> UrlSource:
    return UrlSource(kind="url", url=server.url, **fields)


def test_files_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.files = {"up stream/a b.bin": BIG, "c.bin": SMALL}
    files = (entry("sub/a.bin", BIG, "up stream/a b.bin"), entry("c.bin", SMALL))
    # the path arrives percent-encoded, as it must
    server.files["up%20stream/a%20b.bin"] = server.files.pop("up stream/a b.bin")
    first = fetch_entry(files, [url(server)], tmp_path / "d")
    assert here(first.folder) == {"sub/a.bin", "c.bin"}
    assert (first.folder / "sub/a.bin").read_bytes() == BIG
    assert first.source == f"url {server.url}"
    asked = len(server.asked)
    assert fetch_entry(files, [url(server)], tmp_path / "d").source == "work folder"
    assert len(server.asked) == asked


def test_a_broken_download_resumes_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.files = {"a.bin": BIG}
    server.cuts, server.cut = 1, 2_000_000
    fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert (tmp_path / "d/a.bin").read_bytes() == BIG
    (_, first), (_, second) = server.asked
    assert first is None
    begin = int(second.removeprefix("bytes=").removesuffix("-"))  # type: ignore[union-attr]
    assert 1_000_000 <= begin <= 2_000_000


def test_the_next_call_resumes_what_the_last_left(server: Server, tmp_path: Path) -> None:
    server.files = {"a.bin": BIG}
    server.cuts, server.cut = 1 + module.RETRIES, 500_000
    with pytest.raises(DataError, match="no source gave the files of d"):
        fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert not (tmp_path / "d/a.bin").exists()
    before = len(server.asked)
    fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert (tmp_path / "d/a.bin").read_bytes() == BIG
    assert server.asked[before][1] is not None
    assert here(tmp_path / "d") == {"a.bin"}


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.files, server.ranges = {"a.bin": BIG}, False
    server.cuts, server.cut = 1, 2_000_000
    fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert (tmp_path / "d/a.bin").read_bytes() == BIG


def test_wrong_bytes_are_named_and_leave_nothing(server: Server, tmp_path: Path) -> None:
    wrong = BIG[:-1] + b"\x00"
    server.files = {"a.bin": wrong}
    expected, got = (hashlib.sha256(content).hexdigest() for content in (BIG, wrong))
    with pytest.raises(DataError, match=f"a.bin: expected sha256 {expected}, got {got}"):
        fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert here(tmp_path / "d") == set()


def test_stale_beginnings_of_a_file_do_not_spoil_it(server: Server, tmp_path: Path) -> None:
    server.files = {"a.bin": BIG}
    name = hashlib.sha256(f"a.bin {hashlib.sha256(BIG).hexdigest()}".encode()).hexdigest()
    part = tmp_path / "d" / ".partial-downloads" / f"{name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert (tmp_path / "d/a.bin").read_bytes() == BIG


def test_the_next_source_serves_and_the_reason_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror" / "m"
    mirror.mkdir(parents=True)
    (mirror / "a.bin").write_bytes(BIG)
    (mirror / "b.bin").write_bytes(b"SMALL")  # right size, wrong bytes
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(mirror.parent))
    server.files = {"a.bin": BIG, "b.bin": SMALL}
    files = (entry("a.bin", BIG), entry("b.bin", SMALL))
    got = fetch_entry(files, [MirrorSource(kind="mirror", folder="m"), url(server)], tmp_path / "d")
    assert got.source.startswith("url")
    assert len(got.reasons) == 1
    assert "mirror m: b.bin: expected sha256" in got.reasons[0]
    assert [path for path, _ in server.asked] == ["/b.bin"]  # what the mirror gave is kept


def test_every_reason_is_told_when_nothing_serves(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADTRANSFER_MIRROR", raising=False)
    sources = [MirrorSource(kind="mirror", folder="m"), url(server)]
    with pytest.raises(DataError, match=r"RADTRANSFER_MIRROR is not set; url .*404.*data fetch d"):
        fetch_entry((entry("a.bin", BIG),), sources, tmp_path / "d")


def test_offline_asks_nobody(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    with pytest.raises(DataError, match="RADTRANSFER_OFFLINE is set"):
        fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert server.asked == []


def test_a_damaged_file_is_replaced(server: Server, tmp_path: Path) -> None:
    server.files = {"a.bin": BIG}
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.bin").write_bytes(BIG[:-1] + b"!")
    fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert (tmp_path / "d/a.bin").read_bytes() == BIG


def test_check_tells_missing_truncated_and_altered(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(SMALL[:-1])
    (tmp_path / "altered").write_bytes(b"SMALL")
    (tmp_path / "good").write_bytes(SMALL)
    files = tuple(entry(name, SMALL) for name in ("absent", "short", "altered", "good"))
    problems = check(files, tmp_path)
    assert [(p.path, p.got) for p in problems[:2]] == [("absent", "no file"), ("short", "4")]
    assert problems[2].got == hashlib.sha256(b"SMALL").hexdigest()
    assert len(problems) == 3


def zipped(**members: bytes) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as content:
        for name, body in members.items():
            content.writestr(f"root/{name}", body)
    return buffer.getvalue()


def archive(server: Server, **fields: Any) -> ArchiveSource:
    return ArchiveSource(kind="archive", url=f"{server.url}x.zip", root="root/", **fields)


def test_only_listed_members_leave_an_archive(server: Server, tmp_path: Path) -> None:
    server.files = {"x.zip": zipped(a=SMALL, other=b"not wanted")}
    fetch_entry((entry("deep/a.bin", SMALL, "a"),), [archive(server)], tmp_path / "w" / "d")
    assert here(tmp_path / "w" / "d") == {"deep/a.bin"}


def test_an_archive_that_breaks_resumes_and_need_not_be_zip(server: Server, tmp_path: Path) -> None:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w") as content:
        member = tarfile.TarInfo("root/a")
        member.size = len(BIG)
        content.addfile(member, io.BytesIO(BIG))
    server.files = {"x.zip": gzip.compress(buffer.getvalue(), 0)}
    server.cuts, server.cut = 1, 2_000_000
    fetch_entry((entry("a", BIG),), [archive(server)], tmp_path / "d")
    assert (tmp_path / "d/a").read_bytes() == BIG
    assert [bool(asked) for _, asked in server.asked] == [False, True]


def test_an_archive_packed_anew_after_a_break_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files = {"x.zip": zipped(a=BIG, first=b"1")}
    server.cuts, server.cut = 1 + module.RETRIES, 700_000
    with pytest.raises(DataError, match="no source gave"):
        fetch_entry((entry("a", BIG),), [archive(server)], tmp_path / "d")
    assert any(here(tmp_path / "d"))
    server.files = {"x.zip": zipped(other=b"22", a=BIG)}
    fetch_entry((entry("a", BIG),), [archive(server)], tmp_path / "d")
    assert here(tmp_path / "d") == {"a"}


PAGE = b"<!DOCTYPE html><html><title>Please log in</title></html>"
TRUNCATED = zipped(a=BIG)[:-1000]
LOOP = redirect("/x.zip")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(403), "403 .*Forbidden"),
        (status(404), "404 .*Not Found"),
        (status(500), "500 .*Server Error"),
        (LOOP, "redirects in circles: Exceeded 30 redirects"),
        (redirect("http://[::"), "no valid address|Invalid"),
        (silence, "timed out"),
        (drip, r"\d+ bytes came in"),
        (endless, "larger than"),
        (PAGE, "the archive is a web page"),
        (b"", "the archive is empty"),
        (b"\x00" * 3000, "neither zip nor tar"),
        (TRUNCATED, "the archive is damaged: File is not a zip file"),
        (zipped(b=SMALL), "it has no root/a"),
        (zipped(a=b"SMALL"), "a: expected sha256"),
        (zipped(a=BIG), "a: expected 5 bytes, got 3072000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_host_that_misbehaves_is_left_for_the_next_and_the_reason_is_told(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | Callable[[Handler], None],
    reason: str,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", (0.3, 0.3))
    monkeypatch.setattr(module, "ARCHIVE_SURPLUS", (1, 4_000_000))
    if isinstance(answer, bytes):
        server.files["x.zip"] = answer
    else:
        server.tricks["x.zip"] = answer
    server.files["a"] = SMALL
    got = fetch_entry((entry("a", SMALL),), [archive(server), url(server)], tmp_path / "d")
    assert here(tmp_path / "d") == {"a"}
    assert got.source == f"url {server.url}"
    (told,) = got.reasons
    assert told.startswith(f"archive {server.url}x.zip: ")
    assert re.search(reason, told), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        (status(403), "403", 1),
        (status(429), "429", 1 + module.RETRIES),
        (status(503), "503", 1 + module.RETRIES),
        (PAGE.ljust(len(BIG)), "a.bin: expected sha256 .*, a web page", 1),
        (PAGE, "a.bin: expected 3072000 bytes, got 56, a web page", 1),
        (silence, "timed out", 1 + module.RETRIES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_what_may_pass_is_asked_for_again(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | Callable[[Handler], None],
    reason: str,
    attempts: int,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", (0.3, 0.3))
    if isinstance(answer, bytes):
        server.files["a.bin"] = answer
    else:
        server.tricks["a.bin"] = answer
    with pytest.raises(DataError, match=reason):
        fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert len(server.asked) == attempts
    assert not (tmp_path / "d/a.bin").exists()


def test_files_of_the_same_bytes_do_not_disturb_each_other(server: Server, tmp_path: Path) -> None:
    names = [f"{i}.bin" for i in range(8)]
    server.files = dict.fromkeys(names, BIG)
    fetch_entry(tuple(entry(name, BIG) for name in names), [url(server)], tmp_path / "d")
    assert here(tmp_path / "d") == set(names)
    assert all((tmp_path / "d" / name).read_bytes() == BIG for name in names)


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_is_noticed_before_anything_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, len(BIG) - 1))
    server.files = {"a.bin": BIG, "small.bin": SMALL}
    with pytest.raises(
        DataError, match=r"0\.00307 GB are needed and 0\.00307 GB are free in .*RADTRANSFER_WORK"
    ):
        fetch_entry((entry("a.bin", BIG),), [url(server)], tmp_path / "d")
    assert server.asked == []
    smaller = (entry("small.bin", SMALL),)  # a source with reduced copies
    got = fetch_entry((entry("a.bin", BIG),), [url(server), url(server, files=smaller)], tmp_path / "d")
    assert got.files == smaller


def test_a_pipe_in_the_mirror_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "a")
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(tmp_path))
    with pytest.raises(DataError, match="mirror m: it has no a"):
        fetch_entry((entry("a", SMALL),), [MirrorSource(kind="mirror", folder="m")], tmp_path / "d")


def test_a_wheel_is_unpacked_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "toy_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy_weights/__init__.py", "raise SystemExit('imported')")
        wheel.writestr("toy_weights/w.bin", SMALL)
        wheel.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(
            "toy_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n"
        )
        wheel.writestr("toy_weights-1.0.dist-info/RECORD", "")
    monkeypatch.delenv("RADTRANSFER_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the user's own settings decide where pip looks
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    source = PackageSource(kind="package", package="toy-weights", version="1.0", root="toy_weights/")
    got = fetch_entry((entry("w.bin", SMALL),), [source], tmp_path / "d")
    assert here(got.folder) == {"w.bin"}
    absent = PackageSource(kind="package", package="toy-weights", version="2.0")
    with pytest.raises(DataError, match=r"package toy-weights 2\.0: pip: No matching distribution"):
        fetch_entry((entry("w.bin", SMALL),), [absent], tmp_path / "e")


def _fetch_in_process(base: str, target: Path) -> None:
    fetch_entry((entry("a.bin", BIG),), [UrlSource(kind="url", url=base)], target)


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    server.files = {"a.bin": BIG}
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_fetch_in_process, args=(server.url, tmp_path / "d")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.asked) == 1
    assert here(tmp_path / "d") == {"a.bin"}


FETCH = """
import hashlib, sys
from pathlib import Path
from radtransfer.data.fetch import fetch_entry
from radtransfer.data.manifest import ArchiveSource, FileEntry, UrlSource
kind, base, target, n_bytes, sha256 = sys.argv[1:]
source = (
    UrlSource(kind="url", url=base)
    if kind == "url"
    else ArchiveSource(kind="archive", url=f"{base}x.zip", root="root/")
)
print(fetch_entry((FileEntry(path="a", bytes=int(n_bytes), sha256=sha256),), [source], Path(target)).source)
"""


def process(kind: str, server: Server, target: Path) -> subprocess.Popen[str]:
    digest = hashlib.sha256(BIG).hexdigest()
    command = [sys.executable, "-c", FETCH, kind, server.url, str(target), str(len(BIG)), digest]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["url", "archive"])
def test_a_killed_process_is_resumed_and_another_that_waits_takes_over(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "d"
    with serving() as server:
        server.files = {"a": BIG, "x.zip": zipped(a=BIG)}
        server.pace = 100_000
        killed = process(kind, server, target)
        wait_for(lambda: any(part.stat().st_size > 500_000 for part in target.glob(".partial-*/*.part")))
        waiting = process(kind, server, target)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert not (target / "a").exists()
        (target / ".partial-abandoned").write_bytes(b"half")  # by a process killed while it wrote
        server.pace = 0
        assert waiting.wait(60) == 0
        begin = [int(asked.removeprefix("bytes=").removesuffix("-")) for _, asked in server.asked if asked]
        assert len(server.asked) == 2
        assert begin[0] > 500_000
    assert here(target) == {"a"}
    assert (target / "a").read_bytes() == BIG


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a/X.png", "a/x.png"), "'a/x.png' and 'a/X.png' are one file"),
        (("e\u0301", "é"), "are one file"),
        (("a", "b", "A/c"), "'a' is a file, and a folder of 'A/c'"),
    ],
)
def test_files_that_would_overwrite_each_other_are_refused(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    files = tuple(entry(name, name.encode()) for name in names)
    with pytest.raises(DataError, match=reason):
        fetch_entry(files, [MirrorSource(kind="mirror", folder="m")], tmp_path / "d")
