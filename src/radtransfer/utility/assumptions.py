"""What the chapter assumes, in one file, each with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from radtransfer import paths
from radtransfer.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class Assumption(BaseModel):
    """One value that was not measured here.

    Attributes
    ----------
    what : str
        In words, with the setting it holds in.
    value, low, high : float
        Value, and the range of the sensitivity analyses.
    unit : str
    source : str
        Where the value comes from; says so where it is an assumption of this study.
    cite : str or None
        Key in ``book/references.bib``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    value: float
    low: float
    high: float
    unit: str = ""
    source: str
    cite: str | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Assumption:
        if not self.low <= self.value <= self.high:
            raise ValueError("low, value and high are not in order")
        return self


def load_assumptions(path: Path | None = None) -> dict[str, Assumption]:
    """Read the assumptions.

    Parameters
    ----------
    path : Path, optional
        YAML mapping of names to assumptions; the book's ``assumptions.yaml`` by default.

    Raises
    ------
    InputError
        If an entry does not follow the schema, naming it.
    """
    path = path or paths.book_dir() / "assumptions.yaml"
    found = {}
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        try:
            found[name] = Assumption.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{path.name}, {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error
    return found
