"""Risk-coverage curves by hand; conformal sets cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_predictions import binary_predictions, class_predictions

from radtransfer.utility.abstention import abstain, aurc, conformal_quantile, conformal_sets, risk_at
from radtransfer.utility.cases import scored
from radtransfer.utility.recalibration import recalibrate


def test_risk_by_hand() -> None:
    wrong, confidence = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.9, 0.6, 0.8, 0.7])
    coverage, risk = risk_at(wrong, confidence)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 2])
    assert aurc(wrong, confidence) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_images_that_tie_share_their_risk() -> None:
    _, risk = risk_at(np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.5]))
    np.testing.assert_allclose(risk, 1 / 3)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30).filter(
        lambda rows: any(weight for *_, weight in rows)
    )
)
def test_weights_are_repetitions(rows: list[tuple[bool, int, int]]) -> None:
    wrong, confidence, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    times = weight.astype(int)
    assert aurc(wrong, confidence, weight) == pytest.approx(
        aurc(np.repeat(wrong, times), np.repeat(confidence, times))
    )


def test_a_model_that_knows_its_errors_and_one_that_does_not() -> None:
    wrong = np.array([1.0] * 20 + [0.0] * 80)
    best, useless = aurc(wrong, 1 - wrong), aurc(wrong, np.zeros(100))
    assert useless == pytest.approx(0.2)
    # errors come last: k/(80+k) at the k-th of them; those that tie share the last
    assert best == pytest.approx(20 * 0.2 / 100)


def test_abstention_lowers_the_error_and_ends_at_that_of_all() -> None:
    case = scored(binary_predictions(n_patients=200, seed=9), "network")
    part = recalibrate(case, "none")
    found = abstain(part, n_resamples=200, level=0.95, seed=1)
    error = float((part.probability.argmax(axis=1) != part.label).mean())
    assert found.error.estimate == pytest.approx(error)
    assert found.curve["risk"].iloc[-1] == pytest.approx(error)
    assert found.error_80.estimate < error
    assert found.aurc.low <= found.aurc.estimate <= found.aurc.high
    assert found.curve["coverage"].iloc[-1] == 1
    assert (found.curve["low"] <= found.curve["risk"]).all()
    assert (found.curve["risk"] <= found.curve["high"]).all()


def test_conformal_quantile_by_hand() -> None:
    scores = np.arange(1, 10) / 10  # nine: the ninth of ten places is the largest
    assert conformal_quantile(scores, 0.1) == 0.9
    assert conformal_quantile(scores, 0.2) == 0.8
    assert conformal_quantile(scores[:8], 0.1) == np.inf  # too few to promise so much


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_sets_cover_every_class_however_bad_the_probabilities(sharpness: float) -> None:
    case = scored(class_predictions(n_patients=1500, seed=10, sharpness=sharpness), "network")
    sets = conformal_sets(case, alpha=0.1, level=0.999)
    for share in sets.coverage.values():
        assert share.low < 0.9 < share.high
        assert share.high - share.low < 0.1
    size = sets.member.sum(axis=1)
    assert sets.single.estimate == pytest.approx((size == 1).mean())
    assert sets.empty.estimate == pytest.approx((size == 0).mean())


def test_validation_of_another_fold_does_not_matter() -> None:
    table = class_predictions(n_patients=60, seed=11)
    spoilt = table.assign(score=table["score"].where((table["part"] == "test") | (table["fold"] == 1), 1 / 3))
    a, b = (conformal_sets(scored(t, "network"), alpha=0.1, level=0.95) for t in (table, spoilt))
    fold = scored(table, "network").test.fold
    np.testing.assert_array_equal(a.member[fold == 1], b.member[fold == 1])
    assert (a.member[fold == 0] != b.member[fold == 0]).any()
