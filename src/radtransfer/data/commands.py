"""``radtransfer data``: what may be read, whether it is here, and who is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from radtransfer import paths
from radtransfer.data.fetch import Progress as ProgressOf
from radtransfer.data.fetch import fetch as fetch_dataset
from radtransfer.data.fetch import verify as verify_dataset
from radtransfer.data.manifest import Dataset, entries_of, load_manifest
from radtransfer.errors import DataError, InputError

if TYPE_CHECKING:
    from radtransfer.data.cohort import Cohort

app = typer.Typer(
    help="List, fetch, verify, describe, examine and add datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Identifier in data_manifest.yaml.")]

SHOWN = 10
"""Problems that are listed; the others are counted."""


def _print_rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table for people, tab-separated lines for programs."""
    console = Console()
    if not console.is_terminal:
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _megabytes(dataset: Dataset) -> str:
    return f"{sum(file.bytes for file in entries_of(dataset.files)) / 1e6:.1f} MB"


def _is_here(dataset: Dataset) -> str:
    if dataset.generated:
        return "drawn when needed"
    return "yes" if (paths.raw_dir() / dataset.id).is_dir() else "no"


@contextmanager
def _progress(what: str) -> Iterator[ProgressOf]:
    """Show a bar on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task(what, total=None)
        yield lambda what, done, total: bar.update(shown, description=what, completed=done, total=total)


@app.command("list")
def list_() -> None:
    """List the datasets of the manifest."""
    rows = [
        (
            entry.id,
            entry.modality,
            str(len(entries_of(entry.files))),
            _megabytes(entry),
            _is_here(entry),
            entry.title,
        )
        for entry in load_manifest().datasets.values()
    ]
    _print_rows(("dataset", "modality", "files", "size", "fetched", "title"), rows)


@app.command()
def fetch(dataset: DatasetArgument) -> None:
    """Bring a dataset here, from the first source that has it; every file is verified."""
    with _progress(f"fetching {dataset}") as progress:
        folder = fetch_dataset(dataset, progress=progress)
    entry = load_manifest().dataset(dataset)
    typer.echo(f"{dataset}: {'drawn when needed' if entry.generated else folder}")


@app.command()
def verify(dataset: DatasetArgument) -> None:
    """Check every byte of a dataset against the manifest."""
    report = verify_dataset(dataset)
    for problem in report.problems[:SHOWN]:
        typer.echo(str(problem), err=True)
    if not report.ok:
        raise DataError(
            f"{dataset}: {len(report.problems)} of {report.n_files} files are missing or altered",
            hint=f"radtransfer data fetch {dataset}",
        )
    typer.echo(f"{dataset}: {report.n_files} files are what the manifest says")


@app.command()
def describe(dataset: DatasetArgument) -> None:
    """Tell what a dataset is, what its terms are, and, if it is here, who is in it."""
    from radtransfer.data.cohort import table1
    from radtransfer.data.formats import findings, read_cohort

    entry = load_manifest().dataset(dataset)
    rows = [
        ("title", entry.title),
        ("modality", entry.modality),
        ("licence", entry.licence),
        ("citation", entry.citation),
        ("access", entry.access),
        ("tasks", ", ".join(entry.tasks)),
        ("patients by", entry.patient_id_field or "unknown"),
        ("original size", "{} x {} px".format(*entry.native_size) if entry.native_size else "unknown"),
        ("files", f"{len(entries_of(entry.files))}, {_megabytes(entry)}"),
        *((f"source {i}", str(source)) for i, source in enumerate(entry.sources, start=1)),
        ("fetched", _is_here(entry)),
    ]
    root = paths.raw_dir() / entry.id
    if entry.generated or entry.format is None or not root.is_dir():
        _print_rows(("field", "value"), rows)
        return
    cohort = read_cohort(entry, root)
    told = _findings(cohort, findings(entry, root))
    _print_rows(("field", "value"), rows + [("finding", finding) for finding in told])
    typer.echo("")
    _print_rows(("labels of", "images"), _labels(cohort))
    for task in entry.tasks:
        typer.echo("")
        _print_rows((f"flow of {task}", "images", "patients"), _flow(cohort, task))
        typer.echo("")
        table = table1(cohort, task=task)
        _print_rows(
            ("characteristic", *map(str, table.columns)),
            [(str(name), *map(str, row)) for name, row in zip(table.index, table.to_numpy(), strict=True)],
        )


def _findings(cohort: Cohort, of_layout: Sequence[str]) -> tuple[str, ...]:
    absent = cohort.frame.attrs.get("rows_without_file", 0)
    return (*of_layout, *([f"{absent:,} rows of its table have no image here"] if absent else []))


def _labels(cohort: Cohort) -> list[tuple[str, ...]]:
    """Images of each class of every task, and of none that is known."""
    rows: list[tuple[str, ...]] = []
    for task in cohort.tasks:
        labels = cohort.labels(task)
        counts = [f"{int((labels == i).sum())} {name}" for i, name in enumerate(cohort.classes_of(task))]
        rows.append((task, ", ".join([*counts, f"{int(labels.isna().sum())} unknown"])))
    return rows


def _flow(cohort: Cohort, task: str) -> list[tuple[str, ...]]:
    """Who takes part in a task: exclusions in their order, then the classes of who is left."""
    from radtransfer.data.cohort import select

    rows: list[tuple[str, ...]] = [("all", str(cohort.n_images), str(cohort.n_patients))]
    try:
        kept, flow = select(cohort, task=task)
    except InputError:
        return [*rows, ("nobody is left", "0", "0")]
    rows += [
        (f"excluded: {step.reason}", str(step.n_images), str(step.n_patients))
        for step in flow.steps
        if step.n_images
    ]
    for value, name in enumerate(cohort.classes_of(task)):
        of_class = kept.frame[kept.labels(task) == value]
        rows.append((f"included: {name}", str(len(of_class)), str(of_class["patient_id"].nunique())))
    return rows


@app.command()
def leakage(
    dataset: DatasetArgument,
    task: Annotated[str | None, typer.Option(help="Task; the first of the dataset by default.")] = None,
    image_size: Annotated[int, typer.Option(help="Side to which images are reduced, pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the deal of patients.")] = 1,
) -> None:
    """Look for leaks and shortcuts: what would make a classifier look better than it is."""
    from radtransfer.data.leakage import examine_curated
    from radtransfer.data.store import curate

    task = task or load_manifest().dataset(dataset).tasks[0]
    with _progress(f"curating {dataset}") as progress:
        curated = curate(dataset, task=task, image_size=image_size, seed=seed, progress=progress)
    report = examine_curated(curated, seed=seed)
    rows = [
        (
            "FLAGGED" if finding.flagged else "",
            finding.kind,
            finding.finding,
            finding.advice if finding.flagged else "",
        )
        for finding in report.findings
    ]
    _print_rows(("", "kind", "finding", "what to do"), rows)
    for what, why in report.not_tested.items():
        typer.echo(f"not tested: {what}: {why}")
    typer.echo(
        f"{dataset}, {task}: {report.n_images} images of {report.n_patients} patients; "
        f"{len(report.flagged)} of {len(report.findings)} findings flagged"
    )


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with DICOM files, in any depth.")],
) -> None:
    """Look in DICOM files for what may say who the patient is; fails if anything does."""
    from radtransfer.data.deidentify import assert_publishable, audit_folder

    report = audit_folder(folder)
    table = report.table()
    _print_rows(tuple(map(str, table.columns)), [tuple(map(str, row)) for row in table.to_numpy()])
    typer.echo(report.summary())
    assert_publishable(report)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files lie; they stay there.")],
    dataset: Annotated[
        str, typer.Option("--id", help="Identifier, a new one or that of data downloaded by hand.")
    ],
    layout: Annotated[
        str | None, typer.Option("--format", help="Layout: folder, table, dicom, nifti, ...")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="xray, ct or mri.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Name of the task, for layouts with one: --option task=...")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the layout, its value in YAML.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Name for people.")] = None,
    licence: Annotated[str | None, typer.Option(help="Terms of use.")] = None,
    citation: Annotated[str | None, typer.Option(help="What to cite.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Record it anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be recorded.")] = False,
) -> None:
    """Add a folder of your own, or one downloaded by hand, to the manifest."""
    from radtransfer.data.own import prepare, record

    options = _options(option or ()) | ({"task": task} if task else {})
    fields = {
        "format": layout,
        "modality": modality,
        "title": title,
        "licence": licence,
        "citation": citation,
        "options": options,
        "patient_id_field": str(options["patient"]) if "patient" in options else None,
    }
    addition = prepare(
        folder, dataset, {name: value for name, value in fields.items() if value}, replace=replace
    )
    cohort = addition.cohort
    for finding in _findings(cohort, addition.findings):
        typer.echo(f"finding: {finding}")
    for name in addition.entry.tasks:
        _print_rows((f"flow of {name}", "images", "patients"), _flow(cohort, name))
    n_files = len(entries_of(addition.entry.files))
    size = f"{n_files} files, {addition.n_bytes / 1e6:.1f} MB"
    if dry_run:
        typer.echo(f"{dataset}: {size} would be recorded:")
        typer.echo(
            yaml.safe_dump({dataset: addition.recorded}, sort_keys=False, allow_unicode=True), nl=False
        )
        return
    with _progress(f"hashing {dataset}") as progress:
        manifest = record(addition, progress=progress)
    typer.echo(f"{dataset}: {size}, recorded in {manifest}")
    typer.echo("They are trusted as they were found; from now on every use is held against these checksums.")


def _options(given: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--option {text!r} has no '='", hint="for instance --option task=pneumonia")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--option {name}: {' '.join(str(error).split())}") from error
    return options
