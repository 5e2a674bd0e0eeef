"""Tasks of more than two classes: each class against the rest, averaged."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from radtransfer.errors import InputError
from radtransfer.evaluation.families import TESTS, compare_pair, kappa_with_reference
from radtransfer.evaluation.performance import METRICS, evaluate

TYPES = ("glioma", "meningioma", "pituitary")


def rows(model: str, image: str, label: int, scores: tuple[float, ...], **more: object) -> list[dict]:
    """Rows of one image, one for each class."""
    common = {"model": model, "task": "tumour", "image_id": image, "patient_id": image, "weights": "none"}
    return [
        common | {"target": target, "label": int(k == label), "score": scores[k]} | more
        for k, target in enumerate(TYPES)
    ]


def by_hand() -> pd.DataFrame:
    """Six images of two folds; the same images validate the other fold."""
    images = [
        # label, scores; decided: 0, 0, 2, 1, 1, 2
        ("a", 0, (0.6, 0.3, 0.1)),
        ("b", 1, (0.5, 0.4, 0.1)),
        ("c", 2, (0.2, 0.2, 0.6)),
        ("d", 0, (0.3, 0.4, 0.3)),
        ("e", 1, (0.35, 0.55, 0.1)),
        ("f", 2, (0.1, 0.3, 0.6)),
    ]
    table = []
    for i, (image, label, scores) in enumerate(images):
        table += rows("m", image, label, scores, fold=i // 3, part="test")
        table += rows("m", image, label, scores, fold=1 - i // 3, part="validation")
    # patients of several images in a fold, so that there is something to resample
    frame = pd.DataFrame(table)
    copies = [
        frame.assign(image_id=frame["image_id"] + str(k), patient_id=frame["patient_id"] + str(k))
        for k in range(40)
    ]
    return pd.concat(copies, ignore_index=True)


def simulated(
    gain: dict[str, float], *, n_patients: int = 120, images: int = 2, n_folds: int = 3, seed: int = 0
) -> pd.DataFrame:
    """Models whose scores of the right class are raised by a gain, over noise shared within patients."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), images)
    label = rng.permutation(np.arange(n_patients) % 3)[patient]
    fold = np.arange(n_patients)[patient] % n_folds
    frames = []
    for model, distance in gain.items():
        noise = rng.normal(size=(n_patients, 3))[patient] + rng.normal(size=(len(label), 3))
        score = noise + distance * np.eye(3)[label]
        long = pd.DataFrame(
            {
                "model": model,
                "task": "tumour",
                "target": np.tile(TYPES, len(label)),
                "image_id": np.repeat([f"i{i:05d}" for i in range(len(label))], 3),
                "patient_id": np.repeat([f"p{i}" for i in patient], 3),
                "fold": np.repeat(fold, 3),
                "part": "test",
                "label": np.eye(3, dtype=int)[label].ravel(),
                "score": score.ravel(),
                "weights": "none",
            }
        )
        frames += [long, long.assign(part="validation", fold=(long["fold"] + 1) % n_folds)]
    return pd.concat(frames, ignore_index=True)


def test_measures_by_hand() -> None:
    model = evaluate(by_hand(), n_resamples=200).models["m"]
    assert model.table["decision"].iloc[::40].tolist() == [0, 0, 2, 1, 1, 2]
    assert model.thresholds == {}
    assert model.classes == TYPES
    got = {key: estimate.estimate for key, estimate in model.metrics.items()}
    # in fold 1 one pair is in the wrong order: of class 0 d has .3 and e, of another class, .35
    assert got["auc"] == pytest.approx((3 + 1 / 2 + 1 + 1) / 6)
    assert got["accuracy"] == pytest.approx(4 / 6)
    # of class 0 one of two, of class 1 one of two, of class 2 both
    assert got["sensitivity"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert got["specificity"] == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    assert got["precision"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert got["f1"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert (model.confusion.to_numpy() == 40 * np.array([[1, 1, 0], [1, 1, 0], [0, 0, 2]])).all()
    assert list(model.confusion.columns) == list(TYPES)


def test_measures_agree_with_scikit_learn() -> None:
    evaluation = evaluate(simulated({"a": 1.5, "b": 0.4}), n_resamples=100)
    for model in evaluation.models.values():
        y, decision = model.table["label"].to_numpy(), model.table["decision"].to_numpy()
        # scores to probabilities that sum to one, as scikit-learn demands
        scores = np.exp(model.scores)
        by_fold = [
            roc_auc_score(
                y[fold],
                (scores / scores.sum(axis=1, keepdims=True))[fold],
                multi_class="ovr",
                average="macro",
            )
            for fold in (model.table["fold"] == f for f in range(3))
        ]
        raw = [
            np.mean([roc_auc_score(y[fold] == k, model.scores[fold, k]) for k in range(3)])
            for fold in (model.table["fold"] == f for f in range(3))
        ]
        assert model.metrics["auc"].estimate == pytest.approx(np.mean(raw))
        assert model.fold_auc.tolist() == pytest.approx(raw)
        # probabilities rank a little otherwise than the scores they come from
        assert np.mean(by_fold) == pytest.approx(np.mean(raw), abs=0.1)
        assert (decision == model.scores.argmax(axis=1)).all()
        for key, value in {
            "accuracy": (y == decision).mean(),
            "sensitivity": recall_score(y, decision, average="macro"),
            "precision": precision_score(y, decision, average="macro"),
            "f1": f1_score(y, decision, average="macro"),
        }.items():
            assert model.metrics[key].estimate == pytest.approx(value), key
        precision = [
            average_precision_score(y[fold] == k, model.scores[fold, k])
            for k in range(3)
            for fold in (model.table["fold"] == f for f in range(3))
        ]
        assert model.average_precision == pytest.approx(np.mean(precision))


def test_probabilities_give_scikit_learns_auc() -> None:
    table = simulated({"a": 1.0})
    table["score"] = np.exp(table["score"])
    whole = table.groupby(["model", "part", "fold", "image_id"])["score"].transform("sum")
    table["score"] /= whole
    model = evaluate(table, n_resamples=100).models["a"]
    folds = [model.table["fold"] == f for f in range(3)]
    expected = [
        roc_auc_score(model.table["label"][f], model.scores[f.to_numpy()], multi_class="ovr") for f in folds
    ]
    assert model.metrics["auc"].estimate == pytest.approx(np.mean(expected))


def test_intervals_hold_the_estimate_and_curves_are_means_over_classes() -> None:
    evaluation = evaluate(simulated({"a": 1.0}), n_resamples=200, unit="groups")
    assert evaluation.n == {"groups": 120, "images": 240}
    for key, estimate in evaluation.models["a"].metrics.items():
        assert key in METRICS
        assert 0 <= estimate.low <= estimate.estimate <= estimate.high <= 1  # type: ignore[operator]
    curve = evaluation.curves("roc", n_bands=20, n_points=2001)
    area = np.trapezoid(curve["y"], curve["x"])
    assert area == pytest.approx(evaluation.models["a"].metrics["auc"].estimate, abs=2e-3)


def test_pairs_are_tested_class_by_class() -> None:
    evaluation = evaluate(simulated({"strong": 2.0, "weak": 0.5, "like weak": 0.5}), n_resamples=100)
    result = compare_pair(evaluation, "strong", "weak", n_train=150)
    auc = result.tests["auc"]
    assert auc.estimate == pytest.approx(evaluation.difference("strong", "weak", "auc").estimate)
    assert auc.low > 0  # type: ignore[operator]
    assert "mean over classes" in auc.method
    right = [
        evaluation.models[name].table.eval("label == decision").sum() / 240 for name in ("strong", "weak")
    ]
    assert result.tests["accuracy"].estimate == pytest.approx(right[0] - right[1])
    back = compare_pair(evaluation, "weak", "strong", n_train=150)
    for test in TESTS:
        assert result.tests[test].estimate == pytest.approx(-back.tests[test].estimate)
    same = compare_pair(evaluation, "weak", "weak", n_train=150)
    assert {test: found.p_value for test, found in same.tests.items()} == dict.fromkeys(TESTS, 1.0)


def test_the_test_and_the_bootstrap_agree_on_the_standard_error() -> None:
    evaluation = evaluate(simulated({"a": 1.0, "b": 0.8}, n_patients=300), n_resamples=2000)
    tested = compare_pair(evaluation, "a", "b", n_train=150).tests["auc"].details["se"]
    drawn = evaluation.difference("a", "b", "auc").details["se"]
    assert tested == pytest.approx(drawn, rel=0.1)


def test_kappa_of_three_classes() -> None:
    evaluation = evaluate(by_hand(), n_resamples=100)
    # 4 of 6 right; by chance (2 * 2 + 2 * 2 + 2 * 2) / 36
    assert kappa_with_reference(evaluation)["m"].estimate == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda table: table.drop(index=0), "lacks the score of a class, or has two"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "lacks the score of a class, or has two"),
        (lambda table: table.assign(label=0), "is of no class, or of two"),
        (
            lambda table: table.query("not (part == 'validation' and fold == 0 and image_id > 'e')"),
            "validation part lacks one of the classes",
        ),
    ],
)
def test_tables_with_gaps_are_refused(spoil: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(spoil(by_hand()), n_resamples=100)  # type: ignore[operator]


def _coverage(n: int, *, truth: float, gain: float) -> float:
    hits = 0
    for seed in range(n):
        table = simulated({"m": gain}, n_patients=120, images=2, n_folds=2, seed=seed + 1)
        interval = evaluate(table, n_resamples=300, seed=seed).models["m"].metrics["auc"]
        hits += interval.low <= truth <= interval.high  # type: ignore[operator]
    return hits / n


@pytest.mark.slow
def test_the_interval_of_the_macro_auc_covers() -> None:
    # AUC of a class: its score N(g, 2) against N(0, 2) of the others, P(X > Y) = Phi(g / 2)
    gain = 1.0
    truth = 0.5 * (1 + math.erf(gain / 2 / math.sqrt(2)))
    n = 400
    covered = _coverage(n, truth=truth, gain=gain)
    # 95 % nominal; the percentile interval of 60 patients a fold falls a little short
    assert covered > 0.95 - 0.025 - 3 * math.sqrt(0.95 * 0.05 / n)
    assert covered < 0.95 + 3 * math.sqrt(0.95 * 0.05 / n)
