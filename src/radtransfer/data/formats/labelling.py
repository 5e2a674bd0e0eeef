"""Labels for files that carry none: a table with a key, or the folders that the files lie in."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from radtransfer.data.cohort import LABEL
from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats.common import class_name
from radtransfer.data.formats.table import Label, Separator, Task
from radtransfer.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LabelTable(BaseModel):
    """A table of labels beside the files.

    Attributes
    ----------
    table : str
        Its name in the folder.
    key : str
        Column that names what a label is for; what it holds is the layout's to say.
    frame : str, optional
        Column of slices or frames, from 0, if they are labelled one by one.
    separator : str
        Comma, semicolon or tab.
    labels : dict of str to Label
        For each task its column, as in :mod:`radtransfer.data.formats.table`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    key: str
    frame: str | None = None
    separator: Separator = ","
    labels: dict[Task, Label] = Field(min_length=1)


class ClassFolders(BaseModel):
    """Folders that are classes, in any depth.

    Attributes
    ----------
    task : str
    classes : tuple of str
        Names of the folders, in the order of the label's values 0, 1, ...; of two the second is the
        disease. A file below none of them has no known label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    classes: tuple[str, ...] = Field(min_length=2)


class LabelledFiles(BaseModel):
    """What manifest entries of files without labels have in common.

    Attributes
    ----------
    labels : LabelTable, optional
        Table of labels.
    folders : ClassFolders, optional
        Folders that are classes.
    window : tuple of float, optional
        Centre and width, for instance in HU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: LabelTable | None = None
    folders: ClassFolders | None = None
    window: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _has_labels(self) -> LabelledFiles:
        if self.labels is None and self.folders is None:
            raise ValueError("name a table in labels, or classes in folders")
        if self.window is not None and self.window[1] <= 0:
            raise ValueError("the width of the window is not positive")
        return self


def attach_labels(
    frame: pd.DataFrame, root: Path, by: str, table: LabelTable | None, folders: ClassFolders | None
) -> tuple[pd.DataFrame, tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Add label columns to the rows of a cohort.

    Parameters
    ----------
    frame : DataFrame
        With ``path``, ``frame`` and the column ``by``.
    root : Path
        Folder of the table.
    by : str
        Column that the table's keys are values of. Rows without key in the table have no known label.
    table, folders
        Either, both or none.

    Returns
    -------
    DataFrame
        With a column ``label_<task>`` for each task.
    tuple of str
        Tasks.
    dict of str to tuple of str
        Names of the classes of each task.

    Raises
    ------
    InputError
        If both define a task, or no key of the table is found among the rows.
    DataError
        If the table is broken, has a key twice or an unknown label, or a file lies in the folders of two
        classes.
    """
    labels: dict[str, pd.Series[Any]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    if table is not None:
        labels |= _of_table(frame, root / table.table, by, table)
        classes |= {task: label.classes for task, label in table.labels.items() if label.classes}
    if folders is not None:
        if folders.task in labels:
            raise InputError(
                f"the task {folders.task} is labelled by a table and by folders", hint="choose one"
            )
        labels[folders.task] = frame["path"].map(lambda path: _of_folder(path, folders)).astype("Int64")
        classes[folders.task] = folders.classes
    columns = {LABEL + task: column for task, column in labels.items()}
    named = {task: tuple(map(class_name, names)) for task, names in classes.items()}
    return frame.assign(**columns), tuple(labels), named


def _of_table(frame: pd.DataFrame, path: Path, by: str, spec: LabelTable) -> dict[str, pd.Series[Any]]:
    columns = [spec.key, *([spec.frame] if spec.frame else [])]
    wanted = [*columns, *(label.column for label in spec.labels.values())]
    table = read_delimited(path, required=wanted, separator=spec.separator)
    if table[columns].isna().any(axis=None):
        raise DataError(f"{path}, line {table.index[table[columns].isna().any(axis=1)][0]}: the key is empty")
    if table.duplicated(columns).any():
        raise DataError(f"{path}, line {table.index[table.duplicated(columns)][0]}: the key is there twice")
    keys: Any = table[spec.key]
    rows: Any = frame[by]
    if spec.frame:
        keys = list(zip(table[spec.key], table[spec.frame], strict=True))
        rows = pd.Series(list(zip(frame[by], frame["frame"].astype(str), strict=True)), index=frame.index)
    found = {
        task: _meanings(path, table[label.column], label.meaning).set_axis(
            pd.Index(keys, tupleize_cols=False)
        )
        for task, label in spec.labels.items()
    }
    if not set(keys) & set(rows):
        raise InputError(
            f"{path}: no value of {', '.join(columns)} belongs to a file",
            hint=f"expected values like {rows.iloc[0]!r}",
        )
    return {task: rows.map(values.to_dict()).astype("Int64") for task, values in found.items()}


def _meanings(path: Path, cells: pd.Series[Any], meaning: Mapping[str, int | None]) -> pd.Series[Any]:
    unknown = cells[cells.notna() & ~cells.isin(list(meaning))]
    if len(unknown):
        raise DataError(
            f"{path}, line {unknown.index[0]}: {cells.name} is {unknown.iloc[0]!r}",
            hint=f"the options know {', '.join(map(repr, meaning))}",
        )
    return cells.map(dict(meaning)).astype("Int64")


def _of_folder(path: str, folders: ClassFolders) -> int | None:
    found = {part for part in PurePosixPath(path).parent.parts if part in folders.classes}
    if len(found) > 1:
        raise DataError(f"{path} lies in the folders of two classes: {', '.join(sorted(found))}")
    return folders.classes.index(found.pop()) if found else None
