"""A table of paths and labels beside the images: for one's own data, columns named by options.

What a cell says is never guessed: an empty cell and an uncertain label (-1, as in CheXpert) are unknown, an
age that is none and a sex other than F and M too, and are told of by :func:`findings`. A label or part that
the options do not name is an error, and so is a path that leaves the folder or leads nowhere.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from radtransfer.data.cohort import LABEL
from radtransfer.data.delimited import read_delimited, separator_of
from radtransfer.data.demographics import parse_age, parse_sex
from radtransfer.data.formats import NO_OPTIONS, common
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

SEPARATORS = (",", ";", "\t")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")

BINARY: dict[str, int | None] = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": None, "-1.0": None}
"""What cells of a binary label mean if the options do not say; -1 is uncertain."""

Task = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Separator = Literal[",", ";", "\t"]


class Label(BaseModel):
    """Column of a task's labels.

    Attributes
    ----------
    column : str
    values : dict of str to int or None
        What a cell means: 0, 1, ..., or null for unknown. By default :data:`BINARY`, or with classes their
        names.
    classes : tuple of str
        Names of the classes, in the order of the values; may be left out for two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: dict[str, Annotated[int, Field(ge=0)] | None] = {}
    classes: tuple[str, ...] = ()

    @property
    def meaning(self) -> Mapping[str, int | None]:
        """What cells mean."""
        return self.values or {name: i for i, name in enumerate(self.classes)} or BINARY


class Options(BaseModel):
    """What a manifest entry says of a table.

    Attributes
    ----------
    table : str
        Name of the table in the folder; needed only if there are several.
    separator : str
        Comma, semicolon or tab; found out from the header if it is not given.
    image : str
        Column of paths, relative to the folder.
    folder : str
        Folder that the paths begin in, below the dataset's.
    labels : dict of str to Label
        For each task its column.
    patient, group, age, sex, view, site, split : str
        Columns; what has none is unknown. Ages are years or DICOM's age strings (``058Y``).
    sexes, splits : dict of str to str
        What cells mean, if not F, M, female, male, and train, val, test and their like.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str | None = None
    separator: Separator | None = None
    image: str
    folder: str = ""
    labels: dict[Task, Label] = Field(min_length=1)
    patient: str | None = None
    group: str | None = None
    age: str | None = None
    sex: str | None = None
    sexes: dict[str, Literal["F", "M"]] = {}
    view: str | None = None
    site: str | None = None
    split: str | None = None
    splits: dict[str, common.Part] = {}


class _Read(NamedTuple):
    table: pd.DataFrame
    path: Path
    separator: str


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the rows of a table.

    Parameters
    ----------
    root : Path
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        ``image_id`` is the path. Without a column of patients each image counts as its own.

    Raises
    ------
    InputError
        If an option is wrong.
    DataError
        If the table is broken, a path leaves the folder, occurs twice or leads nowhere, a patient is
        missing, or a label or part is none of those that the options name. The message names the line.
    """
    chosen = common.parse_options(Options, options, "table")
    read = _read(root, chosen)
    table, image = read.table, _paths(root, chosen, read)
    frame = pd.DataFrame({"image_id": image, "path": image, "patient_id": image}, index=table.index)
    if chosen.patient:
        frame["patient_id"] = _complete(read, chosen.patient)
    frame["group_id"] = (
        table[chosen.group].fillna(frame["patient_id"]) if chosen.group else frame["patient_id"]
    )
    for task, label in chosen.labels.items():
        frame[LABEL + task] = _mapped(read, label.column, label.meaning).astype("Int64")
    if chosen.age:
        frame["age_years"] = _understood(table[chosen.age], parse_age).astype("Float64")
    if chosen.sex:
        frame["sex"] = _understood(table[chosen.sex], _sex(chosen)).astype("str")
    for name, column in (("view", chosen.view), ("site", chosen.site)):
        if column:
            frame[name] = table[column]
    if chosen.split:
        parts = _mapped(read, chosen.split, chosen.splits or common.SPLIT_NAMES, fold=not chosen.splits)
        frame["official_split"] = parts.astype("str")
    classes = {
        task: tuple(map(common.class_name, label.classes))
        for task, label in chosen.labels.items()
        if label.classes
    }
    return common.cohort(frame, root, tuple(chosen.labels), classes)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """What the table leaves open, and what of it was not understood and counts as unknown."""
    chosen = common.parse_options(Options, options, "table")
    read = _read(root, chosen)
    told = []
    if chosen.separator is None:
        name = {",": "commas", ";": "semicolons", "\t": "tabs"}[read.separator]
        told.append(f"{read.path.name}: fields are separated by {name}")
    if not chosen.patient:
        told.append(common.NO_PATIENTS)
    parsers: list[tuple[str | None, Callable[[object], Any]]] = [
        (chosen.age, parse_age),
        (chosen.sex, _sex(chosen)),
    ]
    for column, parse in parsers:
        cells = read.table[column].dropna() if column else pd.Series(dtype=str)
        lost = cells[_understood(cells, parse).isna()]
        if len(lost):
            told.append(
                f"{read.path.name}: {len(lost)} of {len(cells)} values of {column} count as unknown, "
                f"first {lost.iloc[0]!r} in line {lost.index[0]}"
            )
    return tuple(told)


def _read(root: Path, chosen: Options) -> _Read:
    path = root / chosen.table if chosen.table else _only_table(root)
    separator = chosen.separator or separator_of(path, SEPARATORS)
    columns = [chosen.image, chosen.patient, chosen.group, chosen.age, chosen.sex, chosen.view, chosen.site]
    columns += [chosen.split, *(label.column for label in chosen.labels.values())]
    table = read_delimited(path, required=[name for name in columns if name], separator=separator)
    if table.empty:
        raise DataError(f"{path} has no rows")
    return _Read(table, path, separator)


def _only_table(root: Path) -> Path:
    tables = sorted(path for path in root.iterdir() if path.name.lower().endswith(TABLE_SUFFIXES))
    if len(tables) != 1:
        raise DataError(f"{root} has {len(tables)} tables", hint="name one in the option table")
    return tables[0]


def _paths(root: Path, chosen: Options, read: _Read) -> pd.Series[str]:
    paths = _complete(read, chosen.image).str.replace("\\", "/", regex=False)
    for line, path in paths.items():
        inside = PurePosixPath(chosen.folder, path)
        if not inside.parts:
            raise DataError(f"{read.path}, line {line}: the path {path!r} names no file")
        if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
            raise DataError(f"{read.path}, line {line}: the path {path!r} leaves the folder")
    paths = paths.map(lambda path: PurePosixPath(chosen.folder, path).as_posix())
    again = paths[paths.duplicated()]
    if len(again):
        lines = paths.index[paths == again.iloc[0]]
        raise DataError(f"{read.path} has {again.iloc[0]} in lines {lines[0]} and {lines[1]}")
    absent = paths[[not (root / path).is_file() for path in paths]]
    if len(absent):
        raise DataError(
            f"{read.path}: {len(absent)} of {len(paths)} images are not there, "
            f"first {absent.iloc[0]} in line {absent.index[0]}",
            hint="the option folder says where paths begin",
        )
    return paths


def _complete(read: _Read, column: str) -> pd.Series[str]:
    cells = read.table[column]
    if cells.isna().any():
        raise DataError(f"{read.path}, line {cells.index[cells.isna()][0]}: {column} is empty")
    return cells


def _mapped(read: _Read, column: str, meaning: Mapping[str, Any], *, fold: bool = False) -> pd.Series[Any]:
    cells = read.table[column].str.lower() if fold else read.table[column]
    unknown = cells[cells.notna() & ~cells.isin(list(meaning))]
    if len(unknown):
        raise DataError(
            f"{read.path}, line {unknown.index[0]}: {column} is {unknown.iloc[0]!r}",
            hint=f"the options know {', '.join(map(repr, meaning))}",
        )
    return cells.map(dict(meaning))


def _sex(chosen: Options) -> Callable[[object], str | None]:
    return (lambda cell: chosen.sexes.get(str(cell))) if chosen.sexes else parse_sex


def _understood(cells: pd.Series[Any], parse: Callable[[object], Any]) -> pd.Series[Any]:
    return cells.map({cell: parse(cell) for cell in cells.dropna().unique()})
