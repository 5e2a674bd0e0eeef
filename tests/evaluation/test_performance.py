from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import METRICS, evaluate, youden_threshold
from radtransfer.stats.result import Estimate


def predictions(
    *, n_patients: int = 120, gain: dict[str, float] | None = None, seed: int = 0, n_folds: int = 3
) -> pd.DataFrame:
    """Two images a patient, models that differ in how far apart their scores are."""
    rng = np.random.default_rng(seed)
    gain = gain or {"strong": 2.0, "weak": 0.5}
    label = np.repeat(rng.integers(0, 2, n_patients), 2)
    patient = np.repeat([f"p{i:03d}" for i in range(n_patients)], 2)
    fold = np.repeat(np.arange(n_patients) % n_folds, 2)
    frames = []
    for model, distance in gain.items():
        score = rng.normal(size=len(label)) + distance * label
        base = pd.DataFrame(
            {
                "model": model,
                "task": "pneumonia",
                "image_id": [f"i{i:04d}" for i in range(len(label))],
                "patient_id": patient,
                "fold": fold,
                "part": "test",
                "label": label,
                "score": score,
                "weights": "imagenet",
            }
        )
        # each fold is validated on the images of the next one, shifted scores and all
        validation = base.assign(part="validation", fold=(base["fold"] + 1) % n_folds)
        frames += [base, validation]
    return pd.concat(frames, ignore_index=True)


def test_youden_threshold_by_hand() -> None:
    # cutting between .35 and .4 finds both positives (J = 1 - 1/2), between .4 and .8 one of them at no
    # false positive (J = 1/2): as good, and the lower cut is taken
    y = np.array([0, 0, 1, 1])
    score = np.array([0.1, 0.4, 0.35, 0.8])
    assert youden_threshold(y, score) == pytest.approx((0.35 + 0.1) / 2)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=2, max_size=40).filter(
        lambda pairs: len({y for y, _ in pairs}) == 2
    )
)
def test_no_other_threshold_has_a_higher_youden_index(pairs: list[tuple[int, int]]) -> None:
    y = np.array([label for label, _ in pairs])
    score = np.array([value for _, value in pairs], dtype=float)

    def j(threshold: float) -> float:
        return float((score >= threshold)[y == 1].mean() - (score >= threshold)[y == 0].mean())

    best = max(j(threshold) for threshold in [*(np.unique(score) - 0.5), 6.0])
    assert j(youden_threshold(y, score)) == pytest.approx(best)


def test_points_agree_with_scikit_learn() -> None:
    table = predictions()
    evaluation = evaluate(table, n_resamples=200)
    for name, performance in evaluation.models.items():
        test = table.loc[(table["model"] == name) & (table["part"] == "test")]
        by_fold = [roc_auc_score(part["label"], part["score"]) for _, part in test.groupby("fold")]
        assert performance.metrics["auc"].estimate == pytest.approx(np.mean(by_fold))
        y, called = performance.table["label"], performance.table["decision"]
        assert performance.metrics["precision"].estimate == pytest.approx(precision_score(y, called))
        assert performance.metrics["sensitivity"].estimate == pytest.approx(recall_score(y, called))
        counts = performance.confusion.to_numpy()
        assert counts.sum() == evaluation.n["images"]
        accuracy = np.trace(counts) / counts.sum()
        assert performance.metrics["accuracy"].estimate == pytest.approx(accuracy)


def test_every_interval_holds_its_estimate_and_stays_in_range() -> None:
    evaluation = evaluate(predictions(), n_resamples=400)
    for performance in evaluation.models.values():
        assert set(performance.metrics) == set(METRICS)
        for estimate in performance.metrics.values():
            assert estimate.low is not None
            assert estimate.high is not None
            assert 0 <= estimate.low <= estimate.estimate <= estimate.high <= 1


def test_thresholds_do_not_see_the_test_part() -> None:
    table = predictions()
    before = evaluate(table, n_resamples=100).models["strong"].thresholds
    shuffled = table.copy()
    test = shuffled["part"] == "test"
    shuffled.loc[test, "score"] = np.random.default_rng(1).permutation(shuffled.loc[test, "score"])
    assert evaluate(shuffled, n_resamples=100).models["strong"].thresholds == before


def test_a_planted_difference_is_found_and_a_model_does_not_differ_from_itself() -> None:
    table = predictions(gain={"strong": 2.0, "weak": 0.5})
    twin = table.query("model == 'strong'").assign(model="twin")
    evaluation = evaluate(pd.concat([table, twin]), n_resamples=400)
    difference = evaluation.difference("strong", "weak", "auc")
    assert difference.low is not None
    assert difference.low > 0
    same = evaluation.difference("strong", "twin", "auc")
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_clusters_widen_the_interval() -> None:
    # one image copied four times a patient carries no more information than one
    table = predictions(gain={"m": 1.0})
    table = table.drop_duplicates(["patient_id", "part"])
    copies = pd.concat([table.assign(image_id=table["image_id"] + f"-{k}") for k in range(4)])
    one = evaluate(table, n_resamples=1000).models["m"].metrics["accuracy"]
    four = evaluate(copies, n_resamples=1000).models["m"].metrics["accuracy"]
    assert one.high is not None
    assert one.low is not None
    assert four.high is not None
    assert four.low is not None
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.05)


def test_a_model_that_calls_nothing_positive_has_precision_zero() -> None:
    table = predictions(gain={"m": 1.0})
    test = table["part"] == "test"
    table.loc[test, "score"] -= 100
    metrics = evaluate(table, n_resamples=100).models["m"].metrics
    assert metrics["precision"].estimate == 0
    assert metrics["specificity"].estimate == 1


def test_roc_curve_integrates_to_the_auc() -> None:
    evaluation = evaluate(predictions(), n_resamples=100)
    for name, curve in evaluation.curves("roc", n_bands=50, n_points=2001).groupby("model"):
        area = np.trapezoid(curve["y"], curve["x"])
        assert area == pytest.approx(evaluation.models[name].metrics["auc"].estimate, abs=2e-3)
        assert (curve["low"] <= curve["high"]).all()


def test_precision_recall_curve_by_hand() -> None:
    # scores fall as listed: half of the positives are found at precision 1, all at 2/3; ties move together
    images = [f"i{i}" for i in range(40)]
    table = pd.DataFrame(
        {
            "model": "m",
            "task": "pneumonia",
            "image_id": images,
            "patient_id": images,
            "fold": 0,
            "part": "test",
            "label": [1, 0, 1, 0] * 10,
            "score": [4.0, 3.0, 2.0, 1.0] * 10,
            "weights": "none",
        }
    )
    evaluation = evaluate(pd.concat([table, table.assign(part="validation")]), n_resamples=100)
    curve = evaluation.curves("pr", n_bands=5, n_points=5)
    assert curve["y"].tolist() == pytest.approx([1, 1, 1, 2 / 3, 2 / 3])


def test_models_on_different_images_are_refused() -> None:
    table = predictions()
    first = table.query("model == 'weak' and part == 'test'").index[0]
    with pytest.raises(InputError, match="same images"):
        evaluate(table.drop(index=first), n_resamples=100)


def test_a_fold_without_validation_images_is_refused() -> None:
    table = predictions()
    with pytest.raises(InputError, match="validation part lacks"):
        evaluate(table.query("not (part == 'validation' and fold == 1)"), n_resamples=100)


def test_the_best_model_is_chosen_on_validation_images() -> None:
    table = predictions(gain={"a": 2.0, "b": 0.2})
    # b looks better on the test parts only
    test = (table["part"] == "test") & (table["model"] == "b")
    table.loc[test, "score"] = table.loc[test, "label"].astype(float)
    evaluation = evaluate(table, n_resamples=100)
    assert evaluation.models["b"].metrics["auc"].estimate == 1
    assert evaluation.best(["a", "b"]) == "a"


def of_others(table: pd.DataFrame) -> pd.DataFrame:
    """The same predictions, of patients with other names."""
    return table.assign(patient_id="other " + table["patient_id"], image_id="other " + table["image_id"])


def test_a_change_counts_the_spread_of_both_groups_of_patients() -> None:
    before = evaluate(predictions(seed=1), n_resamples=2000, seed=1)
    after = evaluate(of_others(predictions(seed=2, n_patients=40)), n_resamples=2000, seed=2)
    change = after.change(before, "weak", "auc")
    here, there = (each.models["weak"].metrics["auc"] for each in (after, before))
    assert change.estimate == pytest.approx(here.estimate - there.estimate)

    def width(estimate: Estimate) -> float:
        assert estimate.low is not None
        assert estimate.high is not None
        return estimate.high - estimate.low

    # variances of independent groups add up
    assert width(change) == pytest.approx(np.hypot(width(here), width(there)), rel=0.1)


def test_a_change_within_one_group_of_patients_is_refused() -> None:
    evaluation = evaluate(predictions(), n_resamples=100)
    with pytest.raises(InputError, match="patient p000 is in both"):
        evaluation.change(evaluation, "weak", "auc")
    others = evaluate(of_others(predictions()), n_resamples=100, seed=1)
    with pytest.raises(InputError, match="model"):
        others.change(evaluation, "absent", "auc")
    with pytest.raises(InputError, match="metric"):
        others.change(evaluation, "weak", "absent")


def test_of_very_few_patients_there_is_an_estimate_and_no_interval() -> None:
    table = predictions(n_patients=6, n_folds=1)
    auc = evaluate(table, n_resamples=500).models["weak"].metrics["auc"]
    assert (auc.low, auc.high) == (None, None)
    assert "lack a class" in auc.method
    assert 0 <= auc.estimate <= 1
