"""A folder per class: images in any depth, for one's own data without a table.

``normal/p01/a.png``, ``pneumonia/p02/b.png``, and with the parts of a split above the classes
``train/normal/...``, ``test/pneumonia/...``.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from radtransfer.data.cohort import EXCLUSION, LABEL
from radtransfer.data.formats import NO_OPTIONS, common
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey


def names_patient(pattern: str) -> str:
    """Pass a regular expression that has a group ``patient``; ValueError for any other."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if "patient" not in groups:
        raise ValueError(f"{pattern!r} has no group (?P<patient>...)")
    return pattern


class Options(BaseModel):
    """What a manifest entry says of a folder.

    Attributes
    ----------
    task : str
        Name of the task.
    classes : tuple of str
        Names of the classes' folders, in the order of the label's values 0, 1, ...; of two the second is the
        disease. Images below none of them are an error.
    excluded : dict of str to str
        Further folders, whose images take no part in the task, each with the reason.
    patient : str
        Regular expression, searched for in an image's path, whose group ``patient`` tells patients apart.
        Without it patients are unknown, and each image counts as its own.
    parts : dict of str to str
        Folders that are parts of a split (train, validation or test), if the usual names are not used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    classes: tuple[str, ...] = Field(min_length=2)
    excluded: dict[str, str] = {}
    patient: Annotated[str, AfterValidator(names_patient)] | None = None
    parts: dict[str, common.Part] = {}


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of all images below a folder.

    Parameters
    ----------
    root : Path
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        ``image_id`` is the path below the folder. ``official_split`` is known where a folder of the path is
        named as a part of a split.

    Raises
    ------
    InputError
        If an option is wrong.
    DataError
        If there are no images, or an image is in no class or in two, in two parts, or names no patient.
    """
    chosen = common.parse_options(Options, options, "folder")
    paths = common.image_files(root)
    if not paths:
        raise DataError(f"{root} has no images", hint=f"known are {', '.join(common.IMAGE_SUFFIXES)}")
    parts = chosen.parts or common.SPLIT_NAMES
    known = {*chosen.classes, *chosen.excluded}
    rows = []
    for path in paths:
        folders = PurePosixPath(path).parent.parts
        name = _only(path, "class", [folder for folder in folders if folder in known], sorted(known))
        split = [folder for folder in folders if folder not in known and folder.lower() in parts]
        patient = patient_of(chosen.patient, path)
        rows.append(
            {
                "image_id": path,
                "patient_id": patient,
                "group_id": patient,
                "path": path,
                "official_split": parts[_only(path, "part", split, []).lower()] if split else None,
                LABEL + chosen.task: chosen.classes.index(name) if name in chosen.classes else None,
                EXCLUSION + chosen.task: chosen.excluded.get(name),
            }
        )
    kinds = {LABEL + chosen.task: "Int64", EXCLUSION + chosen.task: "str", "official_split": "str"}
    names = tuple(common.class_name(name) for name in chosen.classes)
    return common.cohort(pd.DataFrame(rows).astype(kinds), root, (chosen.task,), {chosen.task: names})


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say so if patients are unknown."""
    chosen = common.parse_options(Options, options, "folder")
    return () if chosen.patient else (common.NO_PATIENTS,)


def _only(path: str, what: str, found: list[str], known: list[str]) -> str:
    if len(set(found)) != 1:
        told = f"is in no {what}" if not found else f"is in two: {', '.join(sorted(set(found)))}"
        raise DataError(f"{path} {told}", hint=f"{what} folders: {', '.join(known)}" if known else "")
    return found[0]


def patient_of(pattern: str | None, path: str) -> str:
    """Patient that a path names by a pattern; without pattern the path itself."""
    if pattern is None:
        return path
    match = re.search(pattern, path)
    if match is None or not match["patient"]:
        raise DataError(f"{path} names no patient", hint=f"the option patient is {pattern}")
    return match["patient"]
