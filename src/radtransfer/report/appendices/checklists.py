"""Reporting checklists: every item is answered by a link to a section of the book, or by why there is none.

The items stand in ``book/checklists/*.yaml``, in words of our own. A link to a page or section that does not
exist stops the build, like any other dead link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from radtransfer.errors import DataError
from radtransfer.report.appendices.markdown import table
from radtransfer.report.numbers import first_complaint

if TYPE_CHECKING:
    from radtransfer.report.appendices.evidence import Evidence

UP = "../../"
"""From a page of the appendices to the book's root."""

ANSWERS = {
    "reported": "reported",
    "partly": "**partly**",
    "not_done": "**not done**",
    "not_applicable": "not applicable",
}


class Item(BaseModel):
    """One item of a checklist.

    Attributes
    ----------
    item : str
        Its number.
    topic : str
        What it asks for.
    answer : {"reported", "partly", "not_done", "not_applicable"}
    where : tuple of str
        What answers it: a file of the book from its root, and after ``#`` the section's anchor; without
        one it is the page's beginning.
    why : str
        What is reported, or why it is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: Annotated[str, Field(pattern=r"^\d+[a-z]?$")]
    topic: str
    answer: Literal["reported", "partly", "not_done", "not_applicable"] = "reported"
    where: tuple[
        Annotated[str, Field(pattern=r"^(book|notebooks)/\w+[\w/]*\.(md|ipynb)(#[a-z0-9-]+)?$")], ...
    ]
    why: str = ""

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if not self.where:
            raise ValueError("needs a section to link to")
        if self.answer != "reported" and not self.why:
            raise ValueError(f"needs a reason for {self.answer!r}")
        return self


class Section(BaseModel):
    """Items under a heading.

    Attributes
    ----------
    section : str
    items : tuple of Item
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: str
    items: tuple[Item, ...]


def claim(evidence: Evidence) -> str:
    """CLAIM, the 2024 update."""
    return _checklist(evidence, "checklists/claim_2024.yaml")


def tripod_ai(evidence: Evidence) -> str:
    """TRIPOD+AI."""
    return _checklist(evidence, "checklists/tripod_ai_2024.yaml")


def read(evidence: Evidence, name: str) -> tuple[Section, ...]:
    """Read a checklist.

    Raises
    ------
    DataError
        If it does not follow the schema, naming the item, or has an item twice.
    """
    sections = []
    for entry in evidence.facts(name):
        try:
            sections.append(Section.model_validate(entry))
        except ValidationError as error:
            raise DataError(f"{name}: {entry.get('section')}: {first_complaint(error)}") from error
    numbers = [item.item for section in sections for item in section.items]
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        raise DataError(f"{name}: item {min(twice)} stands there twice")
    return tuple(sections)


def _checklist(evidence: Evidence, name: str) -> str:
    sections = read(evidence, name)
    answers = [item.answer for section in sections for item in section.items]
    counts = ", ".join(
        f"{answers.count(answer)} {text.strip('*')}" for answer, text in ANSWERS.items() if answer in answers
    )
    parts = [f"Of {len(answers)} rows: {counts}."]
    for section in sections:
        rows = [(item.item, item.topic, _answer(item)) for item in section.items]
        parts += [f"## {section.section}", table(("Item", "What it asks for", "Answer"), rows)]
    return "\n\n".join(parts)


def _answer(item: Item) -> str:
    sections = "; ".join(_link(address) for address in item.where)
    words = [ANSWERS[item.answer]] if item.answer != "reported" else []
    words += [item.why] if item.why else []
    told = ": ".join(words)
    return f"{told}; see {sections}" if told else sections


def _link(address: str) -> str:
    """Title of the page and title of the section, as they stand there."""
    page, _, anchor = address.partition("#")
    return f"[]({UP}{page})" + (f" › []({UP}{address})" if anchor else "")
