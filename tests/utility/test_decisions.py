"""Thresholds from validation only, and decisions at another prevalence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_predictions import binary_predictions
from sklearn.metrics import confusion_matrix

from radtransfer.utility.cases import Question, question, scored
from radtransfer.utility.decisions import at_prevalence, curve_at, gain, operating_point, threshold_for

LABELS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def asked(**options: object) -> Question:
    return question(scored(binary_predictions(n_patients=100, seed=1, **options), "network"))  # type: ignore[arg-type]


def rates(frame: pd.DataFrame, threshold: float) -> dict[str, float]:
    called = frame["score"] >= threshold
    return {
        "sensitivity": float(called[frame["label"] == 1].mean()),
        "specificity": float((~called)[frame["label"] == 0].mean()),
    }


@settings(max_examples=60)
@given(LABELS, st.sampled_from(["sensitivity", "specificity"]), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_threshold_reaches_what_is_wanted_and_gives_away_least(
    rows: list[tuple[bool, int]], fixed: str, wanted: float
) -> None:
    frame = pd.DataFrame(rows, columns=["label", "score"]).astype(float)
    threshold = threshold_for(frame, fixed, wanted)  # type: ignore[arg-type]
    assert rates(frame, threshold)[fixed] >= wanted - 1e-12
    other = "specificity" if fixed == "sensitivity" else "sensitivity"
    every = [*frame["score"], *np.nextafter(frame["score"], np.inf), -np.inf, np.inf]
    reaching = [rates(frame, t)[other] for t in every if rates(frame, t)[fixed] >= wanted - 1e-12]
    assert rates(frame, threshold)[other] == max(reaching)


def test_threshold_by_hand() -> None:
    frame = pd.DataFrame({"label": [1] * 10, "score": np.arange(10) / 10})
    assert threshold_for(frame, "sensitivity", 0.9) == 0.1  # nine of ten reach it
    assert threshold_for(frame, "sensitivity", 0.91) == 0.0


def test_operating_point_is_of_the_fold_and_counted_on_test_images() -> None:
    ask = asked()
    point = operating_point(ask, "sensitivity", 0.9, level=0.95)
    assert set(point.thresholds) == {0, 1}
    decision = np.zeros(len(ask.test), dtype=int)
    for fold, threshold in point.thresholds.items():
        validation = ask.validation.query("fold == @fold")
        assert rates(validation, threshold)["sensitivity"] >= 0.9
        rows = (ask.test["fold"] == fold).to_numpy()
        decision[rows] = ask.test["score"].to_numpy()[rows] >= threshold
    tn, fp, fn, tp = confusion_matrix(ask.test["label"], decision).ravel()
    assert point.sensitivity.estimate == pytest.approx(tp / (tp + fn))
    assert point.specificity.estimate == pytest.approx(tn / (tn + fp))
    ppv, npv = point.predictive_values(0.1, level=0.95)
    assert ppv is not None
    assert npv is not None
    se, sp = point.sensitivity.estimate, point.specificity.estimate
    assert ppv.estimate == pytest.approx(0.1 * se / (0.1 * se + 0.9 * (1 - sp)))
    assert npv.estimate == pytest.approx(0.9 * sp / (0.9 * sp + 0.1 * (1 - se)))


def test_test_labels_do_not_move_thresholds() -> None:
    ask = asked()
    turned = replace(ask, test=ask.test.assign(label=1 - ask.test["label"]))
    for fixed in ("sensitivity", "specificity"):
        assert (
            operating_point(ask, fixed, 0.9, level=0.95).thresholds  # type: ignore[arg-type]
            == operating_point(turned, fixed, 0.9, level=0.95).thresholds  # type: ignore[arg-type]
        )


def test_probabilities_at_another_prevalence_are_bayes_rule() -> None:
    ask = asked()
    share = ask.validation.groupby("fold")["label"].mean()[ask.test["fold"]].to_numpy()
    p = ask.test["score"].to_numpy()
    likelihood_ratio = p / (1 - p) / (share / (1 - share))
    odds = likelihood_ratio * 0.05 / 0.95
    np.testing.assert_allclose(at_prevalence(ask, 0.05), odds / (1 + odds))


def test_curve_weighs_rates_by_the_prevalence() -> None:
    ask = asked()
    (point,) = curve_at(ask, prevalence=0.05, thresholds=np.array([0.1]), level=0.95).points
    called = at_prevalence(ask, 0.05) >= 0.1
    positive = ask.test["label"].to_numpy() == 1
    expected = 0.05 * called[positive].mean() - 0.95 * called[~positive].mean() / 9
    assert point.estimate == pytest.approx(expected)
    assert point.details["treat_all"] == pytest.approx(0.05 - 0.95 / 9)


def test_gain_over_itself_is_nothing() -> None:
    ask = asked()
    found = gain(ask, ask, prevalence=0.05, threshold=0.1, level=0.95)
    assert found is not None
    assert (found.estimate, found.p_value) == (0, 1)


def test_a_value_of_calls_that_are_never_made() -> None:
    ask = asked()
    all_positive = operating_point(
        replace(ask, test=ask.test.assign(score=2.0)), "sensitivity", 0.9, level=0.95
    )
    ppv, npv = all_positive.predictive_values(0.1, level=0.95)
    assert npv is None
    assert ppv is not None
    assert ppv.estimate == pytest.approx(0.1)
