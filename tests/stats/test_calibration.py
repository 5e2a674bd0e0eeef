"""Calibration: hand-checkable values, R's values on the CheXpert models, properties, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtransfer.stats import calibration as cal

MEASURES: list[Callable[..., Any]] = [
    cal.brier_score,
    cal.brier_decomposition,
    cal.expected_calibration_error,
    cal.reliability_curve,
    cal.calibration_slope,
    cal.calibration_in_the_large,
    cal.hosmer_lemeshow,
]


def planted(n: int = 4000, *, slope: float = 1.0, intercept: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Outcomes whose true calibration line is known."""
    rng = np.random.default_rng(seed)
    linear = rng.normal(-0.5, 1.2, n)
    y = rng.random(n) < 1 / (1 + np.exp(-(intercept + slope * linear)))
    return y.astype(int), 1 / (1 + np.exp(-linear))


def test_brier_by_hand() -> None:
    result = cal.brier_score([1, 0, 1, 0], [0.9, 0.2, 0.6, 0.5])
    assert result.estimate == pytest.approx((0.01 + 0.04 + 0.16 + 0.25) / 4)
    assert result.details["scaled"] == pytest.approx(1 - 0.115 / 0.25)
    assert 0 <= result.low <= result.estimate <= result.high <= 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=2, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["uniform", "quantile"]),
    st.sampled_from(["right", "left"]),
)
def test_decomposition_adds_up(
    rows: list[tuple[int, float]], n_bins: int, strategy: str, closed: str
) -> None:
    y, p = zip(*rows, strict=True)
    part = cal.brier_decomposition(y, p, n_bins=n_bins, strategy=strategy, closed=closed)
    total = part["reliability"] - part["resolution"] + part["uncertainty"]
    total += part["within_bin_variance"] - part["within_bin_covariance"]
    assert total == pytest.approx(part["brier"], abs=1e-12)


def test_an_edge_typed_by_a_person_is_an_edge() -> None:
    # 0.3 belongs to (.2, .3] or to [.3, .4); a bin edge computed as 0.1 * 3 would lie above it
    for p in (0.1, 0.3, 0.6, 0.7):
        right = cal.expected_calibration_error([0, 1], [p, p + 0.05], closed="right")
        left = cal.expected_calibration_error([0, 1], [p, p + 0.05], closed="left")
        assert right.estimate == pytest.approx((p + (1 - p - 0.05)) / 2)
        assert left.estimate == pytest.approx(abs(0.5 - (p + 0.025)))


def test_bins_of_equal_counts_survive_ties() -> None:
    y, p = [0, 1] * 50, [0.2] * 90 + [0.9] * 10
    result = cal.expected_calibration_error(y, p, strategy="quantile")
    assert result.estimate == pytest.approx(0.9 * 0.3 + 0.1 * 0.4)


def test_reliability_curve_by_hand() -> None:
    low, high = cal.reliability_curve([0, 0, 0, 1, 1, 1, 1, 0], [0.1] * 4 + [0.8] * 4)
    assert (low.estimate, high.estimate) == (0.25, 0.75)
    assert low.details["mean_probability"] == pytest.approx(0.1)
    assert (low.low, low.high) == pytest.approx((0.0456, 0.6994), abs=5e-5)  # Wilson interval of 1 of 4


def test_planted_calibration_is_recovered() -> None:
    y, p = planted(20_000, slope=0.6, intercept=0.4)
    slope = cal.calibration_slope(y, p)
    assert slope.low < 0.6 < slope.high
    assert slope.details["intercept"] == pytest.approx(0.4, abs=4 * slope.details["intercept_se"])
    assert slope.p_value < 1e-6
    right = cal.calibration_slope(*planted(seed=1))
    assert right.low < 1 < right.high


def test_errors_that_cancel_out_in_every_cluster_have_no_standard_error() -> None:
    y, p = np.tile([0, 1], 10), np.tile([0.25, 0.75], 10)
    pairs = np.repeat(np.arange(10), 2)
    with pytest.raises(ValueError, match="errors cancel out within every cluster"):
        cal.calibration_in_the_large(y, p, cluster=pairs)
    assert cal.calibration_in_the_large(y, p).estimate == pytest.approx(0, abs=1e-9)


def test_calibration_in_the_large_makes_the_means_equal() -> None:
    y, p = planted(500, intercept=1.0)
    shift = cal.calibration_in_the_large(y, p).estimate
    moved = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))
    assert moved.mean() == pytest.approx(y.mean())  # the score equation of the intercept


def test_perfectly_calibrated_groups() -> None:
    p = np.repeat([0.2, 0.5, 0.8], 10)
    y = np.concatenate([np.r_[np.ones(e), np.zeros(10 - e)] for e in (2, 5, 8)])
    slope, large = cal.calibration_slope(y, p), cal.calibration_in_the_large(y, p)
    assert slope.estimate == pytest.approx(1)
    assert slope.p_value == pytest.approx(1)
    assert large.estimate == pytest.approx(0, abs=1e-12)
    assert cal.expected_calibration_error(y, p).estimate == pytest.approx(0, abs=1e-12)
    test = cal.hosmer_lemeshow(y, p)
    assert (test.statistic, test.df) == (pytest.approx(0, abs=1e-12), 1)


def test_hosmer_lemeshow_counts_the_groups_that_exist() -> None:
    p = np.repeat([0.2, 0.5, 0.8], 40)
    y = np.concatenate([np.r_[np.ones(e), np.zeros(40 - e)] for e in (10, 18, 33)])
    # 4/6.4 + 4/10 + 1/6.4: deviations 2, -2, 1 over n p (1 - p)
    test = cal.hosmer_lemeshow(y, p)
    assert test.statistic == pytest.approx(4 / 6.4 + 4 / 10 + 1 / 6.4)
    assert (test.df, test.details["groups"]) == (1, 3)
    assert cal.hosmer_lemeshow(y, p, model="external").df == 3
    with pytest.raises(ValueError, match="no test"):
        cal.hosmer_lemeshow(y[:80], p[:80])


def test_hosmer_lemeshow_holds_its_level_on_an_external_model() -> None:
    rejected = sum(
        cal.hosmer_lemeshow(*planted(400, seed=s), model="external").p_value < 0.05 for s in range(300)
    )
    assert abs(rejected / 300 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 300)


def test_clusters_widen_intervals_of_repeated_patients() -> None:
    y, p = planted(200)
    patient = np.arange(200)
    for measure in (cal.brier_score, cal.calibration_slope, cal.calibration_in_the_large):
        single = measure(y, p, cluster=patient)
        copied = measure(np.tile(y, 5), np.tile(p, 5), cluster=np.tile(patient, 5))
        naive = measure(np.tile(y, 5), np.tile(p, 5))
        assert copied.estimate == pytest.approx(single.estimate, abs=1e-8)
        assert copied.details["se"] == pytest.approx(single.details["se"], rel=0.01)
        assert naive.details["se"] < 0.6 * copied.details["se"]
        assert copied.n["clusters"] == 200


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.2, 1.7], "not a probability"),
        ([0, 1], [-0.1, 0.5], "not a probability"),
        ([0, 1], [0.2, float("nan")], "nan"),
        ([0, 2], [0.2, 0.4], "neither 0 nor 1"),
        ([-1, 1], [0.2, 0.4], "neither 0 nor 1"),
        ([0, float("nan")], [0.2, 0.4], "neither 0 nor 1"),
        ([0, 1, 1], [0.2, 0.4], "3 expected"),
        ([], [], "empty"),
        (["a", 1], [0.2, 0.4], "not a number"),
    ],
)
def test_what_is_no_probability_is_refused(measure: Callable[..., Any], y: Any, p: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(y, p)


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1, 0, 1], [0.3] * 4, "constant"),
        ([0, 0, 0], [0.1, 0.2, 0.3], "two classes"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "separate"),
        ([0, 1, 1, 0], [0.0, 0.5, 0.9, 0.4], "exactly 0 or 1"),
    ],
)
def test_a_slope_that_does_not_exist_is_refused(y: list[int], p: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cal.calibration_slope(y, p)


@pytest.mark.parametrize("change", [{"n_bins": 0}, {"closed": "both"}, {"strategy": "kmeans"}])
def test_unknown_bins_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"n_bins|closed|strategy"):
        cal.expected_calibration_error([0, 1], [0.2, 0.4], **change)


@pytest.mark.shared
@pytest.mark.parametrize("finding", ["Edema", "Pleural_Effusion"])
@pytest.mark.parametrize("model", ["jfaboy", "ngango3"])
def test_calibration_of_the_chexpert_models(
    shared_oracles: Path, shared_data: Path, finding: str, model: str
) -> None:
    folder = shared_data / "chexpert_readers"
    column = finding.replace("_", " ")
    truth = pd.read_csv(folder / "groundtruth.csv")
    scores = pd.read_csv(folder / f"example_models/predictions/standard/{model}_predictions.csv")
    key = truth.columns[0]
    scores = scores.rename(columns={scores.columns[0]: key})
    both = truth[[key, column]].merge(scores[[key, column]], on=key, suffixes=("", "_score"), validate="1:1")
    y, p = both[column].to_numpy(), both[f"{column}_score"].to_numpy()
    assert len(y) == 500
    expected = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"][finding]
    expected = expected["calibration"][model]
    slope, large, test = (
        cal.calibration_slope(y, p),
        cal.calibration_in_the_large(y, p),
        cal.hosmer_lemeshow(y, p),
    )
    assert cal.brier_score(y, p).estimate == pytest.approx(expected["brier"], abs=1e-12)
    assert cal.expected_calibration_error(y, p).estimate == pytest.approx(
        expected["ece_10_equal_width_right_closed"], abs=1e-12
    )
    assert slope.estimate == pytest.approx(expected["slope"], abs=1e-6)
    assert slope.details["intercept"] == pytest.approx(expected["intercept_at_slope"], abs=1e-6)
    # R stops its iterations one step earlier, which shows in the fourth digit of the error
    assert slope.details["se"] == pytest.approx(expected["slope_se"], abs=1e-4)
    assert large.estimate == pytest.approx(expected["calibration_in_the_large"], abs=1e-6)
    assert large.details["se"] == pytest.approx(expected["citl_se"], abs=1e-4)
    assert test.statistic == pytest.approx(expected["hosmer_lemeshow"]["chi2"], abs=1e-9)
    assert test.df == expected["hosmer_lemeshow"]["df"]
