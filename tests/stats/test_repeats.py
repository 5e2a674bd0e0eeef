"""Trainings from several seeds: the two spreads are told apart and added as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from radtransfer.stats.repeats import over_repeats


def test_variances_are_those_computed_by_hand() -> None:
    # means of the resamples over both trainings: 0.5, 0.7, 0.6; their variance is 0.01
    samples = [[0.4, 0.8, 0.6], [0.6, 0.6, 0.6]]
    found = over_repeats("AUC", [0.5, 0.7], samples, n_clusters=11, null=0.5)
    assert found.estimate == pytest.approx(0.6)
    assert found.details["sd_sampling"] == pytest.approx(0.1)
    assert found.details["sd_seed"] == pytest.approx(np.sqrt(0.02))
    # 0.01 of patients and 0.02 / 2 of trainings
    error, df = np.sqrt(0.02), 1 / (0.5**2 / 10 + 0.5**2 / 1)
    assert found.df == pytest.approx(df)
    assert found.low == pytest.approx(0.6 - stats.t.ppf(0.975, df) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.1 / error, df))
    assert found.n == {"trainings": 2}


def test_one_training_speaks_of_its_patients_alone() -> None:
    found = over_repeats("AUC", [0.6], [[0.5, 0.6, 0.7]], n_clusters=21)
    assert found.high == pytest.approx(0.6 + stats.t.ppf(0.975, 20) * 0.1)
    assert found.details["sd_seed"] is None
    assert "one training" in found.method


def test_an_interval_ends_where_values_do() -> None:
    free = over_repeats("AUC", [0.2, 0.98], [[0.2, 0.3], [0.9, 0.99]], n_clusters=9)
    bound = over_repeats("AUC", [0.2, 0.98], [[0.2, 0.3], [0.9, 0.99]], n_clusters=9, bounds=(0.0, 1.0))
    assert free.low < 0
    assert free.high > 1
    assert (bound.low, bound.high) == (0, 1)
    assert bound.estimate == free.estimate


def test_two_arms_that_are_one_differ_by_nothing() -> None:
    found = over_repeats("gain", [0.0, 0.0], np.zeros((2, 50)), n_clusters=9, null=0.0)
    assert (found.estimate, found.low, found.p_value) == (0.0, None, 1.0)


@pytest.mark.parametrize(
    "samples", [[[0.5, 0.6]], [0.5, 0.6], [[0.5, np.nan], [0.5, 0.6]]], ids=["few", "flat", "undefined"]
)
def test_what_does_not_fit_is_refused(samples: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="AUC"):
        over_repeats("AUC", [0.5, 0.7], samples, n_clusters=9)


def test_the_interval_covers_what_new_patients_and_new_trainings_would_give() -> None:
    rng = np.random.default_rng(7)
    patients, repeats, inside = 60, 3, 0
    for _ in range(400):
        ability = rng.normal(0, 0.5, size=patients)
        values = ability + rng.normal(0, 0.08, size=(repeats, 1)) + rng.normal(0, 0.1, (repeats, patients))
        drawn = rng.integers(patients, size=(300, patients))
        found = over_repeats("mean", values.mean(axis=1), values[:, drawn].mean(axis=2), n_clusters=patients)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0 <= found.high
    assert stats.binomtest(inside, 400, 0.95).pvalue > 1e-3
