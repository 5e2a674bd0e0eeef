"""Registry of the study's numbers: prose refers to a key, never to typed digits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, model_validator

from radtransfer.atomic import write_json
from radtransfer.errors import DataError, InputError
from radtransfer.hashing import sha256_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEY_PATTERN = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$"
"""Keys are dotted and lower-case: ``cv.pneumonia.vgg16_frozen.auc``."""

NAME_PATTERN = r"^[a-z0-9_-]+$"
"""Names of figures and tables are file names."""

FORMS = ("value", "interval", "n", "p", "percent")
"""What a page can show of a number; ``n.images`` shows the count of one unit."""

FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def format_number(value: int | float | str, *, digits: int = 3, unit: str = "") -> str:
    """Write a number as a journal prints it.

    Parameters
    ----------
    value : int, float or str
        Counts get thousands separators, text passes unchanged.
    digits : int
        Decimals of a float; ignored otherwise.
    unit : str
        Appended after a space. ``"p"`` stands for a p-value: below 0.001 it prints as
        ``"< 0.001"``, and the unit itself is not shown.

    Returns
    -------
    str
        With a minus sign (U+2212), a leading zero, and no negative zero.

    Examples
    --------
    >>> format_number(1000), format_number(0.92081), format_number(12.04, digits=1, unit="s")
    ('1,000', '0.921', '12.0 s')
    >>> format_number(0.0004, unit="p")
    '< 0.001'
    """
    if isinstance(value, str):
        text = value
    elif unit == "p" and value < 0.001:
        text = "< 0.001"
    elif isinstance(value, int):
        text = f"{value:,d}"
    else:
        text = f"{value:z,.{digits}f}"
    text = text.replace("-", "\N{MINUS SIGN}") if not isinstance(value, str) else text
    return f"{text} {unit}" if unit and unit != "p" else text


def format_interval(
    value: int | float | str,
    low: float | None,
    high: float | None,
    *,
    level: float | None = 0.95,
    digits: int = 3,
    unit: str = "",
) -> str:
    """Write a number with its confidence interval, ``"0.921 (95 % CI 0.903 to 0.937)"``.

    A bound that is None makes the interval one-sided; without bounds the number stands alone.
    Without a level the words are left out, ``"0.921 (0.903 to 0.937)"``: cells of a table whose
    caption tells what the limits are.
    """
    text = format_number(value, digits=digits, unit=unit)
    if low is None and high is None:
        return text
    if low is None or high is None:
        word = "above" if high is None else "below"
        bound = low if high is None else high
        limits = f"{word} {format_number(bound, digits=digits)}"  # type: ignore[arg-type]
    else:
        limits = f"{format_number(low, digits=digits)} to {format_number(high, digits=digits)}"
    words = f"{100 * level:g} % CI " if level is not None else ""
    return f"{text} ({words}{limits})"


class Tolerance(BaseModel):
    """How far a recomputed number may lie from the published one, and why.

    Attributes
    ----------
    kind : {"exact", "absolute"}
        ``"exact"`` demands equality; ``"absolute"`` allows ``value`` to either side.
    value : float
        Half-width of the admitted band, in the number's unit; 0 if exact.
    basis : {"deterministic", "seed_sd", "sampling_error"}
        What the width derives from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exact", "absolute"]
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    basis: Literal["deterministic", "seed_sd", "sampling_error"] = "deterministic"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "exact") != (self.value == 0):
            raise ValueError("an exact tolerance has value 0, an absolute one a positive value")
        return self


class Number(BaseModel):
    """One recorded number.

    Attributes
    ----------
    key : str
        Dotted and lower-case, see `KEY_PATTERN`.
    value : float, int or str
        Counts are integers; text is for names such as the best network's.
    low, high, level : float or None
        Confidence interval and its level.
    p_value : float or None
        Of the test `method` names.
    unit : str
        Printed after the value; ``"p"`` marks a p-value.
    digits : int
        Decimals shown.
    description, method : str
        What it is and how it was made, in words.
    n : dict of str to int
        Counts by unit, for instance ``{"patients": 682, "images": 1000}``.
    notebook : str
        The notebook that recorded it.
    tolerance : Tolerance or None
        For re-checking; None where nobody declared one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern=KEY_PATTERN)]
    value: StrictInt | FiniteFloat | StrictStr
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    level: Annotated[float, Field(gt=0, lt=1)] | None = None
    p_value: Annotated[float, Field(ge=0, le=1)] | None = None
    unit: str = ""
    digits: Annotated[int, Field(ge=0, le=9)] = 3
    description: str = ""
    method: str = ""
    n: dict[str, int] = Field(default_factory=dict)
    notebook: str = ""
    tolerance: Tolerance | None = None

    @property
    def text(self) -> str:
        """The value as printed: ``"0.921"``, ``"1,000"``, ``"< 0.001"``."""
        return format_number(self.value, digits=self.digits, unit=self.unit)

    @property
    def interval_text(self) -> str:
        """The value with its interval: ``"0.921 (95 % CI 0.903 to 0.937)"``."""
        return format_interval(
            self.value, self.low, self.high, level=self.level or 0.95, digits=self.digits, unit=self.unit
        )

    @property
    def cell_text(self) -> str:
        """The value with its interval, for a table whose caption tells the level."""
        return format_interval(
            self.value, self.low, self.high, level=None, digits=self.digits, unit=self.unit
        )

    def show(self, form: str = "value") -> str:
        """Text of the number in one of the `FORMS`.

        Parameters
        ----------
        form : str
            ``"value"``, ``"interval"``, ``"p"`` (``"p = 0.012"``), ``"percent"`` (a proportion
            as per cent), ``"n"`` (``"682 patients, 1,000 images"``) or ``"n.<unit>"``
            (``"1,000"``).

        Raises
        ------
        InputError
            If the number does not have what is asked for.
        """
        kind, _, count = form.partition(".")
        if kind == "value" and not count:
            return self.text
        if kind == "interval" and not count:
            return self.interval_text
        if kind == "p" and not count and self.p_value is not None:
            text = format_number(self.p_value, unit="p")
            return f"p {text}" if text.startswith("<") else f"p = {text}"
        if kind == "percent" and not count and not self.unit and not isinstance(self.value, str):
            return format_number(100.0 * self.value, digits=max(self.digits - 2, 0), unit="%")
        if kind == "n" and self.n and (not count or count in self.n):
            if count:
                return format_number(self.n[count])
            return ", ".join(f"{format_number(value)} {unit}" for unit, value in self.n.items())
        offered = ["value", "interval"]
        offered += ["p"] if self.p_value is not None else []
        offered += ["percent"] if not self.unit and not isinstance(self.value, str) else []
        offered += ["n", *(f"n.{unit}" for unit in self.n)] if self.n else []
        raise InputError(f"{self.key} has no form {form!r}", hint=f"it offers: {', '.join(offered)}")

    def __repr__(self) -> str:
        """Key and text, for notebook cells."""
        return f"{self.key} = {self.interval_text}"

    __str__ = __repr__


class Record(BaseModel):
    """What one notebook of the study recorded, as kept in ``records/<notebook>.json``.

    Attributes
    ----------
    notebook, profile : str
        Who recorded it, and under which profile.
    numbers : tuple of Number
        In the order of recording.
    figures, tables : tuple of str
        Names of the files in ``figures/`` and ``tables/``.
    runs : tuple of str
        Hashes of the training runs the notebook made or used.
    datasets : dict of str to str
        Name of the curated dataset's folder, by task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notebook: str
    profile: str
    numbers: tuple[Number, ...] = ()
    figures: tuple[Name, ...] = ()
    tables: tuple[Name, ...] = ()
    runs: tuple[str, ...] = ()
    datasets: dict[str, str] = Field(default_factory=dict)


def load_json(path: Path) -> Any:
    """Read a JSON file; `DataError` says which one is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="run the study again") from error


def first_complaint(error: ValidationError) -> str:
    """Field and message of a validation error's first finding, in one line."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def load_records(study_dir: Path) -> list[Record]:
    """Records of all notebooks of a study folder, in the order of their names.

    Raises
    ------
    DataError
        If a record is damaged, or two notebooks recorded a figure or table of the same name.
    """
    records = []
    owners: dict[tuple[str, str], str] = {}
    for path in sorted((study_dir / "records").glob("*.json")):
        try:
            record = Record.model_validate(load_json(path))
        except ValidationError as error:
            raise DataError(f"{path}: {first_complaint(error)}", hint="run the study again") from error
        for kind, names in (("figure", record.figures), ("table", record.tables)):
            for name in names:
                owner = owners.setdefault((kind, name), record.notebook)
                if owner != record.notebook:
                    raise DataError(
                        f"{owner} and {record.notebook} both recorded a {kind} {name!r}",
                        hint="rename one of them",
                    )
        records.append(record)
    return records


@dataclass(frozen=True)
class Registry:
    """All recorded numbers by key.

    Parameters
    ----------
    numbers : dict of str to Number
        In the order of recording.
    """

    numbers: dict[str, Number]

    @classmethod
    def collect(cls, numbers: Iterable[Number]) -> Self:
        """Merge numbers; the same key may come twice only with the same value.

        Raises
        ------
        DataError
            Naming key, both values and both notebooks.
        """
        merged: dict[str, Number] = {}
        for number in numbers:
            known = merged.setdefault(number.key, number)
            if (known.value, known.low, known.high) != (number.value, number.low, number.high):
                raise DataError(
                    f"{number.key} is {known.interval_text} in {known.notebook} "
                    f"but {number.interval_text} in {number.notebook}",
                    hint="give one of them another key, or run the study again if one is stale",
                )
        return cls(merged)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Numbers of a folder: its ``numbers.json``, or else its ``records/*.json``.

        Parameters
        ----------
        folder : Path
            A study folder (``work/study/<profile>``) or the frozen ``results``.

        Raises
        ------
        DataError
            If there is neither, a file is damaged, or records contradict each other.
        """
        frozen = folder / "numbers.json"
        if frozen.is_file():
            try:
                return cls.collect(Number.model_validate(entry) for entry in load_json(frozen)["numbers"])
            except ValidationError as error:
                raise DataError(f"{frozen}: {first_complaint(error)}") from error
            except (TypeError, KeyError) as error:
                raise DataError(f"{frozen} is not a numbers registry") from error
        records = load_records(folder)
        if not records:
            raise DataError(f"no numbers in {folder}", hint="run `make study` first")
        return cls.collect(number for record in records for number in record.numbers)

    def write(self, path: Path) -> None:
        """Write ``numbers.json``, in the order of recording."""
        entries = [number.model_dump(mode="json") for number in self.numbers.values()]
        write_json(path, {"numbers": entries})

    def get(self, key: str) -> Number:
        """Return the number of a key.

        Raises
        ------
        InputError
            Naming the nearest key.
        """
        try:
            return self.numbers[key]
        except KeyError:
            near = get_close_matches(key, self.numbers, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "no recorded key is similar"
            raise InputError(f"no number {key!r} is recorded", hint=hint) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all numbers."""
        return sha256_json([number.model_dump(mode="json") for number in self.numbers.values()])

    def __contains__(self, key: object) -> bool:
        return key in self.numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)
