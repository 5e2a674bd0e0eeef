"""Predictions of a model are arranged by image, with a probability for every class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_predictions import binary_predictions, class_predictions

from radtransfer.errors import InputError
from radtransfer.utility.cases import question, scored


def test_binary_task() -> None:
    table = binary_predictions(n_patients=20, seed=1)
    case = scored(table.sample(frac=1, random_state=0), "network")
    assert case.classes == ("negative", "positive")
    test = table.loc[table["part"] == "test"].set_index("image_id")
    assert set(case.test.frame["image_id"]) == set(test.index)
    given = test.loc[case.test.frame["image_id"]]
    np.testing.assert_allclose(case.test.probability[:, 1], given["score"])
    np.testing.assert_array_equal(case.test.label, given["label"])
    np.testing.assert_array_equal(case.test.patient, given["patient_id"])
    assert case.test.counts == {"patients": test["patient_id"].nunique(), "images": len(test)}
    asked = question(case)
    assert asked.positive == "positive"
    np.testing.assert_array_equal(asked.test["score"], case.test.probability[:, 1])


def test_one_of_three_classes_against_the_rest() -> None:
    table = class_predictions(n_patients=30, seed=2)
    case = scored(table.sample(frac=1, random_state=0), "network")
    assert case.classes == ("glioma", "meningioma", "pituitary")
    np.testing.assert_allclose(case.test.probability.sum(axis=1), 1)
    rows = table.query("part == 'test' and target == 'meningioma'").set_index("image_id")
    asked = question(case, "meningioma")
    given = rows.loc[asked.test["image_id"]]
    np.testing.assert_array_equal(asked.test["label"], given["label"])
    np.testing.assert_allclose(asked.test["score"], given["score"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda table: table.assign(score=table["score"] * 3), "no probabilities"),
        (lambda table: table.iloc[1:], "lacks the score of a class"),
        (lambda table: table.assign(model="other"), "unknown model 'network'"),
    ],
)
def test_what_is_refused(spoil: object, said: str) -> None:
    table = class_predictions(n_patients=30, seed=2)
    with pytest.raises(InputError, match=said):
        scored(spoil(table), "network")  # type: ignore[operator]


def test_a_task_of_several_classes_has_to_be_asked_about_one() -> None:
    case = scored(class_predictions(n_patients=30, seed=2), "network")
    with pytest.raises(InputError, match="unknown class"):
        question(case)


def test_columns_of_the_phantom_table() -> None:
    from radtransfer.training.runs import PREDICTION_COLUMNS

    assert set(binary_predictions(n_patients=5, seed=0)) <= set(PREDICTION_COLUMNS)
    assert isinstance(binary_predictions(n_patients=5, seed=0), pd.DataFrame)
