"""Statistics and figures computed again from published predictions: no images, no training, no network."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import yaml

from radtransfer import paths
from radtransfer.errors import DataError, InputError
from radtransfer.report.inputs import PREDICTED
from radtransfer.study.driver import execute, kernel_environment
from radtransfer.study.frozen import read_records, thaw
from radtransfer.study.machine import cores
from radtransfer.study.profiles import NOTEBOOKS, check_parameters
from radtransfer.study.progress import Reporter, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from radtransfer.report.numbers import Record
    from radtransfer.study.profiles import NotebookParameters

ANALYSES: Final = (
    "04_evaluation",
    "08_bias_subgroups",
    "10_statistics",
    "12_clinical_utility",
    "13_claims",
)
"""Notebooks that read predictions, cohorts and records alone."""

KERNELS: Final = 4
"""Notebooks executed at a time, cores permitting."""

NEEDS_MORE: Final = {
    "01_data_curation": "it needs the images",
    "02_traditional_baselines": "it needs the images",
    "03_transfer_learning": "it needs the images, and trains for hours",
    "05_ablation": "it needs the images, and trains for hours",
    "06_holdout": "it needs the images, and trains",
    "07_leakage_and_shortcuts": "it needs the images",
    "09_reader_study": "it needs the readings, whose terms keep them from being published",
    "11_explanations": "it needs the images and the trained networks",
}
"""Notebooks that published results do not suffice for, and why; their records are taken as published."""


@dataclass(frozen=True)
class Recomputed:
    """What was computed again.

    Attributes
    ----------
    study : Path
        Study folder with the new records, figures and tables, beside the published records of the others.
    notebooks : tuple of str
        Which notebooks were executed.
    kept : dict of str to str
        Why each other notebook was not.
    seconds : float
        Wall-clock time.
    """

    study: Path
    notebooks: tuple[str, ...]
    kept: dict[str, str]
    seconds: float


@contextmanager
def recomputed(results: Path, *, reporter: Reporter | None = None) -> Iterator[Recomputed]:
    """Execute the analyses on published results in a temporary work folder.

    Parameters
    ----------
    results : Path
        Published results.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Yields
    ------
    Recomputed
        Its folder is removed when the block ends.

    Raises
    ------
    DataError
        If the results lack what the analyses need, or their files contradict each other.
    StepError
        If a notebook fails on them.
    """
    reporter = reporter or Reporter()
    start = monotonic()
    records = read_records(results)
    parameters = _parameters(results / "profile.yaml", records)
    with tempfile.TemporaryDirectory(prefix="radtransfer-") as work, _work_in(Path(work)):
        thaw(results, records, PREDICTED)
        profile = records[0].profile
        for name in parameters:
            # the published record, lest anything computed from it be taken for new
            (paths.study_dir(profile) / "records" / f"{name}.json").unlink()
        with kernel_environment(offline=True), ThreadPoolExecutor(min(cores(), KERNELS)) as kernels:
            # each needs a core for minutes; what builds on others comes when they are complete
            begun: dict[str, Future[None]] = {}
            for name, own in parameters.items():
                for need in set(NOTEBOOKS[name].needs) & begun.keys():
                    begun[need].result()
                begun[name] = kernels.submit(_execute, profile, name, own, reporter)
            for running in begun.values():
                running.result()
        yield Recomputed(
            study=paths.study_dir(profile),
            notebooks=tuple(parameters),
            kept={
                record.notebook: NEEDS_MORE.get(record.notebook, "it is no notebook of this version")
                for record in records
                if record.notebook not in parameters
            },
            seconds=monotonic() - start,
        )


def _execute(profile: str, name: str, parameters: NotebookParameters, reporter: Reporter) -> None:
    start = monotonic()
    with reporter.running(name, None) as last_line:
        execute(profile, NOTEBOOKS[name], parameters, last_line)
    reporter.line(f"done    {name} in {duration(monotonic() - start)}")


@contextmanager
def _work_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("RADTRANSFER_WORK")
    os.environ["RADTRANSFER_WORK"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["RADTRANSFER_WORK"]
        else:
            os.environ["RADTRANSFER_WORK"] = before


def _parameters(path: Path, records: list[Record]) -> dict[str, NotebookParameters]:
    """Published parameters of the analyses that were run, in their order."""
    try:
        given: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["notebooks"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DataError(f"{path} is no profile: {' '.join(str(error).split())}") from None
    recorded = {record.notebook for record in records}
    found: dict[str, NotebookParameters] = {}
    for name in ANALYSES:
        if name in recorded and name in given:
            try:
                found[name] = check_parameters(NOTEBOOKS[name], given[name])
            except InputError as error:
                raise DataError(
                    f"{path}, {name}: {error}", hint="check out the version that published it"
                ) from None
    if not found:
        raise DataError(f"none of {', '.join(ANALYSES)} is published in {path.parent}")
    return found
