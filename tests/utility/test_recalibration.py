"""Recalibration undoes a planted distortion on images it never saw."""

from __future__ import annotations

import numpy as np
import pytest
from planted_predictions import binary_predictions, class_predictions
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from radtransfer.errors import InputError
from radtransfer.utility.cases import scored
from radtransfer.utility.recalibration import LEAST, measures, pooled, recalibrate


def slope(part: object) -> float:
    found = measures(part, level=0.95)["slope"]  # type: ignore[arg-type]
    assert found is not None
    return found.estimate


def test_platt_undoes_a_linear_distortion_of_the_logit() -> None:
    table = binary_predictions(n_patients=600, seed=3, distort=lambda x: 3 * x + 2)
    case = scored(table, "network")
    before = measures(recalibrate(case, "none"), level=0.95)
    after = measures(recalibrate(case, "sigmoid"), level=0.95)
    assert slope(recalibrate(case, "none")) == pytest.approx(1 / 3, abs=0.05)
    assert after["slope"] is not None
    assert after["slope"].low < 1 < after["slope"].high
    assert after["intercept"] is not None
    assert after["intercept"].low < 0 < after["intercept"].high
    assert after["brier"].estimate < before["brier"].estimate - 0.02  # type: ignore[union-attr]
    # the map is a line in the logit, one for each fold
    part = recalibrate(case, "sigmoid")
    for fold in (0, 1):
        rows = part.fold == fold
        x, y = logit(case.test.probability[rows, 1]), logit(part.probability[rows, 1])
        inside = (abs(x) < 10) & (abs(y) < 10)
        fitted = np.polyfit(x[inside], y[inside], 1)
        np.testing.assert_allclose(np.polyval(fitted, x[inside]), y[inside], atol=1e-5)


def test_temperature_undoes_sharpness_and_keeps_the_decision() -> None:
    case = scored(class_predictions(n_patients=800, seed=4, sharpness=2.5), "network")
    assert slope(recalibrate(case, "none")) < 0.6
    part = recalibrate(case, "temperature")
    assert slope(part) == pytest.approx(1, abs=0.12)
    np.testing.assert_array_equal(part.probability.argmax(axis=1), case.test.probability.argmax(axis=1))


def test_isotonic_is_scikit_learns() -> None:
    case = scored(binary_predictions(n_patients=100, seed=5, n_folds=1), "network")
    # steps are joined by lines in the logit
    given = IsotonicRegression(out_of_bounds="clip").fit(
        logit(case.validation.probability[:, 1]), case.validation.label
    )
    expected = given.predict(logit(case.test.probability[:, 1])).clip(LEAST, 1 - LEAST)
    np.testing.assert_allclose(recalibrate(case, "isotonic").probability[:, 1], expected, atol=1e-9)


def test_labels_of_test_images_do_not_matter() -> None:
    table = binary_predictions(n_patients=60, seed=6)
    turned = table.assign(label=table["label"].where(table["part"] == "validation", 1 - table["label"]))
    for method in ("sigmoid", "isotonic", "temperature"):
        np.testing.assert_array_equal(
            recalibrate(scored(table, "network"), method).probability,
            recalibrate(scored(turned, "network"), method).probability,
        )


def test_three_classes_are_pooled() -> None:
    part = recalibrate(scored(class_predictions(n_patients=50, seed=7), "network"), "none")
    y, p, patient = pooled(part)
    assert len(y) == len(p) == len(patient) == 3 * len(part.frame)
    assert y.sum() == len(part.frame)
    assert measures(part, level=0.95)["intercept"] is None


def test_probabilities_that_separate_have_no_slope() -> None:
    table = binary_predictions(n_patients=30, seed=8)
    table["score"] = np.where(table["label"] == 1, 0.9, 0.2) + 0.0001 * np.arange(len(table)) / len(table)
    found = measures(recalibrate(scored(table, "network"), "none"), level=0.95)
    assert found["slope"] is None
    assert found["brier"] is not None


def test_unknown_method() -> None:
    with pytest.raises(InputError, match="unknown method"):
        recalibrate(scored(binary_predictions(n_patients=5, seed=0), "network"), "platt")
