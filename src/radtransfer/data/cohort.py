"""The cohort: one row per image, its schema, who is in it, and who is not and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from radtransfer.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandera.pandas as pa
    from pandera.errors import SchemaErrors

LABEL = "label_"
"""Begins the name of every label column."""

EXCLUSION = "exclusion_"
"""Begins the name of a column that says why an image takes no part in a task."""


@cache
def cohort_schema() -> pa.DataFrameSchema:
    """Columns of every cohort; more are allowed. Unknown is null, never a guess.

    ``group_id`` ties images together that may not be separated although their patients differ, or are
    unknown (duplicates, series). ``path`` is relative to the dataset's raw folder; ``frame`` is the slice or
    frame in that file. ``exclusion_<task>`` is the reason why an image takes no part in a task although its
    label may be known. ``official_split`` and ``official_fold`` are what the dataset's authors propose.
    ``slice_fraction`` is the place in the series, 0 to 1. Boxes are in pixels of the original.
    """
    # not at the top: processes that decode images load this module with their layout, and should start fast
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "image_id": pa.Column(str, pa.Check.str_length(min_value=1), unique=True),
            "patient_id": pa.Column(str, pa.Check.str_length(min_value=1)),
            "group_id": pa.Column(str, pa.Check.str_length(min_value=1)),
            "dataset": pa.Column(str, pa.Check.str_length(min_value=1)),
            "modality": pa.Column(str, pa.Check.str_length(min_value=1)),
            "path": pa.Column(str, pa.Check.str_length(min_value=1)),
            "age_years": pa.Column("Float64", pa.Check.in_range(0, 120), nullable=True),
            "sex": pa.Column(str, pa.Check.isin(["F", "M"]), nullable=True),
            "view": pa.Column(str, nullable=True),
            "site": pa.Column(str, nullable=True),
            f"^{LABEL}[a-z0-9_]+$": pa.Column("Int64", pa.Check.ge(0), nullable=True, regex=True),
            f"^{EXCLUSION}[a-z0-9_]+$": pa.Column(str, nullable=True, required=False, regex=True),
            "official_split": pa.Column(
                str, pa.Check.isin(["train", "validation", "test"]), nullable=True, required=False
            ),
            "official_fold": pa.Column("Int64", pa.Check.ge(0), nullable=True, required=False),
            "slice_fraction": pa.Column("Float64", pa.Check.in_range(0, 1), nullable=True, required=False),
            "frame": pa.Column("Int64", pa.Check.ge(0), nullable=True, required=False),
            **{
                f"bbox_{side}": pa.Column("Float64", nullable=True, required=False)
                for side in ("x", "y", "width", "height")
            },
            **{
                name: pa.Column("Int64", pa.Check.gt(0), nullable=True, required=False)
                for name in ("file_bytes", "height", "width")
            },
        },
        strict=False,
        coerce=True,
    )


@dataclass(frozen=True)
class Cohort:
    """Images of a dataset with what is known of their patients.

    Attributes
    ----------
    frame : DataFrame
        One row per image, columns of :func:`cohort_schema`, index 0 to n - 1.
    dataset : str
        Identifier in the manifest.
    tasks : tuple of str
        Tasks ``t`` with a column ``label_t``.
    classes : mapping of str to tuple of str
        Names of a task's classes in the order of the label's values 0, 1, ... A task that is not named here
        has the classes ``no <task>`` and ``<task>``.

    Raises
    ------
    InputError
        If the frame breaks the schema; the message names column and value.
    """

    frame: pd.DataFrame
    dataset: str
    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        from pandera.errors import SchemaErrors

        for task, names in self.classes.items():
            if task not in self.tasks:
                raise unknown_name("task", task, self.tasks)
            if len(names) < 2 or len(set(names)) < len(names):
                raise InputError(
                    f"cohort {self.dataset}: classes of {task} are {', '.join(names)}",
                    hint="name two or more different classes",
                )
        for task in self.tasks:
            if LABEL + task not in self.frame:
                raise InputError(f"cohort {self.dataset}: there is no column {LABEL + task!r}")
        try:
            frame = cohort_schema().validate(self.frame.reset_index(drop=True), lazy=True)
        except SchemaErrors as error:
            raise InputError(f"cohort {self.dataset}: {_first_failure(error)}") from error
        for task in self.tasks:
            highest = frame[LABEL + task].max()
            if pd.notna(highest) and highest >= (n_classes := len(self.classes_of(task))):
                raise InputError(
                    f"cohort {self.dataset}: label {highest} of {task} is none of 0 to {n_classes - 1}"
                )
        object.__setattr__(self, "classes", MappingProxyType(dict(self.classes)))
        object.__setattr__(self, "frame", frame)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.frame)

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.frame["patient_id"].nunique())

    def labels(self, task: str) -> pd.Series[Any]:
        """Labels of a task, one per image: the number of its class, or null."""
        if task not in self.tasks:
            raise unknown_name("task", task, self.tasks)
        return self.frame[LABEL + task]

    def classes_of(self, task: str) -> tuple[str, ...]:
        """Names of a task's classes, in the order of the label's values."""
        if task not in self.tasks:
            raise unknown_name("task", task, self.tasks)
        return self.classes.get(task, (f"no {task}", task))

    def patients_in_both_classes(self, task: str) -> tuple[str, ...]:
        """Patients with images of several classes; a split by image would separate those images."""
        classes = self.labels(task).groupby(self.frame["patient_id"]).nunique()
        return tuple(sorted(classes.index[classes > 1]))

    def keep(self, rows: Any) -> Cohort:
        """Cohort of the rows where a boolean mask holds."""
        return replace(self, frame=self.frame.loc[np.asarray(rows, dtype=bool)])

    def assign(self, **columns: Any) -> Cohort:
        """Cohort with columns replaced or added."""
        return replace(self, frame=self.frame.assign(**columns))


def _first_failure(error: SchemaErrors) -> str:
    first = error.failure_cases.iloc[0]
    column = first["column"] if isinstance(first["column"], str) else first["failure_case"]
    if first["check"] == "column_in_dataframe":
        return f"there is no column {first['failure_case']!r}"
    value = first["failure_case"]
    value = value.item() if isinstance(value, np.generic) else value
    where = "" if pd.isna(first["index"]) else f" in row {first['index']}"
    return f"column {column!r} has {value!r}{where}, which breaks {first['check']}"


@dataclass(frozen=True)
class FlowStep:
    """An exclusion.

    Attributes
    ----------
    reason : str
    n_images : int
        Images excluded.
    n_patients : int
        Patients excluded: those with no image left afterwards.
    """

    reason: str
    n_images: int
    n_patients: int


@dataclass(frozen=True)
class FlowCount:
    """Images and patients at one point of the flow."""

    n_images: int
    n_patients: int


@dataclass(frozen=True)
class Flow:
    """Who was left out and why, in order: the numbers of a STARD flow diagram.

    Attributes
    ----------
    start : FlowCount
        Before any exclusion.
    steps : tuple of FlowStep
        In the order in which they were applied; an image is counted at the first that excludes it.
    final : FlowCount
        After all of them.
    """

    start: FlowCount
    steps: tuple[FlowStep, ...]
    final: FlowCount

    def __post_init__(self) -> None:
        for unit in ("n_images", "n_patients"):
            left = getattr(self.start, unit) - sum(getattr(step, unit) for step in self.steps)
            if left != getattr(self.final, unit):
                raise ValueError(f"the flow's {unit} do not add up: {left}, not {getattr(self.final, unit)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Flow:
        """Read what :meth:`to_dict` made."""
        return cls(
            FlowCount(**values["start"]),
            tuple(FlowStep(**step) for step in values["steps"]),
            FlowCount(**values["final"]),
        )

    def then(self, other: Flow) -> Flow:
        """Both flows, one after the other."""
        if self.final != other.start:
            raise ValueError("the second flow does not begin where the first ends")
        return Flow(self.start, self.steps + other.steps, other.final)


def exclude(cohort: Cohort, rules: Iterable[tuple[str, Any]]) -> tuple[Cohort, Flow]:
    """Leave images out, one reason after the other, and count.

    Parameters
    ----------
    cohort : Cohort
    rules : iterable of (str, mask)
        Reason, and which rows of ``cohort`` it excludes.

    Returns
    -------
    Cohort
        What is left.
    Flow
        A step for every rule, also for those that exclude nobody.

    Raises
    ------
    InputError
        If nobody is left.
    """
    start = count = FlowCount(cohort.n_images, cohort.n_patients)
    patients = cohort.frame["patient_id"]
    left = np.ones(cohort.n_images, dtype=bool)
    steps = []
    for reason, excluded in rules:
        left &= ~np.asarray(excluded, dtype=bool)
        after = FlowCount(int(left.sum()), int(patients[left].nunique()))
        steps.append(FlowStep(reason, count.n_images - after.n_images, count.n_patients - after.n_patients))
        count = after
    if not count.n_images:
        told = ", ".join(f"{step.reason}: {step.n_images}" for step in steps if step.n_images)
        raise InputError(f"cohort {cohort.dataset}: no image is left of {start.n_images} ({told})")
    return cohort.keep(left), Flow(start, tuple(steps), count)


def select(cohort: Cohort, *, task: str, age_min: float = 18, age_max: float = 80) -> tuple[Cohort, Flow]:
    """Apply the inclusion criteria: the task's own, known label, and an adult where the age is known.

    Parameters
    ----------
    cohort : Cohort
    task : str
        One of ``cohort.tasks``.
    age_min, age_max : float
        Youngest and oldest age that is included, years. Patients of unknown age are included.

    Returns
    -------
    Cohort
        Images that are left.
    Flow
        Images and patients excluded, by reason.

    Raises
    ------
    InputError
        If the task is unknown or nobody is left.
    """
    label, age = cohort.labels(task), cohort.frame["age_years"]
    reasons = cohort.frame.get(EXCLUSION + task, pd.Series(index=label.index, dtype=str))
    return exclude(
        cohort,
        [
            *((reason, reasons == reason) for reason in sorted(reasons.dropna().unique())),
            (f"{task} label unknown", label.isna()),
            (f"age below {age_min:g} years", (age < age_min).fillna(False)),
            (f"age above {age_max:g} years", (age > age_max).fillna(False)),
        ],
    )


def table1(cohort: Cohort, *, task: str) -> pd.DataFrame:
    """Describe a cohort by class: the paper's Table 1.

    Parameters
    ----------
    cohort : Cohort
    task : str
        One of ``cohort.tasks``.

    Returns
    -------
    DataFrame of str
        Rows: images, patients, age (median and quartiles, years), each sex, view and site with its
        share of all images of the class, and what is missing. A column for every class and ``all``. A
        patient with images of several classes counts in each of their columns, once in ``all``.
    """
    label = cohort.labels(task)
    classes = {name: (label == value).fillna(False) for value, name in enumerate(cohort.classes_of(task))}
    classes["all"] = label.notna()
    columns = {
        name: _describe(cohort.frame[rows.fillna(False)], cohort.frame) for name, rows in classes.items()
    }
    return pd.DataFrame(columns).rename_axis("characteristic")


def _describe(part: pd.DataFrame, whole: pd.DataFrame) -> dict[str, str]:
    def share(mask: pd.Series[Any]) -> str:
        n = int(mask.sum())
        return f"{n} ({n / len(part):.0%})" if len(part) else "0"

    rows = {"images": str(len(part)), "patients": str(part["patient_id"].nunique())}
    age = part["age_years"].dropna().astype(float)
    low, median, high = age.quantile([0.25, 0.5, 0.75]) if len(age) else (np.nan,) * 3
    rows["age, years: median (quartiles)"] = (
        f"{median:.0f} ({low:.0f} to {high:.0f})" if len(age) else "unknown"
    )
    for column in ("sex", "view", "site"):
        for value in sorted(whole[column].dropna().unique()):
            rows[f"{column}: {value}"] = share(part[column] == value)
    for column, name in (("age_years", "age"), ("sex", "sex"), ("view", "view")):
        if whole[column].isna().any():
            rows[f"{name} missing"] = share(part[column].isna())
    return rows
