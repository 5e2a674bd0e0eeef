"""``radtransfer data``: what may be read, whether it is here, and who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from radtransfer import paths
from radtransfer.data.fetch import fetch as fetch_dataset
from radtransfer.data.fetch import verify as verify_dataset
from radtransfer.data.manifest import Dataset, entries_of, load_manifest
from radtransfer.errors import DataError

app = typer.Typer(
    help="List, fetch, verify and describe datasets.",
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
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task(f"fetching {dataset}", total=None)
        folder = fetch_dataset(
            dataset,
            progress=lambda what, done, total: bar.update(
                shown, description=what, completed=done, total=total
            ),
        )
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
    from radtransfer.data.formats import read_cohort

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
    _print_rows(("field", "value"), rows)
    root = paths.raw_dir() / entry.id
    if entry.generated or entry.format is None or not root.is_dir():
        return
    cohort = read_cohort(entry, root)
    for task in cohort.tasks:
        table = table1(cohort, task=task)
        typer.echo("")
        _print_rows(
            ("characteristic", *map(str, table.columns)),
            [(str(name), *map(str, row)) for name, row in zip(table.index, table.to_numpy(), strict=True)],
        )
