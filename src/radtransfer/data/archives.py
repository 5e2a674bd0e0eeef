"""Taking listed files out of a zip or tar archive that may be damaged or hostile.

Members are opened by the manifest's names and written to the manifest's paths, and only if their
bytes are the manifest's: a name inside the archive never decides where a file goes, no link and no
device is ever made. What is left for an archive to attempt is refused in one line:

- a name that leads out of the archive (``../``, absolute, with a drive letter), a device, or a link
  to something outside, anywhere in it: no honest packer writes these;
- a wanted member that is a link, is encrypted, is there twice, or has a twin whose name differs only
  in case or in Unicode form (which of them an unpacker leaves depends on the file system);
- unpacking to more than the listed bytes and :data:`MAX_RATIO` times the archive's own size.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from radtransfer.data.verified import Problem, place
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from radtransfer.data.manifest import FileEntry

MAX_RATIO = 100
"""Unlisted members of a tar archive may unpack to so many times its own size; images reach 2, text 20."""

MAX_HEADER_BYTES = 1 << 14
"""Longest extended header of a tar archive; the time that :mod:`tarfile` takes may grow with its square."""

_ELSEWHERE = "get it from another source"
_SLACK_BYTES = 1 << 20  # headers and padding of a small archive
_MAX_LINK_BYTES = 4096
_STREAMS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_TAR_MAGIC = b"ustar", 257
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,  # UnicodeDecodeError, too
    ArithmeticError,
    LookupError,
    RuntimeError,  # NotImplementedError and RecursionError, too
    MemoryError,
)


def is_web_page(head: bytes) -> bool:
    """Whether a file begins like HTML: what hosts send for a login, a quota or a file that is gone."""
    return re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml)", head, re.IGNORECASE) is not None


def unpack(archive: Path, files: Sequence[FileEntry], target: Path, *, root: str = "") -> None:
    """Take the listed files out of an archive, and nothing else.

    Parameters
    ----------
    archive : Path
        Zip, or tar, plain or packed by gzip, bzip2 or xz; told by its first bytes, not by its name.
    files : sequence of FileEntry
        What is wanted, with sizes and checksums.
    target : Path
        Folder below which the files are written.
    root : str
        Begins every member's name in the archive, for instance ``"repository-1.0/"``.

    Raises
    ------
    DataError
        If the archive is damaged, hostile, no archive, or lacks a listed file. Files that were
        complete and verified before stay; nothing else is left.
    """
    wanted = {f"{root}{file.name_at_source}": file for file in files}
    if len(wanted) < len(files):
        raise DataError(f"the manifest lists a member of {archive.name} twice", hint="correct the manifest")
    kind = _kind(archive)
    with _damage_told():
        (_unpack_zip if kind == "zip" else _unpack_tar)(archive, wanted, target)


def _kind(archive: Path) -> str:
    with archive.open("rb") as stream:
        head = stream.read(512)
    magic, offset = _TAR_MAGIC
    if head.startswith(b"PK"):
        return "zip"
    if head.startswith(tuple(_STREAMS)) or head[offset:].startswith(magic):
        return "tar"
    got = "a web page" if is_web_page(head) else "neither zip nor tar" if head else "empty"
    raise DataError(f"the archive is {got}", hint="open its address in a browser to see what the host wants")


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if error.hint:
            raise
        raise DataError(error.message, hint=_ELSEWHERE) from error
    except _DAMAGE as error:
        raise DataError(f"the archive is damaged: {_line(error)}", hint="fetch it again") from error
    except OSError as error:
        if error.errno is not None and error.filename is not None:  # the disk's, not the archive's
            raise
        raise DataError(f"the archive is damaged: {_line(error)}", hint="fetch it again") from error


def _line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return told.encode("ascii", "backslashreplace").decode() or type(error).__name__


def _refuse(name: str, what: str) -> DataError:
    return DataError(f"the archive is refused: its member {name!r} {what}", hint=_ELSEWHERE)


def _check_name(name: str) -> None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts:
        raise _refuse(name, "leads out of it")
    if not parts[0] and name:
        raise _refuse(name, "has an absolute path")
    if re.match("[A-Za-z]:", name):
        raise _refuse(name, "names a drive")


def _check_link(name: str, folder: str, destination: str) -> None:
    try:
        _check_name(posixpath.normpath(posixpath.join(folder, destination)))
    except DataError:
        raise _refuse(name, f"is a link out of it, to {destination!r}") from None


class _Names:
    """Tells when a wanted name is not the only one of its kind in an archive."""

    def __init__(self, wanted: dict[str, FileEntry]) -> None:
        self.wanted = {self._folded(name): name for name in wanted}
        self.seen: dict[str, str] = {}

    @staticmethod
    def _folded(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    def add(self, name: str) -> None:
        if (folded := self._folded(name)) not in self.wanted:
            return
        if (twin := self.seen.setdefault(folded, name)) != name:
            raise _refuse(name, f"differs from {twin!r} by case or Unicode form only")

    def check_complete(self, taken: Collection[str]) -> None:
        for name in self.wanted.values():
            if name not in taken:
                raise DataError(f"it has no {name}")


def _check_wanted(file: FileEntry, name: str, size: int, taken: Collection[str]) -> None:
    if name in taken:
        raise _refuse(name, "is there twice")
    if size != file.bytes:
        raise DataError(str(Problem(file.path, f"{file.bytes} bytes", f"{size}")))


def _unpack_zip(archive: Path, wanted: dict[str, FileEntry], target: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        names = _Names(wanted)
        members: dict[str, zipfile.ZipInfo] = {}
        for member in content.infolist():
            name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
            _check_name(name)
            names.add(name)
            if kind == stat.S_IFLNK:
                _check_zip_link(content, member)
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(name, "is a device")
            if (file := wanted.get(name)) is None:
                continue
            if kind not in (0, stat.S_IFREG):
                raise _refuse(name, "is a link or a folder, not a file")
            if not _readable(member):
                raise _refuse(name, "is encrypted or packed in an unusual way")
            _check_wanted(file, name, member.file_size, members)
            members[name] = member
        names.check_complete(members)
        for name, member in members.items():
            with content.open(member) as stream:
                place(stream, wanted[name], target)


def _readable(member: zipfile.ZipInfo) -> bool:
    encrypted = member.flag_bits & 1
    return not encrypted and member.compress_type in _METHODS


def _check_zip_link(content: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.file_size > _MAX_LINK_BYTES or not _readable(member):
        raise _refuse(member.filename, "is a link that cannot be read")
    destination = content.read(member).decode(errors="backslashreplace")
    _check_link(member.filename, posixpath.dirname(member.filename), destination)


class _Forwards:
    """Unpacked bytes of a tar archive, read once and forwards, and only so many of them.

    Headers that point backwards make a reader run in circles, and those that claim to be huge make
    it fill the memory.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream, self.limit, self.position = stream, limit, 0

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        """Read a header, for :mod:`tarfile`."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.take(size)

    def take(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.position += len(content)
        if self.position > self.limit:
            raise DataError(
                f"the archive is refused: it unpacks to more than {self.limit} bytes",
                hint=_ELSEWHERE,
            )
        return content

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("a header points backwards")
        while self.position < position:
            if not self.take(min(position - self.position, 1 << 20)):
                raise tarfile.ReadError("it ends early")


class _Content:
    """Bytes of one member of a tar archive."""

    def __init__(self, stream: _Forwards, size: int) -> None:
        self.stream, self.left = stream, size

    def read(self, size: int) -> bytes:
        content = self.stream.take(min(size, self.left))
        self.left -= len(content)
        return content


def _unpack_tar(archive: Path, wanted: dict[str, FileEntry], target: Path) -> None:
    with archive.open("rb") as packed:
        head = packed.read(8)
        packed.seek(0)
        openers = (opener for magic, opener in _STREAMS.items() if head.startswith(magic))
        listed = sum(file.bytes for file in wanted.values())
        limit = listed + MAX_RATIO * archive.stat().st_size + _SLACK_BYTES
        stream = _Forwards(next(openers, lambda plain: plain)(packed), limit)
        names = _Names(wanted)
        taken: set[str] = set()
        content = tarfile.TarFile(fileobj=cast("IO[bytes]", stream))
        while member := content.next():
            content.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            _check_name(member.name)
            if member.issym() or member.islnk():
                folder = posixpath.dirname(member.name) if member.issym() else ""
                _check_link(member.name, folder, member.linkname)
            elif not member.isreg() and not member.isdir():
                raise _refuse(member.name, "is a device")
            name = posixpath.normpath(member.name)
            names.add(name)
            if (file := wanted.get(name)) is None:
                continue
            if not member.isreg() or member.issparse():
                raise _refuse(name, "is a link or a folder, not a file")
            _check_wanted(file, name, member.size, taken)
            stream.seek(member.offset_data)
            place(_Content(stream, member.size), file, target)
            taken.add(name)
        names.check_complete(taken)
