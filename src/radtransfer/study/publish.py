"""Publishing: a frozen copy of a profile's results, complete or not at all.

The copy holds what a reader needs to check statistics and figures without the images: the numbers with
their intervals and tolerances, the predictions they were computed from, the figures' data, the executed
notebooks, and what they were made with. Pictures of patients are published only as figures of a notebook.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtransfer import paths
from radtransfer.atomic import PARTIAL, write_json, write_text
from radtransfer.data.manifest import load_manifest
from radtransfer.data.store import CuratedDataset
from radtransfer.errors import DataError, InputError, StepError
from radtransfer.hashing import sha256_file
from radtransfer.report.numbers import Registry, load_records
from radtransfer.study.driver import INJECTED, StudyLog, check_study, study_lock, study_state
from radtransfer.study.frozen import (
    COHORTS,
    RECORDS,
    RUNS,
    SCORES,
    freeze_cohort,
    freeze_predictions,
    freeze_records,
    freeze_runs,
)
from radtransfer.study.tolerances import declare
from radtransfer.training.runs import RunRecord, RunStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from radtransfer.report.numbers import Record
    from radtransfer.study.profiles import Profile

LIMIT_MIB = 20
"""Published results travel with the repository."""

CHECKSUMS = "SHA256SUMS"


def publish(name: str) -> Path:
    """Freeze the results of a complete run in ``results/``.

    Parameters
    ----------
    name : str
        A profile that is marked ``publishable``.

    Returns
    -------
    Path
        The results' folder. What it held before is replaced in one move, or kept if anything
        fails.

    Raises
    ------
    InputError
        If the profile may not be published.
    StepError
        If a step is missing or its result does not stand any more.
    DataError
        If the licence of a dataset forbids it, a file names this machine, or all is too large.
    """
    profile = check_study(name)
    if not profile.publishable:
        raise InputError(
            f"profile {name!r} is not publishable: {profile.description}",
            hint="publish a run of `published` or `full`",
        )
    check_licences(profile)
    with study_lock(profile):
        _check_complete(profile)
        target = paths.results_dir()
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
        try:
            _gather(profile, partial)
            check_private(partial)
            check_size(partial)
            write_checksums(partial)
            partial.chmod(0o755)
            swap(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def verify_results(folder: Path) -> None:
    """Check a results' folder against its own checksums.

    Raises
    ------
    DataError
        Naming the first file that is missing, altered or not listed.
    """
    sums = folder / CHECKSUMS
    if not sums.is_file():
        raise DataError(f"no {CHECKSUMS} in {folder}", hint="radtransfer publish --profile published")
    lines = [line.partition("  ") for line in sums.read_text(encoding="utf-8").splitlines()]
    listed = {name: digest for digest, _, name in lines}
    present = {str(path.relative_to(folder)) for path in _files(folder)} - {CHECKSUMS}
    for name in sorted(present | listed.keys()):
        if name not in listed:
            raise DataError(f"{folder / name} is not a published file", hint="remove it, or publish again")
        if name not in present or sha256_file(folder / name) != listed[name]:
            state = "altered" if name in present else "missing"
            raise DataError(f"published file {folder / name} is {state}", hint="restore it, or publish again")


def publication_name(folder: Path) -> str:
    """What tells one publication from another: the SHA-256 of its checksums; empty without them."""
    sums = folder / CHECKSUMS
    return sha256_file(sums) if sums.is_file() else ""


def check_licences(profile: Profile) -> None:
    """Refuse data whose terms keep them with those who registered: predictions are rows of them."""
    manifest = load_manifest()
    for name in (name for parameters in profile.notebooks.values() for name in parameters.datasets):
        if manifest.dataset(name).access == "registered":
            raise DataError(
                f"the terms of {name} ({manifest.dataset(name).licence}) do not allow to publish its rows",
                hint="leave it out of a publishable profile",
            )


def _check_complete(profile: Profile) -> None:
    open_steps = [f"{state.notebook.name} ({state.reason})" for state in study_state(profile) if state.reason]
    if open_steps:
        raise StepError(
            f"the run of {profile.name!r} is not complete and current: {', '.join(open_steps)}",
            hint=f"radtransfer run --profile {profile.name}",
        )


def _gather(profile: Profile, folder: Path) -> None:
    study = paths.study_dir(profile.name)
    records, runs = gather_evidence(profile, folder)
    numbers = Registry.load(study).numbers.items()
    Registry({key: declare(number) for key, number in numbers}).write(folder / "numbers.json")
    for target, notebooks in SCORES.items():
        predicted = {run for record in records if record.notebook in notebooks for run in record.runs}
        freeze_predictions([run for run in runs if run.spec.hash in predicted], folder / target)
    for record in records:
        for kind, names in (("figures", record.figures), ("tables", record.tables)):
            for path in (path for name in names for path in sorted((study / kind).glob(f"{name}.*"))):
                copy_file(path, folder / kind / path.name)
        freeze_cohorts(record, folder)
    for name in profile.notebooks:
        notebook = json.loads((study / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        write_json(folder / "notebooks" / f"{name}.ipynb", clean_notebook(notebook))


def gather_evidence(profile: Profile, folder: Path) -> tuple[list[Record], list[RunRecord]]:
    """Write how the results of a profile came about: what the book's appendices are generated from.

    Parameters
    ----------
    profile : Profile
        That was run.
    folder : Path
        Where records, runs, curation, parameters, machines and times are written.

    Returns
    -------
    records : list of Record
    runs : list of RunRecord

    Raises
    ------
    RunError, DataError
        If a run or a curated dataset that a record names is not there, or damaged.
    """
    study = paths.study_dir(profile.name)
    records = load_records(study)
    runs = [RunStore.open(paths.runs_dir() / name) for name in _unique(records)]
    freeze_runs(runs, folder / RUNS)
    freeze_records(records, folder / RECORDS)
    for record in records:
        freeze_curation(record, folder)
    copy_file(study / "profile.yaml", folder / "profile.yaml")
    write_json(folder / "environment.json", describe_environment(study, runs))
    write_json(folder / "timings.json", _timings(profile, runs))
    return records, runs


def freeze_curation(record: Record, folder: Path) -> None:
    """Write what the curation of each dataset of a record found.

    Parameters
    ----------
    record : Record
    folder : Path
        Of the publication.

    Raises
    ------
    DataError
        If a dataset is not there, or damaged.
    """
    for task, name in record.datasets.items():
        dataset = CuratedDataset.open(paths.curated_dir() / name)
        write_json(folder / "curation" / f"{task}.json", anonymous(dataset.info))


def freeze_cohorts(record: Record, folder: Path) -> None:
    """Write who is in each dataset of a record; as :func:`freeze_curation`."""
    for task, name in record.datasets.items():
        freeze_cohort(CuratedDataset.open(paths.curated_dir() / name), folder / COHORTS / f"{task}.parquet")


def _unique(records: list[Record]) -> list[str]:
    return list(dict.fromkeys(run for record in records for run in record.runs))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, making the folder it goes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def describe_environment(study: Path, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Machine of the driver, and what the training runs recorded."""
    driver = json.loads((study / "environment.json").read_text(encoding="utf-8"))
    return {"driver": driver, "training": anonymous(trained_on(runs))}


def trained_on(runs: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """What training runs recorded of their machine and versions: each once, with its runs' number."""
    trained: dict[str, int] = {}
    for run in runs:
        text = json.dumps(run.environment, sort_keys=True)
        trained[text] = trained.get(text, 0) + 1
    return [{"runs": count, **json.loads(text)} for text, count in trained.items()]


def timing(run: RunRecord) -> dict[str, Any]:
    """Times of a training run, with what tells it from others."""
    spec = run.spec
    return {
        "run": spec.hash,
        "task": spec.task,
        "model": spec.model,
        "fold": spec.fold,
        **run.timings,
    }


def _timings(profile: Profile, runs: list[RunRecord]) -> dict[str, Any]:
    steps = {name: entry.seconds for name, entry in StudyLog.read(profile).steps.items()}
    return {"steps_s": steps, "runs": [timing(run) for run in runs]}


def clean_notebook(notebook: dict[str, Any]) -> dict[str, Any]:
    """Executed notebook without what only this machine knows; code and prose stay as they are.

    Parameters
    ----------
    notebook : dict
        As papermill left it.

    Returns
    -------
    dict
        For publication.
    """
    papermill = notebook["metadata"].get("papermill", {})
    kept = {name: papermill[name] for name in ("parameters", "version", "duration") if name in papermill}
    metadata = {**notebook["metadata"], "papermill": kept}
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell = cell | {"outputs": anonymous(cell["outputs"])}
        if INJECTED in cell["metadata"].get("tags", []):  # the driver wrote where the work folder is
            cell = cell | {"source": anonymous(cell["source"])}
        cells.append(cell)
    return notebook | {"metadata": anonymous(metadata), "cells": cells}


def _private() -> dict[str, str]:
    """What names this machine, and what is written instead; longer names first."""
    places = {
        str(paths.work_dir()): "work",
        str(paths.project_root()): ".",
        str(Path.home()): "~",
    }
    names = {platform.node(): "host"} if platform.node() != "localhost" else {}
    found = {name: word for name, word in (places | names).items() if len(name) > 3}
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def _pattern() -> re.Pattern[str]:
    # whole names only: a host called "node" is not in "node_modules"
    return re.compile("|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in _private()))


def anonymous(value: Any) -> Any:
    """Copy of a JSON value with this machine's folders and name taken out of its texts."""
    if isinstance(value, str):
        private = _private()
        return _pattern().sub(lambda match: private[match[0]], value)
    if isinstance(value, dict):
        return {anonymous(key): anonymous(part) for key, part in value.items()}
    if isinstance(value, list):
        return [anonymous(part) for part in value]
    return value


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_private(folder: Path) -> None:
    """Refuse files that name this machine.

    Raises
    ------
    DataError
        Naming the first.
    """
    pattern = _pattern()
    for path in _files(folder):
        if path.suffix in (".png", ".parquet"):
            continue
        if match := pattern.search(path.read_text(encoding="utf-8")):
            raise DataError(
                f"{path.relative_to(folder)} names this machine: {match[0]!r}",
                hint="record relative paths in the notebook that wrote it",
            )


def check_size(folder: Path) -> None:
    """Refuse results above :data:`LIMIT_MIB`.

    Raises
    ------
    DataError
        Naming the largest file.
    """
    sizes = {path: path.stat().st_size for path in _files(folder)}
    total = sum(sizes.values()) / 2**20
    if total > LIMIT_MIB:
        largest = max(sizes, key=lambda path: sizes[path])
        raise DataError(
            f"the results take {total:.1f} MiB, more than {LIMIT_MIB}; the largest file is "
            f"{largest.relative_to(folder)} with {sizes[largest] / 2**20:.1f} MiB",
            hint="show less in that notebook",
        )


def write_checksums(folder: Path) -> None:
    """List all files with their SHA-256."""
    lines = [f"{sha256_file(path)}  {path.relative_to(folder)}\n" for path in _files(folder)]
    write_text(folder / CHECKSUMS, "".join(lines))


def swap(new: Path, target: Path) -> None:
    """Put a folder in another's place; the old one is kept until the new one stands."""
    old = new.with_name(f"{new.name}-old")
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
