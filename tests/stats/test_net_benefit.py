"""Net benefit: hand-checkable values, dcurves' values, identities, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtransfer.stats.net_benefit import decision_curve, net_benefit, net_benefit_difference

rows = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=3, max_size=60)


def test_net_benefit_by_hand() -> None:
    # at 1/4: 2 true positives, 1 false positive of 5 cases; 2/5 - 1/5 * 1/3
    result = net_benefit([1, 1, 1, 0, 0], [0.9, 0.25, 0.1, 0.6, 0.2], threshold=0.25)
    assert result.estimate == pytest.approx(2 / 5 - 1 / 15)
    assert result.details["treat_all"] == pytest.approx(3 / 5 - 2 / 5 / 3)
    assert result.details["advantage"] == pytest.approx(2 / 5 - 1 / 15 - (3 / 5 - 2 / 15))


@settings(max_examples=50, deadline=None)
@given(rows, st.floats(0, 0.95))
def test_treating_all_is_a_model_that_calls_all_positive(
    table: list[tuple[int, float]], threshold: float
) -> None:
    y, _ = zip(*table, strict=True)
    result = net_benefit(y, np.ones(len(y)), threshold=threshold)
    prevalence = np.mean(y)
    by_formula = prevalence - (1 - prevalence) * threshold / (1 - threshold)
    assert result.estimate == pytest.approx(by_formula, abs=1e-9)
    assert result.details["treat_all"] == pytest.approx(by_formula, abs=1e-9)
    if threshold > 0:
        assert net_benefit(y, np.zeros(len(y)), threshold=threshold).estimate == 0  # treating none


@settings(max_examples=50, deadline=None)
@given(rows, st.floats(0, 0.95))
def test_bounds_and_difference(table: list[tuple[int, float]], threshold: float) -> None:
    y, p = (np.array(column) for column in zip(*table, strict=True))
    result = net_benefit(y, p, threshold=threshold)
    assert -threshold / (1 - threshold) - 1e-12 <= result.low <= result.estimate <= result.high <= 1
    same = net_benefit_difference(y, p, p, threshold=threshold)
    assert (same.estimate, same.p_value) == (0.0, 1.0)
    other = net_benefit(y, 1 - p, threshold=threshold)
    try:
        difference = net_benefit_difference(y, p, 1 - p, threshold=threshold)
    except ValueError:  # the models differ by the same amount for every case
        return
    assert difference.estimate == pytest.approx(result.estimate - other.estimate, abs=1e-9)


def test_prevalence_by_hand() -> None:
    # at 1/4: sensitivity 2/3 and false positive rate 1/2 of the case-control sample
    y, p = [1, 1, 1, 0, 0], [0.9, 0.25, 0.1, 0.6, 0.2]
    result = net_benefit(y, p, threshold=0.25, prevalence=0.1)
    assert result.estimate == pytest.approx(0.1 * 2 / 3 - 0.9 * 0.5 / 3)
    assert result.details["treat_all"] == pytest.approx(0.1 - 0.3)
    other = [0.9, 0.9, 0.1, 0.1, 0.2]
    difference = net_benefit_difference(y, p, other, threshold=0.25, prevalence=0.1)
    assert difference.estimate == pytest.approx(-0.9 * 0.5 / 3)


@settings(max_examples=50)
@given(rows)
def test_prevalence_of_the_sample_changes_nothing_but_the_interval(table: list[tuple[int, float]]) -> None:
    y, p = (np.array(column) for column in zip(*table, strict=True))
    if 0 < y.mean() < 1:
        here = net_benefit(y, p, threshold=0.2, prevalence=float(y.mean()))
        assert here.estimate == pytest.approx(net_benefit(y, p, threshold=0.2).estimate, abs=1e-12)
    else:
        with pytest.raises(ValueError, match="one class"):
            net_benefit(y, p, threshold=0.2, prevalence=0.3)


def test_interval_at_another_prevalence_is_that_of_a_stratified_bootstrap() -> None:
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(150), 3)
    y = np.repeat(rng.integers(0, 2, 150), 3)
    p = np.clip(0.3 + 0.3 * y + np.repeat(0.15 * rng.normal(size=150), 3) + 0.1 * rng.normal(size=450), 0, 1)
    found = net_benefit(y, p, threshold=0.4, prevalence=0.1, cluster=patient)
    called, ill = ((p >= 0.4).reshape(150, 3).mean(axis=1), y[::3] == 1)
    fp, tp = (rng.choice(called[ill == k], (2000, (ill == k).sum())).mean(axis=1) for k in (False, True))
    values = 0.1 * tp - 0.9 * fp * 0.4 / 0.6
    assert found.details["se"] == pytest.approx(np.std(values), rel=0.06)
    assert found.low == pytest.approx(np.quantile(values, 0.025), abs=0.15 * (found.high - found.low))
    assert found.high == pytest.approx(np.quantile(values, 0.975), abs=0.15 * (found.high - found.low))
    # neglecting patients would promise too much
    assert net_benefit(y, p, threshold=0.4, prevalence=0.1).details["se"] < 0.8 * found.details["se"]


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    threshold, covered = 0.2, 0
    p = rng.beta(1, 3, 400_000)
    truth = np.where(p >= threshold, p - (1 - p) * threshold / (1 - threshold), 0).mean()
    for _ in range(400):
        p = rng.beta(1, 3, 300)
        result = net_benefit((rng.random(300) < p).astype(int), p, threshold=threshold)
        covered += result.low <= truth <= result.high
    assert abs(covered / 400 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


def test_copies_of_patients_add_no_information() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(100)
    y = (rng.random(100) < p).astype(int)
    single = net_benefit(y, p, threshold=0.3, cluster=np.arange(100))
    copied = net_benefit(np.tile(y, 3), np.tile(p, 3), threshold=0.3, cluster=np.tile(np.arange(100), 3))
    assert copied.details["se"] == pytest.approx(single.details["se"])


def test_curve_and_where_the_model_is_useful() -> None:
    y, p = [0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.9]
    curve = decision_curve(y, p, thresholds=[0.0, 0.5, 0.8])
    assert [row["threshold"] for row in curve.to_rows()] == [0.0, 0.5, 0.8]
    assert curve.useful == (0.5, 0.8)
    assert len(decision_curve(y, p).points) == 99


@pytest.mark.parametrize("threshold", [1.0, -0.1, 1.5, float("nan")])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        net_benefit([0, 1], [0.2, 0.4], threshold=threshold)
    with pytest.raises(ValueError, match="threshold"):
        decision_curve([0, 1], [0.2, 0.4], thresholds=[threshold])


def test_scores_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match="not a probability"):
        net_benefit([0, 1], [0.2, 2.81], threshold=0.5)
    with pytest.raises(ValueError, match="increasing"):
        decision_curve([0, 1], [0.2, 0.4], thresholds=[0.5, 0.2])


@pytest.mark.shared
@pytest.mark.parametrize("finding", ["Edema", "Pleural_Effusion"])
@pytest.mark.parametrize("model", ["jfaboy", "ngango3"])
def test_net_benefit_of_the_chexpert_models_as_in_dcurves(
    shared_oracles: Path, shared_data: Path, finding: str, model: str
) -> None:
    folder = shared_data / "chexpert_readers"
    column = finding.replace("_", " ")
    truth = pd.read_csv(folder / "groundtruth.csv")
    scores = pd.read_csv(folder / f"example_models/predictions/standard/{model}_predictions.csv")
    key = truth.columns[0]
    scores = scores.rename(columns={scores.columns[0]: key})
    both = truth[[key, column]].merge(scores[[key, column]], on=key, suffixes=("", "_score"), validate="1:1")
    reference = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"][finding]
    expected = reference["calibration"][model]["net_benefit"]
    curve = decision_curve(both[column], both[f"{column}_score"], thresholds=expected["thresholds"])
    assert [point.estimate for point in curve.points] == pytest.approx(expected["dcurves"], abs=1e-12)
    treat_all = [point.details["treat_all"] for point in curve.points]
    assert treat_all == pytest.approx(expected["dcurves_all"], abs=1e-12)
