"""One's own data in the manifest, and data that one has downloaded by hand.

Nobody publishes checksums of such files. They are trusted as they are found when a folder is added: size
and SHA-256 of each are recorded in ``own_data``, beside the study's manifest, and every later use is held
against that record. A file that is altered, lost or damaged afterwards is found; one that was already wrong
on the first day is not.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock
from pydantic import ValidationError

from radtransfer import paths
from radtransfer.atomic import write_text
from radtransfer.data.formats import findings, read_cohort
from radtransfer.data.listing import list_files, write_list
from radtransfer.data.manifest import Dataset, describe_problem, entries_of, load_manifest
from radtransfer.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from radtransfer.data.cohort import Cohort

ABOUT = """\
# Written by `radtransfer data add`: where one's own data lie, and which bytes they had when they were added.
"""

DEFAULTS = {
    "licence": "own data, not to be passed on",
    "citation": "own data",
    "access": "own",
    "patient_id_field": "",
}


@dataclass(frozen=True)
class Addition:
    """A folder that may be added to the manifest.

    Attributes
    ----------
    folder : Path
    entry : Dataset
        As it will stand in the manifest; of its files only names and sizes are known yet.
    recorded : dict
        What will be written of it: for data of the study only what the study's manifest does not say.
    cohort : Cohort
        Read from the folder.
    findings : tuple of str
        What the layout has to tell of it.
    """

    folder: Path
    entry: Dataset
    recorded: dict[str, Any]
    cohort: Cohort
    findings: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in entries_of(self.entry.files))


def prepare(folder: Path, dataset_id: str, fields: Mapping[str, Any], *, replace: bool = False) -> Addition:
    """Check that a folder can be read; nothing is written.

    Parameters
    ----------
    folder : Path
    dataset_id : str
        New identifier; or that of a dataset of the study that has to be downloaded by hand.
    fields : mapping
        Fields of :class:`~radtransfer.data.manifest.Dataset`, at least format, options and modality; for
        data of the study none but options.
    replace : bool
        Whether what was recorded earlier under this identifier may be replaced.

    Returns
    -------
    Addition

    Raises
    ------
    InputError
        If the identifier is taken, a field is wrong or missing, or an option does not fit the layout.
    DataError
        If the folder does not hold what the layout expects.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    study = load_manifest(paths.manifest_path()).datasets
    known = study.get(dataset_id)
    if known and known.sources[0].kind != "manual":
        raise InputError(f"{dataset_id} is a dataset of the study", hint="choose another --id")
    if known and (given := sorted(set(fields) - {"options"})):
        raise InputError(
            f"{dataset_id}: the study's manifest says its {', '.join(given)}", hint="leave it out"
        )
    if not replace and dataset_id in _own_entries():
        raise InputError(f"{dataset_id} was added before", hint="--replace records it anew")
    unchecked = [
        {"path": path, "bytes": (folder / path).stat().st_size, "sha256": "0" * 64} for path in _names(folder)
    ]
    if not unchecked:
        raise DataError(f"{folder} has no files")
    said = dict(fields) if known else DEFAULTS | {"title": dataset_id} | dict(fields)
    recorded = said | {"sources": [{"kind": "folder", "path": str(folder)}]}
    base = known.model_dump() if known else {"id": dataset_id}
    try:
        entry = Dataset.model_validate({"tasks": ["unknown"]} | base | recorded | {"files": unchecked})
    except ValidationError as error:
        raise InputError(f"{dataset_id}: {describe_problem(error)}") from error
    if entry.format is None:
        raise InputError(f"{dataset_id}: the layout is missing", hint="--format folder, table, dicom, ...")
    cohort = read_cohort(entry, folder)
    if not known:
        recorded |= {"tasks": list(cohort.tasks)}
        entry = entry.model_copy(update={"tasks": cohort.tasks})
    return Addition(folder, entry, recorded, cohort, findings(entry, folder))


def record(addition: Addition, *, progress: Callable[[str, int, int], None] | None = None) -> Path:
    """Record the checksums of a folder and add it to the manifest.

    A reader of the manifest sees either the old entry or the new one, with their own lists.

    Parameters
    ----------
    addition : Addition
    progress : callable, optional
        Told about files that are hashed.

    Returns
    -------
    Path
        The manifest of one's own data.
    """
    dataset_id, manifest = addition.entry.id, paths.own_manifest_path()
    entries = list_files(
        addition.folder, [file.path for file in entries_of(addition.entry.files)], progress=progress
    )
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(manifest.with_suffix(".lock")):
        own = _own_entries()
        fresh = write_list(entries, manifest.parent / f"{dataset_id}.tsv.new")
        listed = f"{dataset_id}-{fresh.sha256[:12]}.tsv"
        (manifest.parent / fresh.path).replace(manifest.parent / listed)
        files = fresh.model_dump() | {"path": f"{paths.OWN_DATA}/{listed}"}
        content = {"version": 1, "datasets": own | {dataset_id: addition.recorded | {"files": files}}}
        write_text(manifest, ABOUT + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        for old in manifest.parent.glob(f"{dataset_id}-????????????.tsv"):
            if old.name != listed:
                old.unlink()
        # links to what was recorded before
        shutil.rmtree(paths.raw_dir() / dataset_id, ignore_errors=True)
    return manifest


def _own_entries() -> dict[str, Any]:
    """Entries as they stand in the manifest of one's own data, which is checked whole."""
    path = paths.own_manifest_path()
    if not path.is_file():
        return {}
    load_manifest()
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")).get("datasets") or {})


def _names(folder: Path) -> list[str]:
    """All files but hidden ones, relative and sorted."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    for name in names:
        if not name.isprintable():
            raise DataError(f"the name of {name!r} has characters that cannot be listed", hint="rename it")
    return names
