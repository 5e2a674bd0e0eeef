"""Shortcut features see what they should, and nothing of the anatomy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radtransfer.baselines import fit_baselines
from radtransfer.baselines.shortcuts import (
    border_features,
    metadata_table,
    slice_position_table,
    thumbnails,
)
from radtransfer.data.phantoms import PhantomSpec


def cohort(**columns: list) -> pd.DataFrame:
    defaults = {
        "age_years": pd.array([40, None, 60], dtype="Float64"),
        "sex": ["F", None, "M"],
        "view": ["AP", "PA", "PA"],
        "site": [None, None, None],
        "label_pneumonia": [0, 1, 1],
        "truth_score": [0.1, 0.2, 0.3],
    }
    return pd.DataFrame(defaults | columns)


def test_metadata_are_the_known_facts_only() -> None:
    table = metadata_table(cohort())
    assert list(table) == ["age_years", "sex", "view"]
    np.testing.assert_array_equal(table["age_years"], [40, np.nan, 60])
    assert table["sex"].tolist() == ["F", "unknown", "M"]


def test_a_fact_that_never_varies_is_left_out_and_one_half_known_is_not() -> None:
    table = metadata_table(cohort(view=["AP"] * 3, site=["a", None, None]))
    assert list(table) == ["age_years", "sex", "site"]
    assert table["site"].tolist() == ["a", "unknown", "unknown"]
    assert list(metadata_table(cohort().drop(columns=["age_years", "view"]))) == ["sex"]


def test_place_of_a_slice_counts_from_the_middle_of_its_series() -> None:
    table = slice_position_table(cohort(slice_fraction=pd.array([0.0, None, 0.7], dtype="Float64")))
    np.testing.assert_allclose(table["distance_from_middle"], [0.5, np.nan, 0.2])


def test_where_no_place_is_known_there_is_no_column() -> None:
    for frame in (cohort(), cohort(slice_fraction=pd.array([None] * 3, dtype="Float64"))):
        assert slice_position_table(frame).shape == (3, 0)


def test_border_of_a_framed_image() -> None:
    image = np.full((32, 32), 102, np.uint8)  # the border of 1/16 is 2 pixels wide
    image[:2] = 255
    image[:, -2:] = 0
    top, bottom, left, right, whole = border_features(image[None])[0, :5]
    expected = [30 / 32, (30 * 0.4) / 32, (2 + 30 * 0.4) / 32, 0, (60 + 30 * 30 * 0.4) / 32**2]
    assert [top, bottom, left, right, whole] == pytest.approx(expected)
    spreads = border_features(image[None])[0, 5:]
    assert spreads[0] == pytest.approx(np.sqrt(30 / 32 * 2 / 32))
    assert spreads[3] == 0


def test_border_features_do_not_see_where_anything_is() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    shuffled = image.copy()
    shuffled[4:-4, 4:-4] = rng.permutation(image[4:-4, 4:-4].ravel()).reshape(56, 56)
    assert not np.array_equal(image, shuffled)
    np.testing.assert_allclose(border_features(image[None]), border_features(shuffled[None]), rtol=1e-12)


def test_thumbnails_are_area_means() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    means = images.reshape(3, 32, 4, 32, 4).mean(axis=(2, 4)).reshape(3, -1) / 255
    np.testing.assert_allclose(thumbnails(images), means, atol=0.51 / 255)  # stored as whole grey levels
    small = images[:, :32, :32]
    np.testing.assert_allclose(thumbnails(small), small.reshape(3, -1) / 255, rtol=1e-6)


def test_a_baseline_without_facts_is_left_out_and_one_with_facts_learns_them(toy: Any) -> None:
    dataset = toy(PhantomSpec(n_patients=60, size=32, images_per_patient=1))
    fit = partial(
        fit_baselines,
        task="pneumonia",
        baselines=["slice_position"],
        validation_fraction=0.2,
        seed=0,
        n_folds_used=1,
    )
    told: list[str] = []
    assert fit(dataset, progress=told.append) == []
    assert told == ["slice_position: the dataset has none of the facts it needs"]
    sick = dataset.cohort.labels("pneumonia").to_numpy(dtype=int)
    rng = np.random.default_rng(0)
    # the sick near the middle, on either side of it
    distance = np.where(sick, rng.uniform(0, 0.25, len(sick)), rng.uniform(0.2, 0.5, len(sick)))
    dataset.cohort = dataset.cohort.assign(slice_fraction=0.5 + rng.choice([-1, 1], len(sick)) * distance)
    dataset.digest = "e" * 64
    (record,) = fit(dataset)
    test = record.predictions().query("part == 'test'")
    assert roc_auc_score(test["label"], test["score"]) > 0.9
