"""Classes of a task in training: labels by part, one softmax of K, areas under the curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from radtransfer.errors import InputError, RunError

if TYPE_CHECKING:
    from radtransfer.data.splits import Split
    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import RunSpec

PARTS = ("train", "validation", "test")


def class_options(classes: Sequence[str]) -> dict[str, Any]:
    """What a run's spec says of its classes: the names where there are more than two."""
    return {"classes": list(classes)} if len(classes) > 2 else {}


def labels_by_part(dataset: CuratedDataset, run: RunSpec, split: Split) -> dict[str, NDArray[np.int64]]:
    """Labels of the images of each part, in the order of the part.

    Parameters
    ----------
    dataset : CuratedDataset
    run : RunSpec
        Names the task.
    split : Split

    Returns
    -------
    dict of str to array of int64
        Numbers of classes.

    Raises
    ------
    InputError
        If a label is not known.
    RunError
        If a part has no image of a class.
    """
    known = dataset.cohort.labels(run.task)
    classes = dataset.cohort.classes_of(run.task)
    labels = {}
    for part in PARTS:
        values = known.iloc[dataset.index(split.ids(part))]
        if values.isna().any():
            raise InputError(
                f"images of {dataset.folder} have no label for {run.task}", hint="curate for that task"
            )
        labels[part] = values.to_numpy(dtype=np.int64)
        absent = [name for number, name in enumerate(classes) if number not in labels[part]]
        if absent:
            raise RunError(
                f"{run.model}, fold {run.fold + 1}: the {part} part has no image of class {absent[0]!r}",
                hint="use fewer folds or a larger validation_fraction",
            )
    return labels


def mean_auc(labels: NDArray[np.integer[Any]], scores: NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve; of K > 2 classes the mean of each against all others.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Numbers of classes.
    scores : array of float, shape (n, K)
        Higher means the class is more likely; rows need not sum to 1.
    """
    n_classes = scores.shape[1]
    if n_classes == 2:
        return float(roc_auc_score(labels, scores[:, 1]))
    return float(np.mean([roc_auc_score(labels == k, scores[:, k]) for k in range(n_classes)]))
