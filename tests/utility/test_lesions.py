"""Small lesions are judged on their own; a planted dependence on size is found, and none is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from radtransfer.utility.cases import Question
from radtransfer.utility.decisions import operating_point
from radtransfer.utility.lesions import THIRDS, detection, lesion_size, small_lesion_gain, thirds


def planted(per_doubling: float, *, n: int = 400, seed: int = 0) -> tuple[Question, np.ndarray]:
    """Scores of lesions rise with the logarithm of their size."""
    rng = np.random.default_rng(seed)
    frames, sizes = [], []
    for part in ("validation", "test"):
        label = rng.integers(0, 2, n)
        size = np.exp2(rng.uniform(4, 8, n))
        score = expit(rng.logistic(size=n) + label * (1 + per_doubling * (np.log2(size) - 6)))
        patient = rng.integers(0, n // 3, n)
        frames.append(
            pd.DataFrame(
                {
                    "image_id": [f"{part}{i}" for i in range(n)],
                    "patient_id": [f"{part}{p % 2}_{p}" for p in patient],
                    "fold": patient % 2,
                    "label": label,
                    "score": score,
                }
            )
        )
        sizes.append(np.where(label == 1, size, np.nan))
    return Question("network", "haemorrhage", "positive", *frames), sizes[1]


def detect(ask: Question, size: np.ndarray, n_resamples: int = 200) -> object:
    point = operating_point(ask, "specificity", 0.9, level=0.95)
    return detection(ask, point, size, n_resamples=n_resamples, level=0.95, seed=1)


def test_size_is_the_root_of_the_area() -> None:
    cohort = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "bbox_width": pd.array([4, None, 9], dtype="Float64"),
            "bbox_height": pd.array([9, None, 9], dtype="Float64"),
        }
    )
    np.testing.assert_array_equal(lesion_size(cohort, ["c", "b", "a"]), [9, np.nan, 6])
    assert np.isnan(lesion_size(cohort[["image_id"]], ["a"])).all()


def test_thirds_hold_as_many() -> None:
    size = np.append(np.arange(1.0, 31), [np.nan] * 5)
    third, limits = thirds(size)
    assert [(third == k).sum() for k in (-1, 0, 1, 2)] == [5, 10, 10, 10]
    assert size[third == 0].max() <= limits[0] < size[third == 1].min()


def test_a_planted_dependence_is_found() -> None:
    ask, size = planted(0.8)
    found = detect(ask, size)
    rates = [found.sensitivity[name].estimate for name in THIRDS]  # type: ignore[attr-defined]
    areas = [found.auc[name].estimate for name in THIRDS]  # type: ignore[attr-defined]
    assert rates == sorted(rates)
    assert areas == sorted(areas)
    trend = found.trend  # type: ignore[attr-defined]
    # not the planted slope: the decision is a threshold on a logistic score, whose odds rise by it
    assert trend.low < 0.8 < trend.high
    assert trend.p_value < 0.001


def test_none_is_not_found_more_often_than_chance() -> None:
    p_values = [detect(*planted(0.0, seed=seed), n_resamples=20).trend.p_value for seed in range(40)]  # type: ignore[attr-defined]
    assert sum(p < 0.05 for p in p_values) <= 6  # binomial: more in less than 1 %


def test_auc_is_of_the_third_against_all_without() -> None:
    ask, size = planted(0.5)
    found = detect(ask, size)
    third, _ = thirds(size)
    test, expected = ask.test, []
    for fold in (0, 1):
        rows = ((third == 0) | (test["label"] == 0)).to_numpy() & (test["fold"] == fold).to_numpy()
        expected.append(roc_auc_score(test["label"][rows], test["score"][rows]))
    assert found.auc["small"].estimate == pytest.approx(np.mean(expected))  # type: ignore[attr-defined]


def test_gain_on_small_lesions() -> None:
    ask, size = planted(0.0)
    blind, _ = planted(0.8)  # the same images to the eye, but small lesions are not seen
    options = {"n_resamples": 200, "level": 0.95, "seed": 1}
    assert small_lesion_gain(ask, ask, size, **options).estimate == 0  # type: ignore[arg-type]
    found = small_lesion_gain(ask, blind, size, **options)  # type: ignore[arg-type]
    assert found.low > 0


def test_too_few_lesions_have_no_interval() -> None:
    ask, size = planted(0.5, n=12, seed=3)
    found = detect(ask, size)
    assert any(area.low is None for area in found.auc.values())  # type: ignore[attr-defined]
