"""Validation and test images of one model, with a probability for every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.errors import InputError, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINARY = ("negative", "positive")


@dataclass(frozen=True)
class Part:
    """Images of the validation or the test parts of all folds, in the order of their identifiers.

    Attributes
    ----------
    frame : DataFrame
        image_id, patient_id, fold and label (number of the class).
    probability : ndarray of float64, shape (n_images, n_classes)
        Rows add up to 1.
    """

    frame: pd.DataFrame
    probability: NDArray[np.float64]

    @property
    def label(self) -> NDArray[np.int64]:
        """Number of each image's class."""
        return self.frame["label"].to_numpy(dtype=np.int64)

    @property
    def patient(self) -> NDArray[np.object_]:
        """Patient of each image."""
        return self.frame["patient_id"].to_numpy(dtype=object)

    @property
    def fold(self) -> NDArray[np.int64]:
        """Fold of each image."""
        return self.frame["fold"].to_numpy(dtype=np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Patients and images."""
        return {"patients": int(self.frame["patient_id"].nunique()), "images": len(self.frame)}


@dataclass(frozen=True)
class Scored:
    """Predictions of one model in one task.

    Attributes
    ----------
    model, task : str
    classes : tuple of str
        Names in the order of their numbers.
    validation, test : Part
    """

    model: str
    task: str
    classes: tuple[str, ...]
    validation: Part
    test: Part


@dataclass(frozen=True)
class Question:
    """One class against the rest, as a binary task.

    Attributes
    ----------
    model, task, positive : str
        ``positive`` names the class that is looked for.
    validation, test : DataFrame
        image_id, patient_id, fold, label (1 for that class) and score (its probability).
    """

    model: str
    task: str
    positive: str
    validation: pd.DataFrame
    test: pd.DataFrame


def scored(predictions: pd.DataFrame, model: str) -> Scored:
    """Arrange the predictions of one model.

    Parameters
    ----------
    predictions : DataFrame
        Prediction table of one task (:data:`radtransfer.training.runs.PREDICTION_COLUMNS`). With more than
        two classes each image has a row for every class, named by ``target``.
    model : str

    Returns
    -------
    Scored

    Raises
    ------
    InputError
        If there is no such model, a score is no probability, or an image lacks the score of a class.
    """
    rows = predictions.loc[predictions["model"] == model]
    if rows.empty:
        raise unknown_name("model", model, predictions["model"].unique())
    if not rows["score"].between(0, 1).all():
        raise InputError(f"the scores of {model!r} are no probabilities", hint="calibrate the model first")
    targets = tuple(map(str, predictions["target"].unique()))
    parts = (_part(rows.loc[rows["part"] == name], targets) for name in ("validation", "test"))
    classes = targets if len(targets) > 1 else BINARY
    return Scored(model, str(rows["task"].iloc[0]), classes, *parts)


def question(case: Scored, positive: str | None = None) -> Question:
    """Class that is looked for, against the rest.

    Parameters
    ----------
    case : Scored
    positive : str, optional
        Name of a class; in a binary task the positive one by default.

    Raises
    ------
    InputError
        If there is no such class, or a task with several classes is asked about none of them.
    """
    if positive is None and len(case.classes) == 2:
        positive = case.classes[1]
    if positive not in case.classes:
        raise unknown_name("class", str(positive), case.classes)
    number = case.classes.index(positive)
    return Question(
        case.model,
        case.task,
        positive,
        *(
            part.frame.assign(
                label=(part.label == number).astype(np.int64), score=part.probability[:, number]
            )
            for part in (case.validation, case.test)
        ),
    )


def _part(rows: pd.DataFrame, targets: tuple[str, ...]) -> Part:
    keys = ["fold", "image_id"]
    table, label = (rows.pivot(index=keys, columns="target", values=name) for name in ("score", "label"))
    if table.empty or table.isna().to_numpy().any() or set(table.columns) != set(targets):
        raise InputError(f"an image lacks the score of a class; {', '.join(targets)} are wanted")
    scores = table[list(targets)].to_numpy(dtype=float)
    truth = label[list(targets)].to_numpy(dtype=np.int64)
    patient = rows.drop_duplicates(keys).set_index(keys)["patient_id"].astype(str)
    frame = table.index.to_frame(index=False)[["image_id", "fold"]].assign(
        patient_id=patient.loc[table.index].to_numpy(),
        label=truth[:, 0] if len(targets) == 1 else truth.argmax(axis=1),
    )
    if len(targets) == 1:
        return Part(frame, np.column_stack([1 - scores[:, 0], scores[:, 0]]))
    return Part(frame, scores / scores.sum(axis=1, keepdims=True))
