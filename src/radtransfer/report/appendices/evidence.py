"""What appendices are generated from: the files that a publication freezes, read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer import paths
from radtransfer.data.manifest import Manifest, load_manifest
from radtransfer.errors import DataError
from radtransfer.report.inputs import PREDICTED
from radtransfer.report.numbers import Record, Registry, first_complaint, load_json
from radtransfer.report.tables import Table
from radtransfer.training.runs import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

"""Option of a run that shows what a wrong protocol does; it is no model of the study."""

CHEXPERT = "chexpert_readers"
"""Manifest entry of the readings that the reader study takes."""


class Run(BaseModel):
    """One training run.

    Attributes
    ----------
    run : str
        Its name, the hash of its spec.
    spec : RunSpec
    metrics : dict of str to float
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    spec: RunSpec
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Frozen results of a study, by file; each is read when an appendix asks for it.

    Parameters
    ----------
    folder : Path
        Laid out as ``results/``.
    book : Path, optional
        The book's prose, with what only a person can state.
    """

    folder: Path
    book: Path = field(default_factory=paths.book_dir)

    @cached_property
    def manifest(self) -> Manifest:
        """Everything that the study may read."""
        return load_manifest()

    @cached_property
    def registry(self) -> Registry:
        """Recorded numbers."""
        return Registry.load(self.folder)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """What each notebook recorded, without its numbers.

        Raises
        ------
        DataError
            If they were not frozen, or do not follow the schema.
        """
        path = self.folder / "records.json"
        try:
            return tuple(Record.model_validate(entry) for entry in load_json(path)["records"])
        except ValidationError as error:
            raise DataError(f"{path}: {first_complaint(error)}") from error

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Training runs, in the order of the notebooks.

        Raises
        ------
        DataError
            As :attr:`records`.
        """
        path = self.folder / "runs.json"
        try:
            return tuple(Run.model_validate(entry) for entry in load_json(path)["runs"])
        except ValidationError as error:
            raise DataError(f"{path}: {first_complaint(error)}") from error

    @cached_property
    def own_runs(self) -> tuple[Run, ...]:
        """Runs that the analyses compare, without those of ablations and of wrong protocols."""
        own = {run for record in self.records if record.notebook in PREDICTED for run in record.runs}
        return tuple(run for run in self.runs if run.run in own)

    @cached_property
    def curations(self) -> dict[str, dict[str, Any]]:
        """``curation.json`` by task, in the order of the first notebook."""
        found = {path.stem: load_json(path) for path in sorted((self.folder / "curation").glob("*.json"))}
        order = [task for record in self.records for task in record.datasets if task in found]
        return {task: found[task] for task in dict.fromkeys(order)}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Machines and versions: of the driver, and of the training runs."""
        loaded: dict[str, Any] = load_json(self.folder / "environment.json")
        return loaded

    @cached_property
    def timings(self) -> dict[str, Any]:
        """Seconds of each step and of each run."""
        loaded: dict[str, Any] = load_json(self.folder / "timings.json")
        return loaded

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Parameters of every notebook, as the profile gave them."""
        notebooks: dict[str, dict[str, Any]] = _yaml(self.folder / "profile.yaml")["notebooks"]
        return notebooks

    @cached_property
    def tasks_of(self) -> dict[str, list[str]]:
        """Tasks by dataset: those of the study, in its order."""
        found: dict[str, list[str]] = {}
        for task, curation in self.curations.items():
            found.setdefault(curation["dataset"], []).append(task)
        if self.parameters.get("09_reader_study", {}).get("SOURCE") == "chexpert":
            found.setdefault(CHEXPERT, [])
        return found

    def has_table(self, name: str) -> bool:
        """Whether a notebook recorded a table of that name."""
        return (self.folder / "tables" / f"{name}.json").is_file()

    def table(self, name: str) -> Table:
        """Read a recorded table."""
        return Table.model_validate_json((self.folder / "tables" / f"{name}.json").read_bytes())

    def numbers_of(self, notebook: str) -> Iterator[str]:
        """Keys that a notebook recorded."""
        return (key for key, number in self.registry.numbers.items() if number.notebook == notebook)

    def facts(self, name: str) -> Any:
        """A YAML file of the book: what only a person can state.

        Raises
        ------
        DataError
            If it is missing or no YAML.
        """
        return _yaml(self.book / name)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
