"""Tasks of several classes: labels by part, areas under the curve, and the predictions table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from radtransfer.data.cohort import Cohort
from radtransfer.errors import InputError, RunError
from radtransfer.training.classes import class_options, labels_by_part, mean_auc
from radtransfer.training.runs import PREDICTION_COLUMNS, RunSpec, RunStore, predictions_frame, predictions_of

KINDS = ("glioma", "meningioma", "pituitary")


def run(**changes: object) -> RunSpec:
    values = {
        "recipe": 2,
        "kind": "network",
        "model": "vgg16_frozen",
        "task": "tumour",
        "dataset_digest": "d",
        "folds_digest": "f",
        "fold": 0,
        "seed": 1,
    }
    return RunSpec.model_validate(values | changes)


def table(**changes: object) -> pd.DataFrame:
    values = {
        "image_ids": ["a", "b"],
        "patient_ids": ["p", "q"],
        "part": ["validation", "test"],
        "labels": [2, 0],
        "scores": [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]],
        "classes": KINDS,
    }
    return predictions_frame(run(), **(values | changes))  # type: ignore[arg-type]


def test_each_class_has_its_row() -> None:
    frame = table()
    assert tuple(frame.columns) == PREDICTION_COLUMNS
    assert frame["image_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert frame["patient_id"].tolist() == ["p"] * 3 + ["q"] * 3
    assert frame["part"].tolist() == ["validation"] * 3 + ["test"] * 3
    assert frame["target"].tolist() == [*KINDS, *KINDS]
    assert frame["label"].tolist() == [0, 0, 1, 1, 0, 0]
    assert frame["score"].tolist() == [0.1, 0.2, 0.7, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("scores", "classes"), [([0.7, 0.2], None), ([[0.3, 0.7], [0.8, 0.2]], ("no tumour", "tumour"))]
)
def test_a_binary_task_has_one_row_an_image(scores: list, classes: tuple[str, ...] | None) -> None:
    frame = table(labels=[1, 0], scores=scores, classes=classes)
    assert frame["target"].tolist() == ["tumour", "tumour"]
    assert frame["label"].tolist() == [1, 0]
    assert frame["score"].tolist() == [0.7, 0.2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [3, 0]}, r"labels \[0, 3\] do not fit 2 images and 3 classes"),
        ({"scores": [[0.5, 0.5], [0.5, 0.5]]}, r"shape \(2, 2\)"),
        ({"scores": [[0.1, 0.2, np.nan], [0.5, 0.25, 0.25]]}, "not finite, first for image a"),
        ({"image_ids": ["a", "a"], "part": "test"}, "image a has two scores"),
    ],
)
def test_wrong_scores_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        table(**changes)


def test_a_record_keeps_all_classes_of_an_image_or_none(tmp_path: Path) -> None:
    store, frame = RunStore(tmp_path), table()
    for broken in (frame.drop(index=1), frame.assign(label=[0, 1, 1, 1, 0, 0])):
        with pytest.raises(RunError, match="image a is not of one class, with a score of each of 3"):
            store.write(run(), broken)
    record = store.write(run(), frame)
    pd.testing.assert_frame_equal(predictions_of([record]), frame, check_dtype=False)


def test_mean_auc_is_that_of_each_class_against_the_others() -> None:
    scores = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    # class 0: both of its two images above or below the others in 3 of 4 pairs; class 1: its image
    # .2 against .1, .5, .1; class 2: highest
    assert mean_auc(np.array([0, 0, 1, 2]), scores) == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert mean_auc(np.array([0, 1, 1]), np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])) == 0.5


def test_only_more_than_two_classes_are_named_in_a_spec() -> None:
    assert class_options(("no tumour", "tumour")) == {}
    assert class_options(KINDS) == {"classes": list(KINDS)}


def dataset(labels: list[int | None]) -> SimpleNamespace:
    ids = [f"i{n}" for n in range(len(labels))]
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": ids,
            "group_id": ids,
            "dataset": "toy",
            "modality": "mri",
            "path": ids,
            "age_years": None,
            "sex": None,
            "view": None,
            "site": None,
            "label_tumour": pd.array(labels, dtype="Int64"),
        }
    )
    cohort = Cohort(frame, "toy", ("tumour",), {"tumour": KINDS})
    return SimpleNamespace(
        folder=Path("toy"),
        cohort=cohort,
        index=lambda image_ids: np.array([ids.index(image_id) for image_id in image_ids]),
    )


def split(n: int) -> SimpleNamespace:
    bounds = {"train": (0, 3), "validation": (3, 6), "test": (6, n)}
    return SimpleNamespace(ids=lambda part: tuple(f"i{k}" for k in range(*bounds[part])))


def test_labels_come_by_part() -> None:
    labels = labels_by_part(dataset([2, 1, 0, 0, 1, 2, 1, 2, 0]), run(), split(9))  # type: ignore[arg-type]
    assert {part: values.tolist() for part, values in labels.items()} == {
        "train": [2, 1, 0],
        "validation": [0, 1, 2],
        "test": [1, 2, 0],
    }


def test_a_part_without_a_class_or_a_label_is_refused() -> None:
    with pytest.raises(
        RunError, match="vgg16_frozen, fold 1: the validation part has no image of class 'meningioma'"
    ):
        labels_by_part(dataset([2, 1, 0, 0, 0, 2, 1, 2, 0]), run(), split(9))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no label for tumour \(curate"):
        labels_by_part(dataset([2, 1, 0, 0, 1, 2, 1, 2, None]), run(), split(9))  # type: ignore[arg-type]
