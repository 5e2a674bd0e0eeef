from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from invented import evaluation_of, noisy, patients
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from radtransfer.errors import InputError
from radtransfer.subgroups.disparities import GAPS, Subgroups, analyse
from radtransfer.subgroups.groups import attributes_of

EDGES = {"age_edges": [40, 60], "follow_up_edges": [1]}
OPTIONS = {"minimum": 5, "n_resamples": 400, "n_permutations": 399, "seed": 3}


def analysed(frame: pd.DataFrame, distance: np.ndarray | float, **changes: int) -> Subgroups:
    label = frame["label_pneumonia"].to_numpy()
    evaluation = evaluation_of(frame, {"a": noisy(label, distance, seed=2)})
    return analyse(evaluation, attributes_of(frame, **EDGES), **(OPTIONS | changes))


def gap(result: Subgroups, attribute: str, measure: str = "auc"):
    return next(g for g in result.gaps if (g.attribute, g.measure) == (attribute, measure))


def test_rates_and_gaps_are_those_of_fairlearn() -> None:
    frame = patients(120)
    result = analysed(frame, 1.2)
    table = result.evaluation.models["a"].table
    for attribute in result.groups:
        group = result.groups[attribute].reindex(table["image_id"]).astype(str).to_numpy()
        y = {"y_true": table["label"], "y_pred": table["decision"]}
        cells = [one for one in result.cells if one.cell.attribute == attribute]
        assert all(one.cell.shown for one in cells)  # otherwise fairlearn would see more groups
        by_group = MetricFrame(
            metrics={
                "sensitivity": true_positive_rate,
                "fpr": false_positive_rate,
                "selection_rate": selection_rate,
            },
            sensitive_features=group,
            **y,
        ).by_group
        for one in cells:
            theirs = by_group.loc[one.cell.group]
            assert one.measures["sensitivity"].estimate == pytest.approx(theirs["sensitivity"])
            assert one.measures["specificity"].estimate == pytest.approx(1 - theirs["fpr"])
            assert one.measures["selection_rate"].estimate == pytest.approx(theirs["selection_rate"])
        for measure, function in (
            ("equal_opportunity", equal_opportunity_difference),
            ("equalised_odds", equalized_odds_difference),
        ):
            ours = gap(result, attribute, measure).estimate.estimate
            assert ours == pytest.approx(function(sensitive_features=group, **y))


def test_a_group_without_positives_is_suppressed_and_not_scored_zero() -> None:
    frame = patients(120)
    # all images of the oldest are healthy
    old = frame["age_years"] >= 60
    frame.loc[old, "label_pneumonia"] = 0
    result = analysed(frame, 1.2)
    table = result.evaluation.models["a"].table
    group = result.groups["age"].reindex(table["image_id"]).astype(str).to_numpy()
    y = {"y_true": table["label"], "y_pred": table["decision"]}
    # fairlearn's silent zero makes the gap as large as the best sensitivity
    theirs = MetricFrame(metrics=true_positive_rate, sensitive_features=group, **y)
    assert theirs.by_group["60 and over"] == 0
    assert theirs.difference() == pytest.approx(theirs.by_group.max())
    (suppressed,) = [one for one in result.cells if one.cell.attribute == "age" and not one.cell.shown]
    assert suppressed.cell.group == "60 and over"
    assert suppressed.measures == {}
    ours = gap(result, "age", "equal_opportunity")
    assert ours.n_cells == 2
    young = group != "60 and over"
    assert ours.estimate.estimate == pytest.approx(
        equal_opportunity_difference(y["y_true"][young], y["y_pred"][young], sensitive_features=group[young])
    )


def test_auc_of_a_group_ranks_within_folds_only() -> None:
    frame = patients(80)
    result = analysed(frame, 1.0)
    table = result.evaluation.models["a"].table
    (women,) = [one for one in result.cells if one.cell.group == "Female"]
    won = pairs = 0.0
    for _, part in table.loc[women.cell.rows].groupby("fold"):
        n = part["label"].sum() * (1 - part["label"]).sum()
        won += n * roc_auc_score(part["label"], part["score"])
        pairs += n
    auc = women.measures["auc"]
    assert auc.estimate == pytest.approx(won / pairs)
    assert auc.low < auc.estimate < auc.high
    assert auc.n["patients"] == 40


def test_a_planted_gap_is_found_and_where_it_is() -> None:
    frame = patients(600)
    # AUC .95 in men, .80 in women
    distance = np.sqrt(2) * stats.norm.ppf(np.where(frame["sex"] == "F", 0.80, 0.95))
    # the smallest p-value there can be, times 30 gaps, has to be below .05
    result = analysed(frame, distance, n_resamples=2000)
    found = gap(result, "sex")
    assert found.found
    assert found.estimate.low < 0.15 < found.estimate.high
    assert found.detectable < 0.15
    assert {one.attribute for one in result.gaps if one.found} <= {
        name for name in result.groups if "sex" in name.split("-")
    }


def test_nothing_is_found_where_nothing_is() -> None:
    result = analysed(patients(300), 1.5)
    assert not any(one.found for one in result.gaps)
    assert all(one.estimate.low == 0 for one in result.gaps if one.measure == "auc")


def test_holm_counts_every_gap_of_the_model() -> None:
    result = analysed(patients(150), 1.0)
    family = result.of("a")
    # sex, age, view, follow-up and six pairs, three gaps each
    assert len(family) == 10 * len(GAPS)
    p = [one.estimate.p_value for one in family]
    np.testing.assert_allclose([one.holm for one in family], multipletests(p, method="holm")[1])


def test_more_patients_see_smaller_gaps() -> None:
    # the same patients four times over, so that nothing else differs than their number
    frame = patients(200)
    score = noisy(frame["label_pneumonia"].to_numpy(), 1.5, seed=2)
    found = []
    for times in (1, 4):
        # the number of a patient decides on the fold, alike for all copies
        copies = [
            frame.assign(**{name: f"{k}" + frame[name] for name in ("image_id", "patient_id")})
            for k in range(times)
        ]
        evaluation = evaluation_of(pd.concat(copies, ignore_index=True), {"a": np.tile(score, times)})
        groups = attributes_of(pd.concat(copies, ignore_index=True), **EDGES)[["sex"]]
        found.append(gap(analyse(evaluation, groups, **OPTIONS | {"n_resamples": 2000}), "sex"))
    few, many = found
    assert many.estimate.estimate == pytest.approx(few.estimate.estimate)
    # a standard error of 2000 resamples is itself uncertain by 1.6 %
    assert many.detectable == pytest.approx(few.detectable / 2, rel=0.08)


def test_gaps_without_interval_are_still_told() -> None:
    # all right in every group: no gap, and no resample with one
    frame = patients(60)
    result = analysed(frame, 1000.0)
    assert gap(result, "sex").estimate.estimate == 0
    assert gap(result, "sex").estimate.high is None
    assert gap(result, "sex").detectable is None
    assert not gap(result, "sex").found
    assert "slope" not in result.cells[0].measures


def test_few_cells_make_no_gap() -> None:
    assert analysed(patients(60), 1.0, minimum=1000).gaps == ()
    frame = patients(60).assign(sex="F", view="PA", age_years=50.0).drop(columns="follow_up")
    with pytest.raises(InputError, match="no attribute"):
        analysed(frame, 1.0)
