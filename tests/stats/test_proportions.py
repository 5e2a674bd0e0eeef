"""Proportions: hand-checkable values, R's values, exact coverage, properties, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radtransfer.stats.proportions import (
    clustered_proportion,
    confusion_counts,
    diagnostic_accuracy,
    npv_at_prevalence,
    ppv_at_prevalence,
    proportion,
)

METHODS = ["wilson", "wilson_cc", "clopper_pearson"]


# R 4.2: prop.test(correct = FALSE), prop.test(), binom.test()
@pytest.mark.parametrize(
    ("x", "n", "limits"),
    [
        (0, 10, [(0, 0.277532799862889), (0, 0.344537218306922), (0, 0.308497107818761)]),
        (1, 1, [(0.206549314377238, 1), (0.054620755528852, 1), (0.025, 1)]),
        (
            5,
            10,
            [
                (0.236593090512564, 0.763406909487436),
                (0.236593090512564, 0.763406909487436),
                (0.187086028447399, 0.812913971552601),
            ],
        ),
        (
            999,
            1000,
            [
                (0.994357441402042, 0.999823453629374),
                (0.993531214953175, 0.999947797644557),
                (0.994441075720173, 0.999974682512509),
            ],
        ),
    ],
)
def test_intervals_as_in_r(x: int, n: int, limits: list[tuple[float, float]]) -> None:
    for method, expected in zip(METHODS, limits, strict=True):
        result = proportion(x, n, method=method)
        assert (result.low, result.high) == pytest.approx(expected, abs=1e-12)


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from(METHODS)
)
def test_intervals_hold_the_estimate_inside_the_range(counts: tuple[int, int], method: str) -> None:
    x, n = counts
    result, mirrored = proportion(x, n, method=method), proportion(n - x, n, method=method)
    assert 0 <= result.low <= result.estimate <= result.high <= 1
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - result.high, 1 - result.low), abs=1e-9)


@pytest.mark.parametrize("n", [10, 37])
def test_exact_coverage_by_enumeration(n: int) -> None:
    limits = {m: [proportion(x, n, method=m) for x in range(n + 1)] for m in ("wilson", "clopper_pearson")}
    for p in np.linspace(0.005, 0.995, 100):
        chance = stats.binom.pmf(np.arange(n + 1), n, p)
        coverage = {
            method: sum(c for c, i in zip(chance, intervals, strict=True) if i.low <= p <= i.high)
            for method, intervals in limits.items()
        }
        assert coverage["clopper_pearson"] >= 0.95
        assert coverage["wilson"] >= 0.83  # its known minimum near the ends


def test_table_by_hand() -> None:
    result = diagnostic_accuracy(tp=9, fn=1, fp=999, tn=8991)
    values = {name: estimate.estimate for name, estimate in result.items()}
    assert values["sensitivity"] == values["specificity"] == values["accuracy"] == 0.9
    assert values["ppv"] == pytest.approx(9 / 1008)
    assert values["npv"] == pytest.approx(8991 / 8992)
    assert values["prevalence"] == pytest.approx(0.001)
    assert values["f1"] == pytest.approx(2 * 9 / (2 * 9 + 1 + 999))
    assert result["f1"].low <= values["f1"] <= result["f1"].high


def test_undefined_measures_are_none() -> None:
    result = diagnostic_accuracy(tp=0, fn=0, fp=0, tn=5)
    assert {name for name, estimate in result.items() if estimate is None} == {"sensitivity", "ppv", "f1"}
    assert result["specificity"].estimate == 1


def test_counts_of_decisions() -> None:
    assert confusion_counts([1, 1, 1, 0, 0], [1, 0, 1, 1, 0]) == {"tp": 2, "fp": 1, "fn": 1, "tn": 1}


def test_predictive_values_at_another_prevalence() -> None:
    assert ppv_at_prevalence(0.9, 0.9, prevalence=0.001).estimate == pytest.approx(0.008928571428571428)
    assert npv_at_prevalence(0.9, 0.9, prevalence=0.001).estimate == pytest.approx(
        1 - 0.1 / 999.1 * 1.0, abs=1e-4
    )
    assert npv_at_prevalence(0.8, 0.7, prevalence=0.3).estimate == pytest.approx(0.49 / (0.49 + 0.06))


def test_predictive_value_at_the_prevalence_of_the_sample_is_that_of_the_sample() -> None:
    table = diagnostic_accuracy(tp=80, fn=20, fp=30, tn=170)
    result = ppv_at_prevalence(0.8, 0.85, prevalence=1 / 3, n_positive=100, n_negative=200)
    assert result.estimate == pytest.approx(table["ppv"].estimate)
    # Mercaldo 2007: variance of the log-odds (1 - Se)/(Se n1) + Sp/((1 - Sp) n0)
    odds = np.log(80 / 30) + np.array([-1, 1]) * 1.959963984540054 * np.sqrt(0.2 / 80 + 0.85 / 30)
    assert (result.low, result.high) == pytest.approx(tuple(1 / (1 + np.exp(-odds))))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_predictive_values_stay_in_range(sensitivity: float, specificity: float, prevalence: float) -> None:
    for function in (ppv_at_prevalence, npv_at_prevalence):
        try:
            result = function(sensitivity, specificity, prevalence=prevalence, n_positive=20, n_negative=30)
        except ValueError as error:
            assert "0/0" in str(error)  # noqa: PT017
            continue
        assert 0 <= result.estimate <= 1
        if result.low is not None:
            assert 0 <= result.low <= result.high <= 1


def test_clustered_proportion_by_hand() -> None:
    # patients 2/2, 1/2, 0/2, 2/2: p 5/8, variance 4/3 * (.75^2 + .25^2 + 1.25^2 + .75^2) / 64
    result = clustered_proportion([1, 1, 1, 0, 0, 0, 1, 1], cluster=[1, 1, 2, 2, 3, 3, 4, 4])
    variance = 4 / 3 * 2.75 / 64
    assert result.estimate == 0.625
    assert result.details["se"] == pytest.approx(np.sqrt(variance))
    assert result.details["design_effect"] == pytest.approx(variance / (0.625 * 0.375 / 8))
    shrink = (stats.t.ppf(0.975, 7) / stats.t.ppf(0.975, 3)) ** 2
    assert result.details["effective_n"] == pytest.approx(8 * shrink / result.details["design_effect"])


def test_copies_of_an_image_tell_nothing_new() -> None:
    rng = np.random.default_rng(1)
    hit = rng.integers(0, 2, 80)
    once = clustered_proportion(hit, cluster=np.arange(80))
    copied = clustered_proportion(np.repeat(hit, 5), cluster=np.repeat(np.arange(80), 5))
    assert copied.details["se"] == pytest.approx(once.details["se"])
    assert copied.details["design_effect"] == pytest.approx(5 * once.details["design_effect"])
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=2e-3)


@pytest.mark.parametrize("method", ["wilson", "clopper_pearson"])
def test_one_image_per_patient_is_nearly_binomial(method: str) -> None:
    hit = np.arange(200) < 160
    clustered = clustered_proportion(hit, cluster=np.arange(200), method=method)
    plain = proportion(160, 200, method=method)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), abs=1e-3)


def test_no_more_certainty_than_trials() -> None:
    # every patient has the same share: the design effect is 0, the trials remain
    result = clustered_proportion([1, 0] * 10, cluster=np.repeat(range(10), 2))
    assert result.details["design_effect"] == 0
    assert result.details["effective_n"] == 20
    assert (result.low, result.high) == pytest.approx((proportion(10, 20).low, proportion(10, 20).high))


def test_all_right_in_few_patients_counts_patients() -> None:
    result = clustered_proportion([1] * 12, cluster=np.repeat(range(3), 4))
    assert (result.low, result.high) == pytest.approx((proportion(3, 3).low, 1.0))


def test_clustered_coverage_of_the_truth() -> None:
    # 40 patients of 5 images with a correlation within patients: plain Wilson misses too often
    rng = np.random.default_rng(12)
    covered = {"clustered": 0, "plain": 0}
    patient = np.repeat(np.arange(40), 5)
    for _ in range(400):
        share = rng.beta(2.8, 1.2, 40)  # mean .7, correlation 1/5
        hit = rng.random(200) < share[patient]
        clustered, plain = clustered_proportion(hit, cluster=patient), proportion(hit.sum(), 200)
        covered["clustered"] += clustered.low <= 0.7 <= clustered.high
        covered["plain"] += plain.low <= 0.7 <= plain.high
    assert covered["clustered"] / 400 == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 400))
    assert covered["plain"] / 400 < 0.9


def test_impossible_input_is_refused() -> None:
    for x, n, message in (
        (3, 2, "successes"),
        (0, 0, "0/0"),
        (-1, 5, "whole"),
        (1.5, 5, "whole"),
        (1, np.nan, "whole"),
    ):
        with pytest.raises(ValueError, match=message):
            proportion(x, n)
    with pytest.raises(ValueError, match="empty"):
        diagnostic_accuracy(tp=0, fp=0, fn=0, tn=0)
    with pytest.raises(ValueError, match="neither"):
        confusion_counts([0, 1, -1], [0, 1, 1])
    with pytest.raises(ValueError, match="0/0"):
        ppv_at_prevalence(0.0, 1.0, prevalence=0.2)
    with pytest.raises(ValueError, match="prevalence"):
        ppv_at_prevalence(0.9, 0.9, prevalence=20)
    with pytest.raises(ValueError, match="method"):
        proportion(1, 2, method="wald")  # type: ignore[arg-type]
    for success, trial, cluster, message in (
        ([1, 0], [0, 0], [1, 2], "not a trial"),
        ([0, 0], [0, 0], [1, 2], "0/0"),
        ([1, 0], [1, 1], [1, 1], "one cluster"),
        ([1, 0, 0], [1, 0, 0], [1, 1, 2], "one cluster"),
        ([1, 0], [1], [1, 2], "values"),
    ):
        with pytest.raises(ValueError, match=message):
            clustered_proportion(success, trial, cluster=cluster)


@pytest.mark.shared
@pytest.mark.parametrize("finding", ["Edema", "Pleural_Effusion"])
def test_chexpert_readers_as_in_r(shared_oracles: Path, finding: str) -> None:
    reference = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"][finding]
    for who in (*reference["reader"].values(), *reference["ai_decision"].values()):
        cells = {name: who[name] for name in ("tp", "fp", "fn", "tn")}
        for method in ("wilson", "clopper_pearson"):
            measures = diagnostic_accuracy(**cells, method=method)
            for name in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):
                assert measures[name].estimate == pytest.approx(who[name]["estimate"], abs=1e-12)
                limits = [measures[name].low, measures[name].high]
                assert limits == pytest.approx(who[name][method], abs=1e-10)
