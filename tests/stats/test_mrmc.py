"""Multi-reader multi-case: R's values on Van Dyke's study, identities, invariances, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radtransfer.stats.mrmc import (
    MRMCResult,
    ORComponents,
    ReaderStudy,
    dorfman_berbaum_metz,
    error_covariance,
    modality_means,
    obuchowski_rockette,
    power,
    sample_size,
    standalone_vs_readers,
    u_statistics,
)
from radtransfer.stats.mrmc.dbm import pseudovalues
from radtransfer.stats.mrmc.metrics import Metric, partial_auc, placements

EFFECTS = {"RRRC": ("random", "random"), "FRRC": ("fixed", "random"), "RRFC": ("random", "fixed")}


def simulate(
    seed: int, *, n_modalities: int = 2, n_readers: int = 4, n_positive: int = 20, n_negative: int = 25
) -> ReaderStudy:
    """Readings with reader, case and interaction effects, rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    n_cases = n_positive + n_negative
    truth = np.r_[np.ones(n_positive, int), np.zeros(n_negative, int)]
    rating = (
        1.2 * truth
        + 0.2 * np.arange(n_modalities)[:, None, None] * truth
        + rng.normal(0, 0.3, (1, n_readers, 1)) * truth
        + rng.normal(0, 0.6, n_cases)
        + rng.normal(0, 0.7, (n_modalities, n_readers, n_cases))
    )
    return ReaderStudy(
        np.round(rating, 1),
        truth,
        tuple(f"m{i}" for i in range(n_modalities)),
        tuple(f"r{j}" for j in range(n_readers)),
        tuple(str(k) for k in range(n_cases)),
    )


def long(study: ReaderStudy, keep: np.ndarray | None = None) -> dict[str, Any]:
    i, j, k = np.nonzero(study.read if keep is None else keep)
    return {
        "rating": study.rating[i, j, k],
        "truth": study.truth[k],
        "modality": np.array(study.modalities)[i],
        "reader": np.array(study.readers)[j],
        "case": np.array(study.cases)[k],
    }


def thinned(study: ReaderStudy, seed: int, share: float = 0.15) -> ReaderStudy:
    keep = np.random.default_rng(seed).random(study.rating.shape) > share
    return ReaderStudy.from_long(**long(study, keep))


@pytest.fixture(scope="module")
def reference(shared_oracles: Path) -> dict[str, Any]:
    return json.loads((shared_oracles / "mrmc_vandyke.json").read_text())["VanDyke"]


@pytest.fixture(scope="module")
def van_dyke_table(shared_oracles: Path) -> pd.DataFrame:
    return pd.read_csv(
        shared_oracles / "data" / "vandyke.csv", dtype={"case": str, "case2": str, "case3": str}
    )


def van_dyke_study(table: pd.DataFrame, case: str = "case") -> ReaderStudy:
    return ReaderStudy.from_long(
        rating=table["rating"],
        truth=table["truth"],
        reader=table["reader"],
        modality=table["treatment"],
        case=table[case],
    )


@pytest.fixture(scope="module")
def van_dyke(van_dyke_table: pd.DataFrame) -> ReaderStudy:
    return van_dyke_study(van_dyke_table)


def assert_matches(result: MRMCResult, expected: dict[str, Any]) -> None:
    """Every number MRMCaov prints, to 9 digits."""
    test = expected["test_equality"]
    assert result.statistic == pytest.approx(test["F"] if "F" in test else test["X2"], rel=1e-9)
    assert result.p_value == pytest.approx(test["p-value"], rel=1e-9)
    if "df2" in test:
        assert result.df2 == pytest.approx(test["df2"], rel=1e-9)
    pairs = [
        *zip(result.differences, expected["test_diffs"], strict=True),
        *zip(result.means, expected["test_means"], strict=True),
    ]
    if "reader_test_diffs" in expected:
        pairs += zip(result.reader_differences, expected["reader_test_diffs"], strict=True)
    for estimate, row in pairs:
        assert estimate.estimate == pytest.approx(row["Estimate"], rel=1e-9)
        assert estimate.details["se"] == pytest.approx(row["StdErr"], rel=1e-9)
        assert estimate.low == pytest.approx(row["ci_lower"], rel=1e-9, abs=1e-12)
        assert estimate.high == pytest.approx(row["ci_upper"], rel=1e-9, abs=1e-12)
        if "p-value" in row:
            assert estimate.p_value == pytest.approx(row["p-value"], rel=1e-9)
        if "df" in row:
            assert estimate.df == pytest.approx(row["df"], rel=1e-9)
    names = {
        "Cov1": "cov1",
        "Cov2": "cov2",
        "Cov3": "cov3",
        "Error": "var_error",
        "reader": "var_reader",
        "treatment:reader": "var_interaction",
    }
    for name, value in expected["vcov_comps"].items():
        assert result.components[names[name]] == pytest.approx(value, rel=1e-9, abs=1e-15)


@pytest.mark.shared
@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("covariance", ["DeLong", "jackknife", "unbiased"])
def test_van_dyke_as_in_mrmcaov(
    van_dyke: ReaderStudy, reference: dict[str, Any], covariance: str, effects: str
) -> None:
    readers, cases = EFFECTS[effects]
    result = obuchowski_rockette(van_dyke, covariance=covariance.lower(), readers=readers, cases=cases)
    assert_matches(result, reference[f"{covariance}_{effects}"])
    assert [value["auc"] for value in result.values] == pytest.approx(
        [row["auc"] for row in reference["reader_aucs"]], rel=1e-12
    )


@pytest.mark.shared
def test_van_dyke_covariance_matrix(van_dyke: ReaderStudy, reference: dict[str, Any]) -> None:
    matrix = error_covariance(van_dyke, covariance="delong")
    np.testing.assert_allclose(matrix, reference["DeLong_cov_matrix"], rtol=1e-9, atol=1e-16)


@pytest.mark.shared
@pytest.mark.parametrize(("metric", "key"), [("sensitivity", "sens"), ("specificity", "spec")])
def test_van_dyke_binary(van_dyke: ReaderStudy, reference: dict[str, Any], metric: str, key: str) -> None:
    expected = reference[f"binary_{key}_ge3_jackknife_RRRC"]
    result = obuchowski_rockette(van_dyke, metric=metric, threshold=3)
    assert_matches(result, expected)
    assert [value[metric] for value in result.values] == pytest.approx(expected["values"])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "design", "key"),
    [
        ("case2", "cases nested in readers", "cases_nested_in_readers_jackknife_RRRC"),
        ("case3", "cases nested in modalities", "cases_nested_in_treatments_jackknife_RRRC"),
    ],
)
def test_van_dyke_nested(
    van_dyke_table: pd.DataFrame, reference: dict[str, Any], case: str, design: str, key: str
) -> None:
    study = van_dyke_study(van_dyke_table, case)
    assert study.design == design
    assert_matches(obuchowski_rockette(study), reference[key])


@pytest.mark.shared
def test_van_dyke_u_statistics_as_in_imrmc(van_dyke: ReaderStudy, reference: dict[str, Any]) -> None:
    result = u_statistics(van_dyke)
    first, second, both = reference["iMRMC"]["Ustat"]
    difference = result.difference
    assert difference.estimate == pytest.approx(both["AUCAminusAUCB"], rel=1e-9)
    assert difference.details["se"] ** 2 == pytest.approx(both["varAUCAminusAUCB"], rel=1e-9)
    assert result.components["df_difference"] == pytest.approx(both["dfBDG"], rel=1e-9)
    assert difference.p_value == pytest.approx(both["pValueBDG"], rel=1e-9)
    assert (difference.low, difference.high) == pytest.approx((both["botCIBDG"], both["topCIBDG"]), rel=1e-9)
    for mean, row in zip(result.means, (first, second), strict=True):
        assert mean.details["se"] ** 2 == pytest.approx(row["varAUCA"], rel=1e-9)
        assert (mean.low, mean.high) == pytest.approx((row["botCIBDG"], row["topCIBDG"]), rel=1e-9)
    biased = reference["iMRMC"]["MLEstat"]
    assert result.components["var_difference_biased"] == pytest.approx(
        biased[2]["varAUCAminusAUCB"], rel=1e-9
    )
    assert result.components["var_first_biased"] == pytest.approx(biased[0]["varAUCA"], rel=1e-9)
    per_reader = [row for row in reference["iMRMC"]["perReader"] if row["modalityB"] == "t2"]
    for estimate, row in zip(result.reader_differences, per_reader, strict=True):
        assert estimate.estimate == pytest.approx(row["AUCAminusAUCB"], rel=1e-9)
        assert estimate.details["se"] ** 2 == pytest.approx(row["varAUCAminusAUCB"], rel=1e-9)


@pytest.mark.shared
def test_van_dyke_power_as_in_rjafroc(van_dyke: ReaderStudy) -> None:
    # Chakraborty, RJafroc book, "ROC-DBMH sample size", 6 readers, 112 cases
    pilot = obuchowski_rockette(van_dyke)
    result = power(
        components=ORComponents.from_result(pilot),
        difference=pilot.difference.estimate,
        n_readers=6,
        n_cases=112,
    )
    assert result.estimate == pytest.approx(0.5555789, abs=5e-8)
    assert result.details["noncentrality"] == pytest.approx(4.8, abs=5e-3)
    assert result.details["df2"] == pytest.approx(23.1, abs=0.05)
    assert result.details["critical"] == pytest.approx(4.28, abs=5e-3)


@pytest.mark.shared
def test_franken_cuts_a_negative_difference_of_covariances(shared_oracles: Path) -> None:
    study = van_dyke_study(pd.read_csv(shared_oracles / "data" / "franken.csv"))
    result = obuchowski_rockette(study, covariance="delong")
    assert result.statistic == pytest.approx(4.694058, abs=5e-7)
    assert result.df2 == 3
    assert "taken as 0" in result.notes[0]
    fixed = obuchowski_rockette(study, covariance="delong", readers="fixed")
    # not cut for fixed readers: the bracket is the variance of the difference itself
    contrast = np.r_[np.ones(4), -np.ones(4)] / 4
    variance = contrast @ error_covariance(study, covariance="delong") @ contrast
    assert fixed.difference.details["se"] == pytest.approx(np.sqrt(variance))


@pytest.mark.shared
def test_partial_auc_as_in_proc(shared_oracles: Path) -> None:
    frame = pd.read_csv(shared_oracles / "data" / "asah.csv")
    poor = (frame["outcome"] == "Poor").to_numpy()
    value = partial_auc(frame["s100b"].to_numpy(), poor, (0.9, 1.0))
    assert value == pytest.approx(0.0327574525745257, rel=1e-9)


# --- by hand ----------------------------------------------------------------------------------------------


def test_auc_and_placements_by_hand() -> None:
    study = ReaderStudy(
        np.array([[[3.0, 2.0, 1.0, 2.0]]]), np.array([1, 1, 0, 0]), ("m",), ("r",), ("a", "b", "c", "d")
    )
    # pairs: 3>1, 3>2, 2>1, 2=2: (1 + 1 + 1 + 1/2) / 4
    assert Metric().of(study)[0, 0] == 0.875
    assert placements(study)[0, 0].tolist() == [1.0, 0.75, 1.0, 0.75]


def test_leave_one_out_equals_recomputing() -> None:
    study = thinned(simulate(1), 1)
    for metric in (Metric(), Metric("partial_auc", specificity_range=(0.5, 1.0)), Metric("sensitivity", 1.0)):
        used = [k for k in range(study.n_cases) if metric.name != "sensitivity" or study.truth[k] == 1]
        fast = metric.leave_one_out(study)
        for position, k in enumerate(used):
            keep = study.read.copy()
            keep[..., k] = False
            without = ReaderStudy.from_long(**long(study, keep))
            np.testing.assert_allclose(fast[..., position], metric.of(without), atol=1e-12)


def test_partial_auc_over_everything_is_the_auc_and_parts_add_up() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(60) < 25
    rating = np.round(rng.normal(positive, 1), 1)
    study = ReaderStudy(rating[None, None], positive.astype(int), ("m",), ("r",), tuple(map(str, range(60))))
    whole = partial_auc(rating, positive, (0.0, 1.0))
    assert whole == pytest.approx(Metric().of(study)[0, 0])
    parts = [partial_auc(rating, positive, (a / 10, (a + 1) / 10)) for a in range(10)]
    assert sum(parts) == pytest.approx(whole)


def test_proportion_jackknife_is_the_binomial_variance() -> None:
    study = simulate(4, n_readers=1, n_modalities=1)
    value = Metric("sensitivity", 1.0).of(study)[0, 0]
    variance = error_covariance(study, metric=Metric("sensitivity", 1.0))[0, 0]
    assert variance == pytest.approx(value * (1 - value) / 19)  # n - 1 of 20 positive cases


def test_unbiased_covariance_is_unbiased_by_enumeration() -> None:
    # all samples of 2 of 3 positives and of 3 negatives, with replacement: mean variance = variance of the
    # AUC
    positive, negative = np.array([1.0, 3.0, 4.0]), np.array([0.0, 2.0, 3.0])
    aucs, variances = [], []
    for p in np.ndindex(3, 3):
        for q in np.ndindex(3, 3):
            rating = np.r_[positive[list(p)], negative[list(q)]]
            study = ReaderStudy(
                rating[None, None], np.array([1, 1, 0, 0]), ("m",), ("r",), ("a", "b", "c", "d")
            )
            aucs.append(Metric().of(study)[0, 0])
            variances.append(error_covariance(study, covariance="unbiased")[0, 0])
    assert np.mean(variances) == pytest.approx(np.var(aucs))


# --- identities and invariances ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("metric", ["auc", "specificity"])
def test_pseudovalues_give_the_jackknife_test(n_modalities: int, metric: str) -> None:
    study = simulate(6, n_modalities=n_modalities)
    for cases in ("random", "fixed"):
        a = obuchowski_rockette(study, metric=metric, threshold=1.0, cases=cases)
        b = dorfman_berbaum_metz(study, metric=metric, threshold=1.0, cases=cases)
        assert a.statistic == pytest.approx(b.statistic)
        assert a.df2 == pytest.approx(b.df2)
        assert a.difference.low == pytest.approx(b.difference.low)
    fixed = dorfman_berbaum_metz(study, metric=metric, threshold=1.0, readers="fixed")
    chi2 = obuchowski_rockette(study, metric=metric, threshold=1.0, readers="fixed")
    assert fixed.statistic * (n_modalities - 1) == pytest.approx(chi2.statistic)


def test_bootstrap_covariance_approaches_the_jackknife() -> None:
    study = simulate(7, n_positive=40, n_negative=50)
    for metric in (Metric(), Metric("sensitivity", 1.0), Metric("partial_auc", specificity_range=(0.6, 1.0))):
        n = 400 if metric.name == "partial_auc" else 4000
        boot = error_covariance(study, metric=metric, covariance="bootstrap", n_resamples=n, seed=1)
        jack = error_covariance(study, metric=metric)
        # a bootstrap variance has a relative standard error of sqrt(2/B); 3 % more for the small sample
        np.testing.assert_allclose(np.diag(boot), np.diag(jack), rtol=4 * np.sqrt(2 / n) + 0.06)


def test_one_fixed_reader_is_the_paired_delong_test() -> None:
    study = simulate(8, n_readers=1)
    result = obuchowski_rockette(study, covariance="delong", readers="fixed")
    matrix = error_covariance(study, covariance="delong")
    z2 = result.difference.estimate**2 / (matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    assert result.statistic == pytest.approx(z2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_relabelling_and_order_change_nothing(seed: int, order: list[int]) -> None:
    study = simulate(seed)
    columns = long(study)
    renamed = {f"r{j}": f"reader {order[j]}" for j in range(4)}
    columns["reader"] = np.array([renamed[name] for name in columns["reader"]])
    shuffle = np.random.default_rng(seed).permutation(len(columns["rating"]))
    other = ReaderStudy.from_long(**{name: column[shuffle] for name, column in columns.items()})
    for analysis in (obuchowski_rockette, dorfman_berbaum_metz, u_statistics):
        a, b = analysis(study), analysis(other)
        assert a.p_value == pytest.approx(b.p_value, rel=1e-9)
        assert a.difference.low == pytest.approx(b.difference.low, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_monotone_transforms_change_nothing_and_reversal_mirrors(seed: int) -> None:
    study = simulate(seed)
    # each reader on a scale of their own
    stretched = np.stack([np.exp(study.rating[:, j] * (j + 1) / 4) * 100 - j for j in range(4)], axis=1)
    other = ReaderStudy(stretched, study.truth, study.modalities, study.readers, study.cases)
    mirror = ReaderStudy(-study.rating, 1 - study.truth, study.modalities, study.readers, study.cases)
    for analysis in (obuchowski_rockette, u_statistics):
        result = analysis(study)
        for changed in (other, mirror):
            again = analysis(changed)
            assert again.p_value == pytest.approx(result.p_value, rel=1e-9)
            assert again.difference.estimate == pytest.approx(result.difference.estimate, abs=1e-12)


def test_swapping_modalities_flips_the_sign() -> None:
    study = simulate(9)
    a, b = obuchowski_rockette(study), obuchowski_rockette(study.with_modalities(("m1", "m0")))
    assert a.statistic == pytest.approx(b.statistic)
    assert (a.difference.low, a.difference.high) == pytest.approx((-b.difference.high, -b.difference.low))


def test_identical_readings_give_p_one_without_nan() -> None:
    study = simulate(10)
    same = ReaderStudy(
        np.stack([study.rating[0]] * 2), study.truth, study.modalities, study.readers, study.cases
    )
    for readers, cases in EFFECTS.values():
        result = obuchowski_rockette(same, readers=readers, cases=cases)
        assert (result.statistic, result.p_value, result.difference.estimate) == (None, 1.0, 0.0)
        assert result.notes
        json.loads(result.to_json())
    assert dorfman_berbaum_metz(same).p_value == 1.0


def test_two_perfect_modalities_give_p_one() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    rating = np.broadcast_to(truth.astype(float), (2, 3, 6)).copy()
    study = ReaderStudy(rating, truth, ("a", "b"), ("x", "y", "z"), tuple("123456"))
    result = obuchowski_rockette(study)
    assert result.p_value == 1.0
    assert [mean.estimate for mean in result.means] == [1.0, 1.0]


def test_difference_without_variance_is_refused() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    rating = np.broadcast_to(truth.astype(float), (2, 3, 6)).copy()
    rating[1] = 1 - rating[1]
    study = ReaderStudy(rating, truth, ("a", "b"), ("x", "y", "z"), tuple("123456"))
    for analysis in (obuchowski_rockette, dorfman_berbaum_metz, u_statistics):
        with pytest.raises(ValueError, match="variance of the difference is 0"):
            analysis(study)


def test_three_modalities_have_three_differences_and_an_omnibus_test() -> None:
    result = obuchowski_rockette(simulate(11, n_modalities=3))
    assert [estimate.name for estimate in result.differences] == ["m0 - m1", "m0 - m2", "m1 - m2"]
    assert result.df1 == 2
    a, b, c = (estimate.estimate for estimate in result.differences)
    assert a + c == pytest.approx(b)


# --- incomplete readings ----------------------------------------------------------------------------------


def test_methods_that_need_balance_refuse_missing_readings_and_the_others_do_not() -> None:
    study = thinned(simulate(12), 12)
    assert not study.complete
    with pytest.raises(ValueError, match="DeLong covariance needs complete readings"):
        obuchowski_rockette(study, covariance="delong")
    with pytest.raises(ValueError, match="balanced"):
        dorfman_berbaum_metz(study)
    full = obuchowski_rockette(simulate(12))
    for result in (
        obuchowski_rockette(study),
        obuchowski_rockette(study, covariance="unbiased"),
        obuchowski_rockette(study, covariance="bootstrap", n_resamples=200),
        u_statistics(study),
    ):
        assert 0 < result.p_value <= 1
        # a seventh of the readings missing moves the difference by less than its standard error
        assert abs(result.difference.estimate - full.difference.estimate) < full.difference.details["se"]


def test_raw_moments_equal_central_ones_for_complete_readings_only() -> None:
    study = simulate(12)
    central, raw = u_statistics(study), u_statistics(study, moments="raw")
    assert central.difference.details["se"] == pytest.approx(raw.difference.details["se"])
    assert central.df2 == raw.df2
    # with 5 % missing, raw moments leave the neighbourhood of the jackknife, central ones stay
    for seed in range(12, 18):
        thin = thinned(simulate(seed), seed, 0.05)
        jackknife = obuchowski_rockette(thin).difference.details["se"]
        assert u_statistics(thin).difference.details["se"] == pytest.approx(jackknife, rel=0.2)


def test_u_statistics_weigh_readers_by_their_pairs() -> None:
    study = simulate(13, n_readers=2)
    keep = study.read.copy()
    keep[:, 1, 5:20] = False  # the second reader sees 5 of 20 positive cases
    thin = ReaderStudy.from_long(**long(study, keep))
    value = Metric().of(thin)
    by_hand = (value @ np.array([20 * 25, 5 * 25])) / (25 * 25)
    assert [mean.estimate for mean in u_statistics(thin).means] == pytest.approx(by_hand)


# --- stand-alone AI ---------------------------------------------------------------------------------------


def test_algorithm_against_readers_by_its_parts() -> None:
    study = simulate(14, n_modalities=1)
    score = np.random.default_rng(14).normal(study.truth * 2.0, 1)
    result = standalone_vs_readers(study, algorithm_rating=score, covariance="delong")
    joined = ReaderStudy(
        np.concatenate([study.rating, score[None, None]], axis=1),
        study.truth,
        study.modalities,
        (*study.readers, "ai"),
        study.cases,
    )
    auc, cov = Metric().of(joined)[0], error_covariance(joined, covariance="delong")
    d = auc[-1] - auc[:-1]
    c2 = np.mean(
        [cov[-1, -1] - cov[-1, a] - cov[-1, b] + cov[a, b] for a in range(4) for b in range(4) if a != b]
    )
    total = d.var(ddof=1) + 4 * max(c2, 0)
    assert result.estimate == pytest.approx(d.mean())
    assert result.details["se"] == pytest.approx(np.sqrt(total / 4))
    assert result.df == pytest.approx(total**2 / (d.var(ddof=1) ** 2 / 3))
    fixed = standalone_vs_readers(study, algorithm_rating=score, covariance="delong", readers="fixed")
    contrast = np.r_[-np.ones(4) / 4, 1]
    assert fixed.details["se"] == pytest.approx(np.sqrt(contrast @ cov @ contrast))


def test_an_algorithm_like_a_reader_is_not_found_different() -> None:
    study = simulate(15, n_modalities=1, n_readers=6)
    panel = ReaderStudy(study.rating[:, :5], study.truth, study.modalities, study.readers[:5], study.cases)
    result = standalone_vs_readers(panel, algorithm_rating=study.rating[0, 5])
    assert result.p_value > 0.05


def test_a_stand_alone_comparison_without_variance() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    perfect = ReaderStudy(
        np.tile(truth.astype(float), (1, 3, 1)), truth, ("m",), ("x", "y", "z"), tuple("123456")
    )
    assert standalone_vs_readers(perfect, algorithm_rating=truth * 5.0).p_value == 1.0
    with pytest.raises(ValueError, match="variance of the difference is 0"):
        standalone_vs_readers(perfect, algorithm_rating=-1.0 * truth)
    with pytest.raises(ValueError, match="missing or infinite"):
        standalone_vs_readers(perfect, algorithm_rating=[0, 1, 2, 3, 4, np.nan])
    with pytest.raises(ValueError, match="one reader"):
        standalone_vs_readers(simulate(1, n_modalities=1, n_readers=1), algorithm_rating=np.arange(45.0))
    with pytest.raises(ValueError, match="modalities"):
        standalone_vs_readers(simulate(1), algorithm_rating=np.arange(45.0))


def test_calls_of_algorithm_and_readers_have_thresholds_of_their_own() -> None:
    study = simulate(16, n_modalities=1)
    calls = ReaderStudy(
        (study.rating >= 1).astype(float), study.truth, study.modalities, study.readers, study.cases
    )
    score = study.rating[0].mean(axis=0) * 100
    result = standalone_vs_readers(
        calls, algorithm_rating=score, algorithm_threshold=100.0, metric="sensitivity"
    )
    assert result.details["algorithm"] == pytest.approx((score[study.truth == 1] >= 100).mean())
    with pytest.raises(ValueError, match="threshold"):
        standalone_vs_readers(calls, algorithm_rating=score, metric="sensitivity")


# --- planning ---------------------------------------------------------------------------------------------

PILOT = ORComponents(var_interaction=2e-4, var_error=8e-4, cov1=3.5e-4, cov2=3.4e-4, cov3=2.4e-4, n_cases=114)


def test_power_grows_with_readers_cases_and_difference() -> None:
    def at(**change: float) -> float:
        arguments: dict[str, Any] = {"difference": 0.04, "n_readers": 6, "n_cases": 120} | change
        return power(components=PILOT, **arguments).estimate

    base = at()
    assert at(n_readers=12) > base
    assert at(n_cases=240) > base
    assert at(difference=0.08) > base
    assert at(difference=-0.04) == base
    assert at(difference=1e-9) == pytest.approx(0.05, abs=1e-6)  # no difference: the level


def test_sample_size_is_the_smallest_that_reaches_the_target() -> None:
    result = sample_size(components=PILOT, difference=0.05, n_readers=6)
    cases = result.n["cases"]
    arguments: dict[str, Any] = {"components": PILOT, "difference": 0.05, "n_readers": 6}
    assert power(**arguments, n_cases=cases).estimate >= 0.8 > power(**arguments, n_cases=cases - 1).estimate


def test_too_few_readers_are_told_their_ceiling() -> None:
    with pytest.raises(ValueError, match="take more readers"):
        sample_size(components=PILOT, difference=0.02, n_readers=3)


def test_components_come_from_fixed_reader_analyses_too() -> None:
    study = simulate(17)
    assert ORComponents.from_result(obuchowski_rockette(study, readers="fixed")) == ORComponents.from_result(
        obuchowski_rockette(study)
    )
    with pytest.raises(ValueError, match="obuchowski_rockette"):
        ORComponents.from_result(u_statistics(study))


def test_power_agrees_with_simulation_of_the_model() -> None:
    # values of the Obuchowski-Rockette model itself: power is the share of F beyond the critical value
    rng = np.random.default_rng(18)
    n_readers, difference, repeats = 6, 0.05, 4000
    c = PILOT
    identity = np.eye(2 * n_readers)
    same_reader = np.kron(np.ones((2, 2)), np.eye(n_readers)) - identity
    same_modality = np.kron(np.eye(2), np.ones((n_readers, n_readers))) - identity
    rest = 1 - identity - same_reader - same_modality
    error = c.var_error * identity + c.cov1 * same_reader + c.cov2 * same_modality + c.cov3 * rest
    theta = rng.multivariate_normal(np.zeros(2 * n_readers), error, repeats).reshape(repeats, 2, n_readers)
    theta += rng.normal(0, np.sqrt(c.var_interaction), theta.shape)
    theta[:, 0] += difference
    d = theta[:, 0] - theta[:, 1]
    interaction = d.var(axis=1, ddof=1) / 2
    total = interaction + n_readers * (c.cov2 - c.cov3)
    f = n_readers * d.mean(axis=1) ** 2 / 2 / total
    df2 = total**2 / (interaction**2 / (n_readers - 1))
    simulated = (stats.f.sf(f, 1, df2) < 0.05).mean()
    predicted = power(components=c, difference=difference, n_readers=n_readers, n_cases=c.n_cases).estimate
    # Hillis et al. 2011 call the approximation good to about .02; 4 Monte-Carlo standard errors are .03
    assert simulated == pytest.approx(predicted, abs=0.03)


# --- refusals ---------------------------------------------------------------------------------------------


def test_one_modality_has_an_interval_and_no_comparison() -> None:
    study = simulate(19, n_modalities=1)
    with pytest.raises(ValueError, match="nothing to compare"):
        obuchowski_rockette(study)
    (mean,) = modality_means(study)
    assert 0 <= mean.low < mean.estimate < mean.high <= 1
    two = simulate(19)
    assert modality_means(two)[0] == obuchowski_rockette(two).means[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": [1, 2, None, 4]}, "is nan"),
        ({"rating": ["a", 2, 3, 4]}, "not numeric"),
        ({"rating": [1, 2, 3, np.inf]}, "is inf"),
        ({"truth": [0, 1, 0, -1]}, "-1"),
        ({"truth": [0, 1, 0, 2]}, "2"),
        ({"truth": [1, 1, 1, 1]}, "all 2 cases have truth 1"),
        ({"truth": [0, 1, 1, 1]}, "truth 0 in one row and 1 in another"),
        ({"case": ["a", "b", "b", "b"], "truth": [0, 1, 1, 1]}, "two ratings of case b"),
        ({"case": ["a", "b", "a"]}, "shape"),
        ({"reader": ["x", "x", "y", None]}, "missing"),
        ({"rating": [], "truth": [], "reader": [], "case": []}, "no readings"),
    ],
)
def test_readings_are_checked(change: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {
        "rating": [1, 2, 3, 4],
        "truth": [0, 1, 0, 1],
        "reader": ["x", "x", "y", "y"],
        "case": ["a", "b", "a", "b"],
    }
    with pytest.raises(ValueError, match=message):
        ReaderStudy.from_long(**(columns | change))


def test_nonsense_is_refused() -> None:
    study = simulate(20)
    with pytest.raises(ValueError, match="both fixed"):
        obuchowski_rockette(study, readers="fixed", cases="fixed")
    with pytest.raises(ValueError, match="'both'"):
        obuchowski_rockette(study, readers="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jackknife or bootstrap"):
        obuchowski_rockette(study, metric="sensitivity", threshold=1.0, covariance="delong")
    with pytest.raises(ValueError, match="needs a threshold"):
        obuchowski_rockette(study, metric="sensitivity")
    with pytest.raises(ValueError, match="metric"):
        obuchowski_rockette(study, metric="accuracy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one reader"):
        obuchowski_rockette(simulate(20, n_readers=1))
    with pytest.raises(ValueError, match="two modalities"):
        u_statistics(simulate(20, n_modalities=3))
    with pytest.raises(ValueError, match="fewer than two cases"):
        obuchowski_rockette(simulate(20, n_positive=1))
    for covariance in ("delong", "unbiased"):
        with pytest.raises(ValueError, match="fewer than two cases"):
            obuchowski_rockette(simulate(20, n_positive=1), covariance=covariance)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: error_covariance(s, covariance="robust"), "known"),
        (lambda s: error_covariance(s, covariance="bootstrap", n_resamples=10), "too few"),
        (lambda s: obuchowski_rockette(s, metric="partial_auc", specificity_range=(1.0, 0.5)), "range"),
        (lambda s: u_statistics(s, moments="median"), "known"),
        (lambda s: u_statistics(simulate(1, n_readers=1)), "at least two readers"),
        (lambda s: u_statistics(simulate(1, n_positive=1)), "two cases of each class"),
        (lambda s: dorfman_berbaum_metz(simulate(1, n_modalities=1)), "nothing to compare"),
        (lambda s: dorfman_berbaum_metz(simulate(1, n_readers=1)), "one reader"),
        (lambda s: standalone_vs_readers(s.with_modalities(("m0",)), algorithm_rating=[1.0]), "shape"),
    ],
)
def test_further_nonsense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(simulate(1))


def test_a_reader_without_cases_of_a_class_is_named() -> None:
    study = simulate(1)
    keep = study.read.copy()
    keep[1, 2, study.truth == 1] = False
    with pytest.raises(ValueError, match="reader r2 read no case with the condition in modality m1"):
        ReaderStudy.from_long(**long(study, keep))
    keep[1, 2, 0] = True
    with pytest.raises(ValueError, match="fewer than two cases"):
        obuchowski_rockette(ReaderStudy.from_long(**long(study, keep)))
    with pytest.raises(ValueError, match="without cases of a class"):
        obuchowski_rockette(ReaderStudy.from_long(**long(study, keep)), covariance="bootstrap")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": np.zeros((1, 1, 3))}, "shape"),
        ({"rating": np.full((1, 1, 2), np.inf)}, "infinite"),
        ({"truth": np.array(["a", "b"])}, "not a number"),
    ],
)
def test_a_study_built_by_hand_is_checked_too(change: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {
        "rating": np.array([[[1.0, 2.0]]]),
        "truth": np.array([0, 1]),
        "modalities": ("m",),
        "readers": ("r",),
        "cases": ("a", "b"),
    }
    with pytest.raises(ValueError, match=message):
        ReaderStudy(**(parts | change))


def test_one_fixed_reader_by_pseudovalues() -> None:
    study = simulate(22, n_readers=1)
    pseudo = dorfman_berbaum_metz(study, readers="fixed")
    # with one reader the ratio is the squared paired t of the pseudovalues
    t = stats.ttest_rel(*pseudovalues(study)[:, 0])
    assert pseudo.statistic == pytest.approx(t.statistic**2)
    assert pseudo.p_value == pytest.approx(t.pvalue)


def test_power_with_fixed_readers_is_that_of_a_normal_test() -> None:
    result = power(components=PILOT, difference=0.04, n_readers=5, n_cases=200, readers="fixed")
    own = PILOT.var_error - PILOT.cov1 + 4 * (PILOT.cov2 - PILOT.cov3)
    shift = 0.04 / np.sqrt(2 / 5 * own * 114 / 200)
    by_hand = stats.norm.sf(1.959963984540054 - shift) + stats.norm.cdf(-1.959963984540054 - shift)
    assert result.estimate == pytest.approx(by_hand)
    assert result.details["df2"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"difference": 0.0},
        {"difference": 1.5},
        {"n_readers": 1},
        {"n_cases": 1},
        {"alpha": 0.0},
        {"readers": "fixed", "cases": "fixed"},
    ],
)
def test_impossible_plans_are_refused(change: dict[str, Any]) -> None:
    plan: dict[str, Any] = {"components": PILOT, "difference": 0.05, "n_readers": 5, "n_cases": 100}
    with pytest.raises(ValueError, match=r"difference|few|alpha|fixed"):
        power(**(plan | change))
    with pytest.raises(ValueError, match="target"):
        sample_size(components=PILOT, difference=0.05, n_readers=5, target=0.01)
    with pytest.raises(ValueError, match="pilot"):
        ORComponents(var_interaction=0, var_error=0, cov1=0, cov2=0, cov3=0, n_cases=10)


def test_result_prints_itself_and_serialises() -> None:
    result = obuchowski_rockette(simulate(21))
    assert "equal modalities: F(1, " in str(result)
    record = json.loads(result.to_json())
    assert {"statistic", "df1", "df2", "p_value", "difference", "readers", "components", "method"} <= set(
        record
    )
    assert (record["n_cases"], record["n_readers"]) == (45, 4)


# --- the identical-test model -----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["delong", "jackknife", "unbiased"])
@pytest.mark.parametrize("effects", EFFECTS)
def test_modalities_that_differ_by_noise_alone_give_valid_tests(covariance: str, effects: str) -> None:
    # no modality variance at all (Hillis 2023): Cov2 - Cov3 is near 0 and often negative
    readers, cases = EFFECTS[effects]
    rng = np.random.default_rng(2023)
    truth = np.repeat([1, 0], [12, 15])
    names = ("a", "b"), tuple("1234"), tuple(map(str, range(27)))
    cut = 0
    for _ in range(25):
        shared = truth + rng.normal(0, 0.5, (1, 4, 1)) + rng.normal(size=27) + rng.normal(0, 0.5, (1, 4, 27))
        study = ReaderStudy(shared + rng.normal(0, 0.5, (2, 4, 27)), truth, *names)
        result = obuchowski_rockette(study, covariance=covariance, readers=readers, cases=cases)
        assert 0 < result.p_value <= 1
        assert result.components["denominator"] > 0
        assert result.difference.low <= result.difference.estimate <= result.difference.high
        assert result.df2 is None or result.df2 >= 3
        cut += result.components["cov2"] < result.components["cov3"]
    assert cut > 5
