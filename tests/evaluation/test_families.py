from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from radtransfer.errors import InputError
from radtransfer.evaluation.families import (
    TESTS,
    Family,
    FamilyTests,
    PairTests,
    compare_pair,
    declare_families,
    examine,
    kappa_with_reference,
)
from radtransfer.evaluation.performance import Evaluation, Performance, evaluate
from radtransfer.stats.auc import auc, compare_auc
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.result import Estimate

NETWORKS = ["custom_cnn_scratch", "vgg16_frozen", "vgg16_finetuned", "mobilenet_frozen"]
KINDS = {"traditional": ("handcrafted_svm",), "shortcuts": ("metadata", "border")}


def evaluation(
    gain: dict[str, float], *, n_patients: int = 150, images: int = 2, n_folds: int = 3, seed: int = 0
) -> Evaluation:
    """Models whose scores are independent but for the label, at the given distances between the classes."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), images)
    label = rng.permutation(np.arange(n_patients) % 2)[patient]
    fold = np.arange(n_patients)[patient] % n_folds
    frames = []
    for model, distance in gain.items():
        base = pd.DataFrame(
            {
                "model": model,
                "task": "pneumonia",
                "image_id": [f"i{i:04d}" for i in range(len(label))],
                "patient_id": [f"p{i}" for i in patient],
                "fold": fold,
                "part": "test",
                "label": label,
                "score": rng.normal(size=len(label)) + distance * label,
                "weights": "none",
            }
        )
        # judged at the threshold 0: two validation images on either side of it
        for f in range(n_folds):
            threshold = pd.DataFrame(
                {"image_id": ["v0", "v1"], "patient_id": ["v0", "v1"], "label": [0, 1], "score": [-1.0, 1.0]}
            )
            validation = threshold.assign(
                model=model, task="pneumonia", fold=f, part="validation", weights="none"
            )
            frames.append(validation)
        frames.append(base)
    return evaluate(pd.concat(frames, ignore_index=True), n_resamples=100)


def by_hand(rows: list[tuple[str, int, int, float, float]]) -> Evaluation:
    """Two models from rows of patient, fold, label and the two scores; positive above 0.

    Too small to be resampled, so that no metric has an interval.
    """
    common = pd.DataFrame([row[:3] for row in rows], columns=["patient_id", "fold", "label"])
    models = {}
    for column, name in ((3, "a"), (4, "b")):
        score = np.array([row[column] for row in rows])
        table = common.assign(
            image_id=common.index.astype(str), score=score, decision=(score > 0).astype(int)
        )
        models[name] = Performance(name, "none", table, {}, {}, 0.5)
    n = {"patients": common["patient_id"].nunique(), "images": len(common)}
    resamples = ClusterBootstrap(common["patient_id"], n_resamples=1, seed=0)
    return Evaluation("pneumonia", models, 0.95, n, resamples, {})


def result_of(*p_values: float | None, estimates: tuple[float, ...] | None = None) -> FamilyTests:
    estimates = estimates or (0.1,) * len(p_values)
    pairs = tuple(
        PairTests(
            f"m{i}", "r", {test: Estimate(name="difference", estimate=value, p_value=p) for test in TESTS}
        )
        for i, (p, value) in enumerate(zip(p_values, estimates, strict=True))
    )
    return FamilyTests(Family("f", "F", "why", tuple((pair.model, "r") for pair in pairs)), pairs, 0.95)


# --- what is declared -------------------------------------------------------------------------------------


def test_families_hold_every_pair_of_their_question() -> None:
    models = [*NETWORKS, "metadata", "handcrafted_svm", "a_stranger"]
    families = {family.name: set(family.pairs) for family in declare_families(models, **KINDS)}
    assert families == {
        "network-traditional": {(name, "handcrafted_svm") for name in NETWORKS},
        "network-shortcut": {(name, "metadata") for name in NETWORKS},
        "transfer-scratch": {(name, "custom_cnn_scratch") for name in NETWORKS[1:]},
        # mobilenet has no fine-tuned partner here
        "finetuned-frozen": {("vgg16_finetuned", "vgg16_frozen")},
    }


def test_families_are_declared_without_models_too() -> None:
    families = declare_families(["metadata"], **KINDS)
    assert [family.pairs for family in families] == [(), (), (), ()]
    assert len(examine(evaluation({"metadata": 1.0}), families[0], n_train=100).adjusted()) == 0


# --- what is found ----------------------------------------------------------------------------------------


def test_planted_differences_are_found_and_others_are_not() -> None:
    result = examine(
        evaluation({"strong": 2.5, "middle": 0.8, "as_middle": 0.8, "none": 0.0}),
        Family("f", "F", "why", (("strong", "middle"), ("middle", "as_middle"), ("none", "strong"))),
        n_train=150,
    )
    for test in ("auc", "accuracy", "folds_t"):
        assert list(result.adjusted(test)["verdict"]) == ["better", "undecided", "worse"], test
    planted = result.pairs[0].tests["auc"]
    assert planted.low is not None
    assert planted.low > 0
    # three folds cannot bring Wilcoxon's p below 2 / 2**3
    assert result.adjusted("folds_wilcoxon")["p"].min() == pytest.approx(0.25)


def test_differences_change_sign_with_the_order_of_the_pair() -> None:
    evaluated = evaluation({"a": 1.5, "b": 0.5})
    forth, back = (compare_pair(evaluated, *pair, n_train=150) for pair in (("a", "b"), ("b", "a")))
    for test in TESTS:
        assert forth.tests[test].estimate == pytest.approx(-back.tests[test].estimate)
        assert forth.tests[test].p_value == pytest.approx(back.tests[test].p_value)


def test_a_model_does_not_differ_from_its_like() -> None:
    evaluated = evaluation({"a": 1.0, "b": 1.0})
    evaluated.models["b"].table["score"] = evaluated.models["a"].table["score"]
    evaluated.models["b"].table["decision"] = evaluated.models["a"].table["decision"]
    pair = compare_pair(evaluated, "a", "b", n_train=150)
    assert {test: result.p_value for test, result in pair.tests.items()} == dict.fromkeys(TESTS, 1.0)
    assert pair.cohens_g is None


def test_mcnemar_by_hand() -> None:
    # a alone is right on images 1 and 2 of patient p and on q's, b alone on r's; b_k - c_k = 2, 1, -1, 0, ...
    rows = [
        ("p", 0, 1, 1.0, -1.0),
        ("p", 0, 1, 2.0, -2.0),
        ("q", 0, 0, -1.0, 1.0),
        ("r", 0, 0, 1.0, -1.0),
        ("s", 0, 1, 3.0, 3.0),
        ("t", 0, 0, -3.0, -3.0),
        ("u", 1, 1, 1.0, 1.0),
        ("v", 1, 1, 1.0, 2.0),
        ("w", 1, 0, -1.0, -1.0),
        ("x", 1, 0, -2.0, -3.0),
    ]
    pair = compare_pair(by_hand(rows), "a", "b", n_train=20)
    mcnemar = pair.tests["accuracy"]
    assert pair.discordant == (3, 1)
    assert pair.cohens_g == pytest.approx(0.25)
    assert mcnemar.estimate == pytest.approx(2 / 10)
    # 9 patients: 8/9 * (2 + 1 - 1)**2 / (4 + 1 + 1)
    assert mcnemar.statistic == pytest.approx(8 / 9 * 4 / 6)


def test_auc_test_is_the_mean_of_independent_folds() -> None:
    evaluated = evaluation({"a": 1.2, "b": 0.4}, images=1)
    result = compare_pair(evaluated, "a", "b", n_train=100).tests["auc"]
    a, b = (evaluated.models[name].table for name in "ab")
    # one image a patient: Obuchowski's variance is DeLong's
    by_fold = [
        compare_auc(a["label"][rows], a["score"][rows], b["score"][rows])
        for rows in (a["fold"] == fold for fold in range(3))
    ]
    assert result.estimate == pytest.approx(np.mean([fold.estimate for fold in by_fold]))
    assert result.details["se"] == pytest.approx(math.sqrt(sum(f.details["variance"] for f in by_fold)) / 3)
    assert result.estimate == pytest.approx(evaluated.difference("a", "b", "auc").estimate)


def test_patients_with_many_like_images_widen_the_interval() -> None:
    single = evaluation({"a": 1.0, "b": 0.6}, n_patients=120, images=1)
    # the same images eight times over tell nothing new
    for performance in single.models.values():
        performance.__dict__["table"] = pd.concat([performance.table] * 8, ignore_index=True)
    repeated = compare_pair(single, "a", "b", n_train=100).tests["auc"]
    original = compare_pair(evaluation({"a": 1.0, "b": 0.6}, n_patients=120, images=1), "a", "b", n_train=100)
    assert repeated.details["se"] == pytest.approx(original.tests["auc"].details["se"], rel=0.02)
    a, b = (single.models[name].table for name in "ab")
    naive = auc(a["label"], a["score"]).details["se"] + auc(b["label"], b["score"]).details["se"]
    assert repeated.details["se"] > naive / 2


def test_fold_t_has_the_correction_of_nadeau_and_bengio() -> None:
    pair = compare_pair(evaluation({"a": 1.2, "b": 0.9}), "a", "b", n_train=200)
    difference = np.array(pair.tests["auc"].details["by_fold"])
    # 100 test images a fold
    expected = difference.mean() / (difference.std(ddof=1) * math.sqrt(1 / 3 + 100 / 200))
    assert pair.tests["folds_t"].statistic == pytest.approx(expected)


def test_a_test_that_does_not_exist_says_why_and_does_not_count() -> None:
    # in both folds a orders all pairs rightly and b none: no variance within or between folds
    rows = [
        (f"{fold}{y}{k}", fold, y, 2.0 * y - 1, 1 - 2.0 * y)
        for fold in (0, 1)
        for y in (0, 1)
        for k in range(3)
    ]
    pair = compare_pair(by_hand(rows), "a", "b", n_train=6)
    for test, reason in (("auc", "variance is 0"), ("folds_t", "no t-test")):
        assert pair.tests[test].estimate == 1
        assert pair.tests[test].p_value is None
        assert reason in pair.tests[test].method
    frame = result_of(0.02, None, 0.04).adjusted()
    assert frame["holm"].tolist() == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert list(frame["verdict"]) == ["better", "undecided", "better"]


# --- multiplicity -----------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    frame = result_of(0.01, 0.04, 0.03, 0.005, estimates=(0.1, 0.1, -0.1, -0.1)).adjusted()
    assert frame["holm"].tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert frame["bh"].tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert list(frame["verdict"]) == ["better", "undecided", "undecided", "worse"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjustment_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    frame = result_of(*p_values).adjusted().sort_values("p")
    for adjusted in ("holm", "bh"):
        assert frame[adjusted].is_monotonic_increasing
        assert (frame[adjusted] >= frame["p"] - 1e-12).all()
    assert (frame["holm"] >= frame["bh"] - 1e-12).all()


# --- agreement --------------------------------------------------------------------------------------------


def test_kappa_agrees_with_scikit_learn() -> None:
    evaluated = evaluation({"a": 1.2, "b": 0.0})
    for name, kappa in kappa_with_reference(evaluated).items():
        table = evaluated.models[name].table
        assert kappa.estimate == pytest.approx(cohen_kappa_score(table["label"], table["decision"]))
        assert kappa.low is not None
        assert kappa.high is not None
        assert kappa.low < kappa.estimate < kappa.high
        assert kappa.n["clusters"] == evaluated.n["patients"]


# --- what is refused --------------------------------------------------------------------------------------


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match="one fold"):
        compare_pair(evaluation({"a": 1.0, "b": 0.5}, n_folds=1), "a", "b", n_train=100)


def test_a_fold_with_one_patient_of_a_class_is_refused_by_name() -> None:
    rows = [("p", 0, 1, 1.0, -1.0), ("q", 0, 0, -1.0, 1.0), ("r", 0, 0, 1.0, 0.5)]
    rows += [(f"{p}{y}", 1, y, 1.0, p * 1.0) for y in (0, 1) for p in (1, 2)]
    with pytest.raises(InputError, match="fold 0: the clustered variance needs 2 clusters"):
        compare_pair(by_hand(rows), "a", "b", n_train=10)


@pytest.mark.parametrize("n_train", [0, -3, math.nan])
def test_a_training_part_without_images_is_refused(n_train: float) -> None:
    with pytest.raises(InputError, match="n_train"):
        compare_pair(evaluation({"a": 1.0, "b": 0.5}), "a", "b", n_train=n_train)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    evaluated = evaluation({"strong": 1.0, "weak": 0.5})
    with pytest.raises(InputError, match="strong"):
        compare_pair(evaluated, "stronk", "weak", n_train=100)
    with pytest.raises(InputError, match="accuracy"):
        result_of(0.1).adjusted("acuracy")
