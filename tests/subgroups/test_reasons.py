from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from invented import evaluation_of, noisy, patients, predictions_of
from scipy import special

from radtransfer.subgroups.disparities import Sample, analyse
from radtransfer.subgroups.groups import attributes_of, id_matched
from radtransfer.subgroups.reasons import group_thresholds, matched_auc, regress, stratified_gaps

EDGES = {"age_edges": [40, 60], "follow_up_edges": [1]}


def sample_of(frame: pd.DataFrame, score: np.ndarray) -> Sample:
    return Sample.of(evaluation_of(frame, {"a": score}).models["a"].table, n_resamples=300, seed=1)


def test_a_gap_that_goes_with_the_view_vanishes_within_views() -> None:
    frame = patients(800, images=1)
    label = frame["label_pneumonia"].to_numpy()
    rng = np.random.default_rng(4)
    # women mostly lie (AP), and images of the lying are hard; sex itself does nothing
    ap = rng.random(len(frame)) < np.where(frame["sex"] == "F", 0.9, 0.1)
    frame["view"] = np.where(ap, "AP", "PA")
    sample = sample_of(frame, noisy(label, np.where(ap, 0.6, 3.0), seed=5))
    groups = attributes_of(frame, **EDGES)
    found = {
        (one.attribute, one.measure, one.alike): one.estimate
        for one in stratified_gaps(sample, groups, minimum=5)
    }
    assert found["sex", "auc", ""].low > 0.1
    # with the views weighted alike; within one, cells of about 40 and 360 patients: what remains is noise
    assert found["sex", "auc", "view"].estimate < found["sex", "auc", ""].estimate / 2
    assert found["sex", "auc", "view"].low == 0
    assert found["view", "auc", "sex"].low > 0.1
    # age has nothing to do with it
    assert found["sex", "auc", "age"].estimate == pytest.approx(found["sex", "auc", ""].estimate, abs=0.05)
    assert ("sex", "auc", "age+view") in found
    assert "follow_up" not in groups  # one image each: none is a follow-up


def test_strata_weigh_the_same_in_all_groups() -> None:
    frame = patients(200)
    frame.loc[frame["view"].eq("AP") & frame["age_years"].ge(60), "view"] = None  # a stratum of its own
    # no woman has follow-up images: that stratum cannot be compared
    frame["follow_up"] = frame["follow_up"].where(frame["sex"] == "M", 0)
    sample = sample_of(frame, noisy(frame["label_pneumonia"].to_numpy(), 1.0, seed=11))
    table = sample.table.merge(frame[["image_id", "sex", "view", "follow_up"]], on="image_id")
    found = {
        one.alike: one.estimate
        for one in stratified_gaps(sample, attributes_of(frame, **EDGES), minimum=5)
        if (one.attribute, one.measure) == ("sex", "auc")
    }
    for alike in ("view", "follow_up"):
        total, areas, images = 0.0, {"F": 0.0, "M": 0.0}, 0
        for _, part in table.fillna({"view": "none"}).groupby(alike):
            won, pairs = {"F": 0.0, "M": 0.0}, {"F": 0, "M": 0}
            for (sex, _), rows in part.groupby(["sex", "fold"]):
                score = [rows.loc[rows["label"] == y, "score"].to_numpy() for y in (0, 1)]
                won[sex] += np.greater.outer(score[1], score[0]).sum()
                pairs[sex] += len(score[0]) * len(score[1])
            if not all(pairs.values()):
                continue
            weight = 1 / (1 / pairs["F"] + 1 / pairs["M"])
            total, images = total + weight, images + len(part)
            areas = {sex: areas[sex] + weight * won[sex] / pairs[sex] for sex in areas}
        assert found[alike].estimate == pytest.approx(abs(areas["F"] - areas["M"]) / total)
        assert found[alike].n["images"] == images
        assert found[alike].low <= found[alike].estimate < found[alike].high
    assert found["follow_up"].n["images"] == 300
    # the joint strata too, where nothing at all can be compared
    frame["follow_up"] = (frame["sex"] == "M").astype(int)
    gaps = stratified_gaps(sample, attributes_of(frame, **EDGES), minimum=5)
    assert {one.alike for one in gaps if (one.attribute, one.measure) == ("sex", "auc")} == {
        "",
        "age",
        "view",
    }


def test_a_gap_in_selection_that_is_prevalence_vanishes_at_one_prevalence() -> None:
    frame = patients(1000, images=1)
    rng = np.random.default_rng(6)
    frame["label_pneumonia"] = (rng.random(len(frame)) < np.where(frame["sex"] == "F", 0.2, 0.7)).astype(int)
    sample = sample_of(frame, noisy(frame["label_pneumonia"].to_numpy(), 2.0, seed=7))
    groups = attributes_of(frame, **EDGES)[["sex"]]
    found = {
        one.alike: one.estimate
        for one in stratified_gaps(sample, groups, minimum=5)
        if one.measure == "selection_rate"
    }
    assert found[""].low > 0.2
    assert found["prevalence"].low == 0
    # by hand: sensitivity times the prevalence of all, plus false positives
    table = sample.table.merge(frame[["image_id", "sex"]], on="image_id")
    rate = table.groupby(["sex", "label"])["decision"].mean()
    prevalence = table["label"].mean()
    by_hand = [prevalence * rate[s, 1] + (1 - prevalence) * rate[s, 0] for s in "FM"]
    assert found["prevalence"].estimate == pytest.approx(abs(by_hand[0] - by_hand[1]))


def test_odds_ratios_are_those_of_statsmodels() -> None:
    frame = patients(150)
    sample = sample_of(frame, noisy(frame["label_pneumonia"].to_numpy(), 1.0, seed=8))
    groups = attributes_of(frame, **EDGES)
    table = regress(sample, groups).set_index(["outcome", "group"])
    joined = sample.table.merge(groups.reset_index(), on="image_id")
    for outcome, label in (("sensitivity", 1), ("false_positive_rate", 0)):
        part = joined.loc[joined["label"] == label]
        design = sm.add_constant(
            pd.DataFrame(
                {
                    "Male": part["sex"] == "Male",
                    "40 to 59": part["age"] == "40 to 59",
                    "60 and over": part["age"] == "60 and over",
                    "PA": part["view"] == "PA",
                    "1 and over": part["follow_up"] == "1 and over",
                }
            ).astype(float)
        )
        fit = sm.Logit(part["decision"], design).fit(
            disp=0, cov_type="cluster", cov_kwds={"groups": pd.factorize(part["patient_id"])[0]}
        )
        for group in design.columns[1:]:
            term = table.loc[(outcome, group), "adjusted"]
            assert term.estimate == pytest.approx(fit.params[group], abs=1e-6)
            assert term.details["se"] == pytest.approx(fit.bse[group], rel=0.02)
        alone = sm.Logit(part["decision"], design[["const", "PA"]]).fit(disp=0)
        assert table.loc[(outcome, "PA"), "crude"].estimate == pytest.approx(alone.params["PA"], abs=1e-6)


def test_regression_that_cannot_be_made_is_left_out() -> None:
    frame = patients(40)
    sample = sample_of(frame, frame["label_pneumonia"].to_numpy(float) * 0.8 + 0.1)
    table = regress(sample, attributes_of(frame, **EDGES))
    assert table["adjusted"].isna().all()
    assert table["crude"].isna().all()


def thresholds(shift: float, *, minimum: int = 5):
    """Scores of women are higher by the shift, on the scale of log odds."""
    frame = patients(400)
    label = frame["label_pneumonia"].to_numpy()
    score = special.expit(special.logit(noisy(label, 2.0, seed=9)) + shift * (frame["sex"] == "F").to_numpy())
    predictions = predictions_of(frame, {"a": score})
    evaluation = evaluation_of(frame, {"a": score})
    groups = attributes_of(frame, **EDGES)[["sex"]]
    subgroups = analyse(evaluation, groups, minimum=5, n_resamples=200, n_permutations=199, seed=1)
    sample = Sample.of(evaluation.models["a"].table, n_resamples=200, seed=1)
    validation = predictions.loc[predictions["part"] == "validation"]
    return group_thresholds(subgroups, sample, validation, "sex", minimum=minimum, n_permutations=199, seed=1)


def test_thresholds_of_their_own_mend_a_shift() -> None:
    found = thresholds(2.0)
    assert (found.n_own, found.n_possible) == (4, 4)
    before, after = (found.gaps[name]["equalised_odds"] for name in ("global", "group"))
    assert before.estimate > 0.3
    assert before.p_value <= 0.005
    assert after.estimate < before.estimate / 2
    assert found.accuracy["difference"].low > 0


def test_groups_with_few_validation_images_keep_the_threshold() -> None:
    found = thresholds(2.0, minimum=10_000)
    assert found.n_own == 0
    assert found.gaps["group"] == found.gaps["global"]
    assert found.accuracy["difference"].estimate == 0


def test_what_matching_by_number_takes_away() -> None:
    frame = patients(400)
    # the healthy come from the first half only; later patients are easy
    label = (frame["patient_id"].astype(int) >= 200) | (frame["label_pneumonia"] == 1)
    frame["label_pneumonia"] = label.astype(int)
    late = (frame["patient_id"].astype(int) >= 200).to_numpy()
    matched = id_matched(frame, label="label_pneumonia")
    assert matched is not None
    assert matched.sum() < 400 <= len(frame)
    sample = sample_of(frame, noisy(label.to_numpy(int), np.where(late, 6.0, 1.0), seed=10))
    found = matched_auc(sample, matched, level=0.95)
    assert found["difference"].high < -0.1
    assert found["difference"].estimate == pytest.approx(found["matched"].estimate - found["all"].estimate)
    assert found["matched"].n["images"] == matched.sum()
