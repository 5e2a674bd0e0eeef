"""Baselines find what was planted, choose within patients, and never see what they are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from radtransfer import paths
from radtransfer.baselines import BASELINES, fit_baselines, learners
from radtransfer.baselines.learners import Features, fit, patient_groups
from radtransfer.data.cohort import Cohort
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import curate
from radtransfer.errors import DataError, InputError, RunError
from radtransfer.training.runs import PREDICTION_COLUMNS, predictions_of

SPEC = PhantomSpec(n_patients=60, images_per_patient=1.3, size=32, auc=0.97, seed=1)
OPTIONS = {"task": "pneumonia", "validation_fraction": 0.25, "seed": 3}


def mean_auc(records: list) -> float:
    table = predictions_of(records)
    folds = table[table["part"] == "test"].groupby("fold")
    return float(np.mean([roc_auc_score(fold["label"], fold["score"]) for _, fold in folds]))


def test_all_baselines_write_one_score_an_image_and_fold(toy) -> None:
    dataset = toy(SPEC)
    records = fit_baselines(dataset, baselines=list(BASELINES), **OPTIONS)
    # a radiograph is no slice of a series
    names = [name for name in BASELINES if name != "slice_position"]
    assert [(r.spec.model, r.spec.fold) for r in records] == [(n, k) for n in names for k in (0, 1)]
    table = predictions_of(records)
    assert tuple(table.columns) == PREDICTION_COLUMNS
    assert set(table["weights"]) == {"none"}
    assert table["score"].between(0, 1).all()
    truth = dataset.cohort.frame.set_index("image_id")["label_pneumonia"]
    for record in records:
        predictions = record.predictions()
        split = dataset.folds.split(record.spec.fold, validation_fraction=0.25, seed=3)
        for part in ("validation", "test"):
            rows = predictions[predictions["part"] == part]
            assert sorted(rows["image_id"]) == sorted(split.ids(part))
            assert rows["label"].tolist() == truth[rows["image_id"]].tolist()
        assert record.timings["n_train"] == len(split.ids("train"))


def test_three_classes_have_three_scores_an_image(toy) -> None:
    """The task is how bright the image is: what the border's features hold, and a thumbnail shows."""
    dataset = toy(SPEC)
    third = pd.qcut(dataset.images.mean(axis=(1, 2)), 3, labels=False)
    frame = dataset.cohort.frame.assign(label_brightness=third)
    dataset.cohort = Cohort(frame, "toy", ("brightness",), {"brightness": ("dark", "grey", "bright")})
    options = OPTIONS | {"task": "brightness"}
    names = ["border", "thumbnail32", "handcrafted_svm", "handcrafted_forest"]
    for record in fit_baselines(dataset, baselines=names, n_folds_used=1, **options):
        table = record.predictions()
        scores = table.pivot(index=["image_id", "part"], columns="target", values="score")
        assert list(scores.columns) == ["bright", "dark", "grey"]
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
        truth = frame.set_index("image_id")["label_brightness"]
        number = table["target"].map({"dark": 0, "grey": 1, "bright": 2})
        assert (table["label"] == (number == table["image_id"].map(truth))).all()
        test = table[table["part"] == "test"]
        by_class = test.groupby("target")[["label", "score"]]
        aucs = by_class.apply(lambda rows: roc_auc_score(rows["label"], rows["score"]))
        # the grey ones lie between the others: a linear margin hardly tells them from both. Without skill an
        # AUC of a dozen images against two dozen has a standard error of 0.1
        assert aucs[["dark", "bright"]].min() > 0.7, record.spec.model


def test_a_curated_dataset_is_what_baselines_expect(work: Path) -> None:
    dataset = curate("phantom_xray", task="pneumonia", image_size=32, n_folds=2, seed=0, phantom=SPEC)
    records = fit_baselines(dataset, baselines=["metadata", "thumbnail32"], **OPTIONS)
    table = predictions_of(records)
    held_out = dataset.holdout.ids("test")
    assert len(held_out) > 0
    tested = table[table["part"] == "test"].groupby("model")["image_id"]
    assert set(tested.nunique()) == {dataset.cohort.n_images - len(held_out)}
    assert not table["image_id"].isin(held_out).any()


def test_a_finished_run_is_not_fitted_again(toy, monkeypatch) -> None:
    dataset, told = toy(SPEC), []
    first = fit_baselines(dataset, baselines=["border", "metadata"], **OPTIONS, progress=told.append)
    assert told == [f"{name}, fold {k} of 2" for name in ("border", "metadata") for k in (1, 2)]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(learners, "fit", never)
    again = fit_baselines(dataset, baselines=["border", "metadata"], **OPTIONS)
    pd.testing.assert_frame_equal(predictions_of(first), predictions_of(again))
    with pytest.raises(RunError, match=r"2 runs failed.*fitted again"):
        fit_baselines(dataset, baselines=["border"], **OPTIONS | {"seed": 4})


def test_fewer_folds_can_be_used(toy) -> None:
    assert [
        r.spec.fold for r in fit_baselines(toy(SPEC), baselines=["border"], n_folds_used=1, **OPTIONS)
    ] == [0]


@pytest.mark.parametrize(
    "name", ["metadata", "border", "thumbnail32", "handcrafted_logistic", "handcrafted_svm"]
)
def test_scores_repeat_and_do_not_depend_on_the_labels_they_are_tested_with(toy, tmp_path, name) -> None:
    dataset, other = toy(SPEC), toy(SPEC)
    split = dataset.folds.split(0, validation_fraction=0.25, seed=3)
    unseen = other.cohort.frame["image_id"].isin((*split.ids("validation"), *split.ids("test")))
    other.cohort.frame.loc[unseen, "label_pneumonia"] = 1 - other.cohort.frame["label_pneumonia"]
    first, second = (
        fit_baselines(
            d, baselines=[name], n_folds_used=1, store=learners.RunStore(tmp_path / str(k)), **OPTIONS
        )[0].predictions()
        for k, d in enumerate((dataset, other))
    )
    assert (first["label"] == 1 - second["label"]).all()
    np.testing.assert_array_equal(first["score"], second["score"])


def test_each_baseline_sees_the_shortcut_it_is_made_for(toy) -> None:
    """The hospital's marker stands in the corner, and the hospital in the request."""
    spec = replace(SPEC, auc=0.5, n_patients=80, size=64)
    telling, honest = toy(replace(spec, site_shortcut=1.0)), toy(spec)
    honest.digest = "e" * 64
    for name in ("metadata", "border", "thumbnail32"):
        assert mean_auc(fit_baselines(telling, baselines=[name], **OPTIONS)) > 0.9
        # about 50 test images a fold: an AUC of no discrimination has a standard error near 0.06
        assert abs(mean_auc(fit_baselines(honest, baselines=[name], **OPTIONS)) - 0.5) < 0.17


def test_handcrafted_features_find_the_disease_that_metadata_cannot(toy) -> None:
    dataset = toy(replace(SPEC, n_patients=240, images_per_patient=1, size=48, auc=0.97))
    seen = mean_auc(fit_baselines(dataset, baselines=["handcrafted_logistic"], **OPTIONS))
    assert 0.65 < seen < 0.97
    assert mean_auc(fit_baselines(dataset, baselines=["metadata"], **OPTIONS)) < 0.62


def test_hyperparameters_are_chosen_across_patients() -> None:
    """Features are fingerprints of patients: only a choice that mixes their images takes them for skill."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 4)
    labels = rng.permutation(np.arange(40) % 2)[patients]
    prints = rng.standard_normal((40, 60))[patients] + 0.05 * rng.standard_normal((160, 60))
    for name in ("handcrafted_logistic", "handcrafted_svm"):
        _, grouped = fit(BASELINES[name], prints, labels, patients, seed=0)
        _, mixed = fit(BASELINES[name], prints, labels, np.arange(160), seed=0)
        assert mixed["inner_auc"] > 0.99
        assert grouped["inner_auc"] < 0.75


def test_platt_scaling_learns_from_margins_of_images_that_were_not_fitted() -> None:
    """Noise is fitted perfectly by a support vector machine, so its own margins mean nothing."""
    rng = np.random.default_rng(1)
    labels, features = np.arange(200) % 2, rng.standard_normal((200, 80))
    model, metrics = fit(BASELINES["handcrafted_svm"], features, labels, np.arange(200), seed=0)
    assert abs(metrics["inner_auc"] - 0.5) < 0.15
    own = model.calibrated_classifiers_[0].estimator.decision_function(features)
    assert roc_auc_score(labels, own) > 0.95
    new = model.predict_proba(rng.standard_normal((500, 80)))[:, 1]
    assert np.abs(new - 0.5).max() < 0.2


def test_metadata_with_gaps_and_new_values() -> None:
    train = pd.DataFrame({"age_years": [20.0, np.nan, 70, 80] * 5, "sex": ["F", "M", "unknown", "M"] * 5})
    labels = np.array([0, 0, 1, 1] * 5)
    model, metrics = fit(BASELINES["metadata"], train, labels, np.arange(20), seed=0)
    assert metrics == {}
    new = pd.DataFrame({"age_years": [np.nan, 75.0, 30.0], "sex": ["F", "other", "F"]})
    scores = model.predict_proba(new)[:, 1]
    assert np.isfinite(scores).all()
    assert scores[1] > 0.5 > scores[2]
    # that an age is missing is itself a fact: in training it went with class 0
    assert scores[0] < 0.5


def test_stored_features_are_used_and_their_damage_is_reported(toy, monkeypatch) -> None:
    dataset, told = toy(SPEC), []
    table = Features(dataset, told.append).handcrafted
    assert told == [f"handcrafted features of {len(dataset.images)} images"]
    np.testing.assert_array_equal(Features(dataset, told.append).handcrafted, table)
    assert len(told) == 1
    (file,) = paths.features_dir().glob("*/features.npy")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"stored features in .* are damaged.*delete that folder"):
        _ = Features(dataset).handcrafted


def test_features_of_another_number_of_images_are_refused(toy, work: Path) -> None:
    dataset = toy(SPEC)
    _ = Features(dataset).handcrafted
    dataset.images = dataset.images[:-1]
    with pytest.raises(DataError, match="damaged"):
        _ = Features(dataset).handcrafted


def test_wrong_input_is_refused(toy) -> None:
    dataset = toy(SPEC)
    with pytest.raises(InputError, match=r"unknown baseline 'thumbnail' .did you mean 'thumbnail32'"):
        fit_baselines(dataset, baselines=["border", "thumbnail"], **OPTIONS)
    dataset.cohort.frame.loc[0, "label_pneumonia"] = pd.NA
    with pytest.raises(InputError, match="images of toy have no label for pneumonia"):
        fit_baselines(dataset, baselines=["border"], **OPTIONS)
    with pytest.raises(InputError, match="1 patients of a class"):
        fit(BASELINES["border"], np.zeros((4, 2)), np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), seed=0)


def test_patients_and_duplicates_are_joined_into_groups() -> None:
    frame = pd.DataFrame({"patient_id": list("aabcde"), "group_id": ["1", "2", "2", "3", "4", "3"]})
    # a shares group 2 with b; c shares group 3 with e; d stands alone
    groups = patient_groups(frame)
    assert [list(groups == g) for g in pd.unique(groups)] == [
        [True, True, True, False, False, False],
        [False, False, False, True, False, True],
        [False, False, False, False, True, False],
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=15))
def test_groups_are_the_smallest_that_split_nobody(pairs: list[tuple[int, int]]) -> None:
    frame = pd.DataFrame(pairs, columns=["patient_id", "group_id"]).astype(str)
    groups = patient_groups(frame)
    for column in ("patient_id", "group_id"):
        assert (pd.Series(groups).groupby(frame[column]).nunique() == 1).all()
    # joining rows one at a time until nothing changes gives as many groups
    label = list(range(len(pairs)))
    for _ in pairs:
        for i, a in enumerate(pairs):
            for j, b in enumerate(pairs):
                if a[0] == b[0] or a[1] == b[1]:
                    label[i] = label[j] = min(label[i], label[j])
    assert len(set(groups)) == len(set(label))
