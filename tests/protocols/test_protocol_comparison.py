from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radtransfer.data.cohort import Cohort
from radtransfer.errors import InputError
from radtransfer.protocols.comparison import compare
from radtransfer.protocols.disagreement import disagreement
from radtransfer.stats.result import Estimate

BOOTSTRAP = {"n_resamples": 400, "level": 0.95, "seed": 1, "unit": "patients"}


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def table(
    distance: float, *, fold: np.ndarray, seed: int = 0, label: np.ndarray | None = None
) -> pd.DataFrame:
    """Two images a patient; scores that tell the classes by so many standard deviations."""
    rng = np.random.default_rng(seed)
    n = len(fold)
    label = np.repeat(np.arange(n // 2) % 2, 2) if label is None else label
    test = pd.DataFrame(
        {
            "model": "toy",
            "task": "disease",
            "image_id": [f"i{k:04d}" for k in range(n)],
            "patient_id": [f"p{k // 2:04d}" for k in range(n)],
            "fold": fold,
            "part": "test",
            "label": label,
            "score": rng.normal(size=n) + distance * label,
            "weights": "none",
        }
    )
    validation = test.assign(part="validation", fold=(fold + 1) % (fold.max() + 1))
    return pd.concat([test, validation], ignore_index=True)


BY_PATIENT = np.repeat(np.arange(200) // 2 % 4, 2)
BY_IMAGE = np.random.default_rng(9).integers(0, 4, 400)


def test_measures_are_those_of_scikit_learn() -> None:
    found = compare({"right": table(1.0, fold=BY_PATIENT)}, **BOOTSTRAP)  # type: ignore[arg-type]
    test = table(1.0, fold=BY_PATIENT).query("part == 'test'")
    pairs = [(part["label"], part["score"]) for _, part in test.groupby("fold")]
    weight = [label.sum() * (1 - label).sum() for label, _ in pairs]
    auc = np.average([roc_auc_score(*pair) for pair in pairs], weights=weight)
    assert found.arms["right"].metrics["auc"].estimate == pytest.approx(auc)
    assert found.arms["right"].chance == 0.5
    assert (found.arms["right"].n_images, found.arms["right"].n_units) == (400, 200)


def test_equal_protocols_differ_by_nothing() -> None:
    same = table(1.0, fold=BY_PATIENT)
    found = compare({"wrong": same, "right": same.copy()}, **BOOTSTRAP)  # type: ignore[arg-type]
    gain = found.difference("wrong", "right", "accuracy")
    assert (gain.estimate, gain.low, gain.high) == (0, 0, 0)


def test_patients_in_several_folds_are_resampled_whole() -> None:
    # both images of a patient have one score: 200 patients tell as much as 400 images
    twice = table(1.0, fold=BY_IMAGE)
    first = twice.groupby(["patient_id", "part"])["score"].transform("first")
    twice["score"] = first
    alone = twice.assign(patient_id=twice["image_id"])
    whole, images = (
        compare({"wrong": each}, **BOOTSTRAP).arms["wrong"].metrics["auc"]  # type: ignore[arg-type]
        for each in (twice, alone)
    )
    assert whole.details["se"] / images.details["se"] == pytest.approx(np.sqrt(2), rel=0.15)


def test_a_part_of_the_images_is_judged_by_its_own() -> None:
    everything = table(0.8, fold=BY_PATIENT)
    kept = everything["patient_id"] < "p0100"
    found = compare({"everything": everything, "some": everything[kept]}, **BOOTSTRAP)  # type: ignore[arg-type]
    alone = compare({"some": everything[kept]}, **BOOTSTRAP)  # type: ignore[arg-type]
    for key, estimate in alone.arms["some"].metrics.items():
        assert found.arms["some"].metrics[key].estimate == estimate.estimate
    gain = found.difference("everything", "some", "auc")
    # half the images are the same in both: the difference is surer than that of two independent samples
    separate = np.hypot(*(arm.metrics["auc"].details["se"] for arm in found.arms.values()))
    assert gain.details["se"] < separate


def test_an_unknown_protocol_is_refused() -> None:
    found = compare({"right": table(1.0, fold=BY_PATIENT)}, **BOOTSTRAP)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'right'"):
        found.difference("rihgt", "right", "auc")


def marked(follow: float, seed: int = 3) -> tuple[pd.DataFrame, Cohort]:
    """A hospital that goes with the label in four of five patients, and a model that follows it so much."""
    rng = np.random.default_rng(seed)
    n = 800
    label = np.repeat(np.arange(n // 2) % 2, 2)
    second = np.repeat(rng.random(n // 2) < 0.2, 2) ^ (label == 1)
    predictions = table(1.5, fold=np.repeat(np.arange(n // 2) // 2 % 4, 2), seed=seed, label=label)
    predictions["score"] += follow * np.tile(second, 2)
    test = predictions.query("part == 'test'")
    frame = test[["image_id", "patient_id"]].assign(
        group_id=test["image_id"],
        dataset="toy",
        modality="xray",
        path="none.png",
        age_years=pd.array([None] * n, dtype="Float64"),
        sex=None,
        view=None,
        site=np.where(second, "b", "a"),
        label_disease=pd.array(label, dtype="Int64"),
    )
    return predictions, Cohort(frame, "toy", ("disease",))


def test_a_model_that_follows_the_shortcut_fails_where_it_misleads() -> None:
    found = disagreement(*marked(follow=2.0), "site", **BOOTSTRAP)  # type: ignore[arg-type]
    assert found.shortcut.estimate == pytest.approx(0.8, abs=0.03)
    assert limits(found.gap)[0] > 0.2
    assert found.agree.n["images"] + found.disagree.n["images"] == 800


def test_a_model_that_does_not_know_the_shortcut_does_not() -> None:
    found = disagreement(*marked(follow=0.0), "site", **BOOTSTRAP)  # type: ignore[arg-type]
    low, high = limits(found.gap)
    assert low < 0 < high


def test_what_is_not_known_cannot_mislead() -> None:
    with pytest.raises(InputError, match="slice_fraction of toy is not known"):
        disagreement(*marked(follow=0.0), "slice_fraction", **BOOTSTRAP)  # type: ignore[arg-type]
