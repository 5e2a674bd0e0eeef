"""A datasheet for every dataset of a study, after Gebru et al.

What manifest, curation and tables of a run know is generated. Who made a collection, why and how stands in
``book/datasheets.yaml``, each fact with its source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer.data.manifest import entries_of
from radtransfer.errors import DataError
from radtransfer.report.appendices.markdown import links, recorded_table, slug, table
from radtransfer.report.labels import task_label
from radtransfer.report.numbers import first_complaint, format_number
from radtransfer.report.tables import ABSENT

if TYPE_CHECKING:
    from radtransfer.data.manifest import Dataset
    from radtransfer.report.appendices.evidence import Evidence

FACTS = "datasheets.yaml"

Section = Literal[
    "motivation", "composition", "collection", "preprocessing", "uses", "distribution", "maintenance"
]

TITLES: dict[Section, str] = {
    "motivation": "Motivation",
    "composition": "Composition",
    "collection": "Collection",
    "preprocessing": "Preprocessing, cleaning and labelling",
    "uses": "Uses",
    "distribution": "Distribution",
    "maintenance": "Maintenance",
}

MODALITIES = {"xray": "X-ray", "ct": "CT", "mri": "MRI"}


class Fact(BaseModel):
    """What no run can know.

    Attributes
    ----------
    says : str
        In Markdown.
    source : str
        Where that stands: a citation, or how it was found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    source: str


def datasheets(evidence: Evidence) -> str:
    """Datasheets of the datasets that the study used, one under the other.

    Raises
    ------
    DataError
        If what a person has to state of one is missing, or follows no schema.
    """
    return "\n\n".join(_sheet(evidence, name, tasks) for name, tasks in evidence.tasks_of.items())


def not_used(evidence: Evidence) -> str:
    """Table of the manifest's other datasets."""
    rows = [
        (f"`{entry.id}`", entry.title, MODALITIES[entry.modality], entry.access, links(entry.licence))
        for entry in evidence.manifest.datasets.values()
        if entry.id not in evidence.tasks_of
    ]
    return table(("Dataset", "What it is", "Images", "Access", "Licence"), rows)


def _facts(evidence: Evidence, name: str) -> dict[Section, list[Fact]]:
    content = evidence.facts(FACTS)
    if name not in content:
        raise DataError(f"{FACTS} has no entry {name!r}", hint="say there who made it, why and how")
    if unknown := set(content[name]) - set(get_args(Section)):
        raise DataError(f"{FACTS}: {name} has an unknown section {min(unknown)!r}")
    try:
        return {
            section: [Fact.model_validate(fact) for fact in content[name].get(section, [])]
            for section in get_args(Section)
        }
    except ValidationError as error:
        raise DataError(f"{FACTS}: {name}: {first_complaint(error)}") from error


def _sheet(evidence: Evidence, name: str, tasks: list[str]) -> str:
    entry, facts = evidence.manifest.dataset(name), _facts(evidence, name)
    known: dict[Section, list[str]] = {
        "composition": _composition(evidence, entry, tasks),
        "preprocessing": _preprocessing(evidence, tasks),
        "uses": _uses(evidence, tasks),
        "distribution": _distribution(entry),
    }
    parts = [
        f"({sheet_anchor(name)})=\n## {entry.title}",
        f"Identifier `{name}`; to be cited: {links(entry.citation)}.",
    ]
    for section, title in TITLES.items():
        stated = [f"{fact.says.strip()} ({fact.source.strip()})" for fact in facts[section]]
        if content := [*stated, *known.get(section, [])]:
            parts += [f"### {title}", *content]
    return "\n\n".join(parts)


def sheet_anchor(name: str) -> str:
    """Anchor of a dataset's sheet."""
    return f"datasheet-{slug(name)}"


def _composition(evidence: Evidence, entry: Dataset, tasks: list[str]) -> list[str]:
    size = (
        f", {entry.native_size[0]} x {entry.native_size[1]} pixels as delivered" if entry.native_size else ""
    )
    known = (
        f"patients are told apart by `{entry.patient_id_field}`"
        if entry.patient_id_field
        else "patients are not told apart, so that groups of similar images stand for them"
    )
    content = [f"{MODALITIES[entry.modality]}{size}; {known}."]
    for task in tasks:
        content += [f"*{task_label(task)}*: what this study included.", recorded_table(f"cohort_{task}")]
    return content


def _preprocessing(evidence: Evidence, tasks: list[str]) -> list[str]:
    content = []
    for task in tasks:
        curation: dict[str, Any] = evidence.curations[task]
        parameters, flow = curation["parameters"], curation["flow"]
        rows = [("all", *_counts(flow["start"]))]
        rows += [(step["reason"], *_counts(step)) for step in flow["steps"] if step["n_images"]]
        rows.append(("**included**", *_counts(flow["final"])))
        copies = format_number(int(curation["images_with_duplicates"]))
        content += [
            f"*{task_label(task)}*: shortest side reduced to {parameters['image_size']} px, grey levels of 8 "
            f"bits. Where the age is known it is from {parameters['age_min']} to {parameters['age_max']} "
            "years. Images are left out in this order:",
            table(("Images", "Number", "Patients"), rows, numeric=(1, 2)),
            f"{copies} of the included images are in a group of duplicates or of one series, and such groups "
            "stay together. Images too poor to read:",
            recorded_table(f"quality_{task}"),
        ]
    return content


def _counts(step: dict[str, Any]) -> tuple[str, str]:
    return format_number(int(step["n_images"])), format_number(int(step["n_patients"]))


def _uses(evidence: Evidence, tasks: list[str]) -> list[str]:
    content = []
    for task in tasks:
        if evidence.has_table(f"leakage_{task}"):
            content += [
                f"*{task_label(task)}*: what gives the class away without the disease, and what must be kept "
                "together.",
                recorded_table(f"leakage_{task}"),
            ]
    return content


def _distribution(entry: Dataset) -> list[str]:
    files = entries_of(entry.files)
    rows = [("Licence or terms", links(entry.licence)), ("Access", entry.access)]
    if files:
        size = sum(file.bytes for file in files)
        rows.append(
            ("Files of this study", f"{format_number(len(files))}, {format_number(size / 1e6, digits=1)} MB")
        )
        rows.append(("SHA-256 over their checksums", f"`{entry.digest[:16]}`…"))
    # paths of a folder on the user's machine are nobody's business
    rows += [
        ("Source", links("a folder of the user" if source.kind == "folder" else str(source)))
        for source in entry.sources
    ]
    rows.append(("Tasks that the labels allow", ", ".join(entry.tasks) or ABSENT))
    return [table(("What", "Which"), rows)]
