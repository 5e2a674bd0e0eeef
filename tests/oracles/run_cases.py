"""Run a file of reference cases: ``python tests/oracles/run_cases.py FILE.json``.

Each case is ``{"id", "function", "input", "expected", "tolerance"}``; see ``FUNCTIONS`` for the names. Paths
in an input (``data/...``) are relative to the file's folder. What a case expects is compared key by key:

- a number, within the case's absolute tolerance (the strings "NaN" and "Infinity" stand for floats);
- null, when the library refuses that quantity with a ValueError or reports it as absent;
- ``error``, when the function must raise a ValueError with a message;
- ``error_or_...``, ``flag`` or ``warn``, when it must say what is wrong, by refusing or in its text;
- other text is prose for people.

Prints one line per case and ``N passed, M failed``; the exit status is 1 when one fails.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

Input = Mapping[str, Any]
# quantities by the names of the reference file, computed when they are asked for
Quantities = Mapping[str, Callable[[], Any]]
NUMBER_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Refusal:
    """The library's answer where it refuses."""

    message: str

    def __str__(self) -> str:
        return f"ValueError({self.message})"


# --- inputs -----------------------------------------------------------------------------------------------


def rows(given: Input, name: str) -> list[Any]:
    """Column of an input given as rows with column names."""
    column = list(given["columns"]).index(name)
    return [row[column] for row in given["rows"]]


def outcome_and_probability(given: Input) -> tuple[list[float], list[float]]:
    """From ``y`` and ``p``, or from groups of (p, n, events)."""
    if "groups" not in given:
        return given["y"], given["p"]
    y: list[float] = []
    p: list[float] = []
    for group in given["groups"]:
        cell = dict(zip(given.get("columns", ["p", "n", "events"]), group, strict=True))
        p += [cell["p"]] * cell["n"]
        y += [1] * cell["events"] + [0] * (cell["n"] - cell["events"])
    return y, p


def two_by_two(given: Input) -> tuple[np.ndarray, np.ndarray]:
    """Outcome and predictor of a table x1y1, x1y0, x0y1, x0y0, or of y and x."""
    if "table" not in given:
        return np.array(given["y"]), np.array(given["x"])
    table = given["table"]
    cells = [(x, y) for x in (1, 0) for y in (1, 0)]
    expanded = [cell for cell in cells for _ in range(table[f"x{cell[0]}y{cell[1]}"])]
    return np.array([y for _, y in expanded]), np.array([x for x, _ in expanded])


def numbers_or_text(values: Any) -> list[Any]:
    return [NUMBER_WORDS.get(value, value) if isinstance(value, str) else value for value in values]


# --- areas under the curve --------------------------------------------------------------------------------


def said(method: str) -> str:
    """What a method's text says besides the method."""
    return method.partition(";")[2].strip()


def wald(estimate: float, se: float) -> list[float]:
    return [estimate + side * float(stats.norm.ppf(0.975)) * se for side in (-1, 1)]


def delong_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import auc

    result = auc(given["y"], numbers_or_text(given["score"]))
    return {
        "auc": lambda: result.estimate,
        "var": lambda: result.details["variance"],
        "se": lambda: result.details["se"],
        "ci95_raw": lambda: wald(result.estimate, result.details["se"]),
        "ci95_clipped": lambda: [result.low, result.high],
        "ci95_logit": lambda: _limits(auc(given["y"], numbers_or_text(given["score"]), interval="logit")),
        "note": lambda: said(result.method),
    }


def _limits(result: Any) -> list[float | None]:
    return [result.low, result.high]


def weighted_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import auc

    result = auc(given["y"], numbers_or_text(given["score"]), weight=given["weight"])
    return {"auc": lambda: result.estimate, "var": lambda: result.details["variance"]}


def delong_paired(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import compare_auc

    result = compare_auc(given["y"], numbers_or_text(given["score_a"]), numbers_or_text(given["score_b"]))
    return {
        "auc_a": lambda: result.details["auc_a"],
        "auc_b": lambda: result.details["auc_b"],
        "diff": lambda: result.estimate,
        "var_diff": lambda: result.details["variance"],
        "z": lambda: result.statistic,
        "p": lambda: result.p_value,
        "ci95": lambda: wald(result.estimate, result.details["se"]),
        "note": lambda: said(result.method),
    }


def clustered_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import clustered_auc as library

    result = library(given["y"], numbers_or_text(given["score"]), cluster=given["cluster"])
    details = result.details
    return {
        "auc": lambda: result.estimate,
        "var": lambda: details["variance"],
        "se": lambda: details["se"],
        "S10": lambda: details["S10"],
        "S01": lambda: details["S01"],
        "S11": lambda: details["S11"],
    }


def stratified_bootstrap_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import auc
    from radtransfer.stats.bootstrap import ClusterBootstrap

    y = np.array(given["y"])
    bootstrap = ClusterBootstrap(np.arange(len(y)), n_resamples=40_000, seed=1, strata=y)
    samples = bootstrap.auc(y, given["score"])
    m, n = int((y == 1).sum()), int((y == 0).sum())
    return {
        # what a complete enumeration would hold; the library draws from it
        "n_resamples": lambda: m**m * n**n,
        "mean": samples.mean,
        "sd_population": samples.std,
        "q025": lambda: np.quantile(samples, 0.025),
        "q975": lambda: np.quantile(samples, 0.975),
        "observed": lambda: auc(y, given["score"]).estimate,
    }


def bootstrap_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.bootstrap import ClusterBootstrap

    chance = ClusterBootstrap(np.arange(len(given["y"])), seed=1).probability_undefined(given["y"])
    return {
        "prob_resample_without_positive": lambda: chance["without_positive"],
        "prob_resample_without_negative": lambda: chance["without_negative"],
        "prob_undefined": lambda: chance["undefined"],
    }


def cluster_bootstrap_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.auc import auc
    from radtransfer.stats.bootstrap import ClusterBootstrap

    y, score = rows(given, "y"), rows(given, "score")
    bootstrap = ClusterBootstrap(rows(given, "cluster"), seed=1)
    point = auc(y, score).estimate
    result = bootstrap.interval("AUC", point, bootstrap.auc(y, score))
    return {
        "auc": lambda: point,
        "ci95": lambda: [result.low, result.high],
        "se": lambda: result.details["se"],
    }


def delong_auc_and_paired(given: Input, folder: Path) -> Quantities:
    """The study of aneurysmal subarachnoid haemorrhage that pROC ships."""
    from radtransfer.stats.auc import auc, compare_auc, compare_auc_unpaired
    from radtransfer.stats.mrmc.metrics import partial_auc

    frame = pd.read_csv(folder / str(given["data"]).split(" ")[0])
    poor = (frame["outcome"] == "Poor").to_numpy()
    s100b = frame["s100b"].to_numpy()

    def single(name: str) -> dict[str, Any]:
        result = auc(poor, frame[name])
        return {
            "auc": result.estimate,
            "ci": [result.low, result.estimate, result.high],
            "var": result.details["variance"],
        }

    def pair(first: str, second: str) -> dict[str, Any]:
        result = compare_auc(poor, frame[first], frame[second])
        return {"z": result.statistic, "p": result.p_value, "ci": [result.low, result.high]}

    def sexes() -> dict[str, Any]:
        male, female = ((frame["gender"] == sex).to_numpy() for sex in ("Male", "Female"))
        result = compare_auc_unpaired(poor[male], s100b[male], poor[female], s100b[female])
        return {"D": result.statistic, "df": result.df, "p": result.p_value}

    def corrected() -> float:
        smallest, largest = 0.1**2 / 2, 0.1  # McClish: chance and best area over specificity .9 to 1
        return (1 + (partial_auc(s100b, poor, (0.9, 1.0)) - smallest) / (largest - smallest)) / 2

    def youden() -> dict[str, float]:
        levels = np.unique(s100b)
        between = (levels[1:] + levels[:-1]) / 2
        sensitivity = np.array([(s100b[poor] > t).mean() for t in between])
        specificity = np.array([(s100b[~poor] <= t).mean() for t in between])
        best = int(np.argmax(sensitivity + specificity))
        return {
            "threshold": between[best],
            "sensitivity": sensitivity[best],
            "specificity": specificity[best],
        }

    return {
        "auc": lambda: {name: single(name) for name in ("s100b", "ndka", "wfns")},
        "s100b_vs_wfns": lambda: pair("s100b", "wfns"),
        "s100b_vs_ndka": lambda: pair("s100b", "ndka"),
        "wfns_vs_ndka": lambda: pair("wfns", "ndka"),
        "unpaired_s100b_male_vs_female": sexes,
        "partial_auc_spec_1_0.9_s100b": lambda: partial_auc(s100b, poor, (0.9, 1.0)),
        "partial_auc_corrected": corrected,
        "youden": youden,
    }


# --- proportions ------------------------------------------------------------------------------------------


def proportion_ci(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.proportions import proportion

    def interval(method: str) -> list[float | None]:
        return _limits(proportion(given["x"], given["n"], method=method))

    return {
        "estimate": lambda: proportion(given["x"], given["n"]).estimate,
        "wilson": lambda: interval("wilson"),
        "wilson_cc": lambda: interval("wilson_cc"),
        "clopper_pearson": lambda: interval("clopper_pearson"),
    }


def diagnostic_accuracy(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.proportions import diagnostic_accuracy as library

    measures = library(**given)
    return {
        name: lambda value=value: None if value is None else value.estimate
        for name, value in measures.items()
    }


def ppv_at_prevalence(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.proportions import npv_at_prevalence
    from radtransfer.stats.proportions import ppv_at_prevalence as library

    arguments = (given["sens"], given["spec"])
    return {
        "ppv": lambda: library(*arguments, prevalence=given["prevalence"]).estimate,
        "npv": lambda: npv_at_prevalence(*arguments, prevalence=given["prevalence"]).estimate,
    }


def mcnemar(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.paired import mcnemar as library

    def test(method: str) -> Any:
        return library(given["b"], given["c"], n=given.get("n"), method=method)

    return {
        "exact_p": lambda: test("exact").p_value,
        "midp": lambda: test("midp").p_value,
        "chi2_nocc": lambda: test("asymptotic").statistic,
        "p_nocc": lambda: test("asymptotic").p_value,
        "chi2_cc": lambda: test("corrected").statistic,
        "p_cc": lambda: test("corrected").p_value,
        "diff": lambda: test("exact").estimate,
    }


def noninferiority_auc(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.noninferiority import noninferiority_auc as library

    result = library(given["diff"], given["se"], margin=given["margin"], alpha=given.get("alpha", 0.025))
    return {
        "z": lambda: result.statistic,
        "p_one_sided": lambda: result.p_value,
        "lower_975": lambda: result.low,
        "noninferior": lambda: result.details["noninferior"],
    }


def noninferiority_paired_proportion(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.noninferiority import noninferiority_paired_proportion as library

    result = library(given["b_new_only"], given["c_ref_only"], given["n"], margin=given["margin"])
    return {
        "diff": lambda: result.estimate,
        "z_tango": lambda: result.statistic,
        "p_one_sided": lambda: result.p_value,
        "noninferior": lambda: result.details["noninferior"],
    }


# --- paired measurements and families of tests ------------------------------------------------------------


def corrected_resampled_t(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.paired import corrected_resampled_t as library

    result = library(given["differences"], n_train=given["n_train"], n_test=given["n_test"])
    return {
        "mean": lambda: result.estimate,
        "t": lambda: result.statistic,
        "df": lambda: result.df,
        "p": lambda: result.p_value,
        "ci95": lambda: _limits(result),
        "t_uncorrected": lambda: result.details["t_uncorrected"],
        "note": lambda: said(result.method),
    }


def wilcoxon_signed_rank(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.paired import wilcoxon_signed_rank as library

    def test(method: str = "auto") -> Any:
        return library(given["differences"], method=method)

    return {
        "W_plus": lambda: test().details["W_plus"],
        "W_minus": lambda: test().details["W_minus"],
        "exact_permutation_p": lambda: test("exact").p_value,
        "normal_p_nocc": lambda: test("normal").p_value,
        "normal_p_cc": lambda: test("corrected").p_value,
        "rank_biserial": lambda: test().estimate,
        "p": lambda: test().p_value,
        "note": lambda: test().method,
    }


def paired_t(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.paired import paired_t as library

    result = library(given["a"], given["b"])
    return {
        "mean": lambda: result.estimate,
        "mean_diff": lambda: result.estimate,
        "t": lambda: result.statistic,
        "df": lambda: result.df,
        "p": lambda: result.p_value,
        "ci95": lambda: _limits(result),
        "note": lambda: said(result.method),
    }


def multiplicity(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.multiplicity import adjust_p_values

    values = numbers_or_text(given["p"])
    return {
        method: lambda method=method: adjust_p_values(values, method=method)
        for method in ("holm", "bh", "bonferroni")
    }


# --- groups of patients -----------------------------------------------------------------------------------


def disparity(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.disparity import disparity as library

    y, decision, group = (
        rows(given, name) if "rows" in given else given[name] for name in ("y", "pred", "group")
    )
    result = library(y, decision, group=group)

    def rates(by_group: Mapping[str, Any]) -> dict[str, float | None]:
        return {name: None if rate is None else rate.estimate for name, rate in by_group.items()}

    return {
        "equal_opportunity_difference": lambda: result.equal_opportunity_difference,
        "equalised_odds_difference_worst": lambda: result.equalised_odds_difference_worst,
        "equalised_odds_difference_mean": lambda: result.equalised_odds_difference_mean,
        "tpr": lambda: rates(result.tpr),
        "fpr": lambda: rates(result.fpr),
        "note": lambda: "; ".join(result.notes),
    }


def permutation_disparity(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.permutation import permutation_disparity as library

    result = library(given["hit_among_positives"], given["group"])
    return {
        "observed_abs_diff": lambda: result.estimate,
        "exact_p": lambda: result.p_value,
        "n_permutations": lambda: result.details["n_permutations"],
    }


# --- agreement --------------------------------------------------------------------------------------------


def cohen_kappa(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import agreement

    if "table" in given:
        table = np.array([numbers_or_text(row) for row in given["table"]], dtype=float)
    else:
        first, second = (value for key, value in given.items() if isinstance(value, list) and key != "labels")
        table = agreement.contingency_table(
            numbers_or_text(first), numbers_or_text(second), labels=given.get("labels")
        )

    @cache
    def kappa(weights: str = "none") -> Any:
        return agreement.cohen_kappa_table(table, weights=weights)

    def counts() -> np.ndarray:
        pairs = [np.eye(len(table))[i] + np.eye(len(table))[j] for i, j in np.ndindex(*table.shape)]
        return np.repeat(pairs, table.ravel().astype(int), axis=0)

    n = table.sum()
    return {
        "kappa": lambda: kappa().estimate,
        "po": lambda: np.trace(table) / n,
        "pe": lambda: table.sum(axis=0) @ table.sum(axis=1) / n**2,
        "se_fleiss_cohen_everitt": lambda: kappa().details["se"],
        "se_null": lambda: kappa().details["se_null"],
        "ci95": lambda: kappa().details["wald"],
        "ci95_clipped": lambda: [kappa().low, kappa().high],
        "kappa_linear": lambda: kappa("linear").estimate,
        "kappa_quadratic": lambda: kappa("quadratic").estimate,
        "gwet_ac1": lambda: agreement.gwet_ac1(counts()).estimate,
        "p": lambda: kappa().p_value,
    }


def fleiss_kappa(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import agreement

    if "counts" in given:
        counts = np.array([numbers_or_text(row) for row in given["counts"]], dtype=float)
    else:
        counts, _ = agreement.rating_counts(ratings(given, folder))

    def fleiss() -> Any:
        return agreement.fleiss_kappa(counts)

    return {
        "kappa": lambda: fleiss().estimate,
        "P_bar": lambda: fleiss().details["observed"],
        "Pe": lambda: fleiss().details["expected"],
        "se": lambda: fleiss().details["se"],
        "se_null": lambda: fleiss().details["se_null"],
        "z": lambda: fleiss().statistic,
        "gwet_ac1": lambda: agreement.gwet_ac1(counts).estimate,
    }


def ratings(given: Input, folder: Path) -> np.ndarray:
    if "data" in given:
        return pd.read_csv(folder / given["data"]).to_numpy(dtype=object)
    return np.array([numbers_or_text(row) for row in given.get("ratings", given.get("rows"))], dtype=object)


def agreement_with_missing(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import agreement

    table = ratings(given, folder)
    counts, _ = agreement.rating_counts(table)
    return {
        "gwet_ac1": lambda: agreement.gwet_ac1(counts).estimate,
        "ac1_se": lambda: agreement.gwet_ac1(counts).details["se"],
        "fleiss": lambda: agreement.fleiss_kappa(counts, unequal=True).estimate,
        "fleiss_se": lambda: agreement.fleiss_kappa(counts, unequal=True).details["se"],
        "krippendorff": lambda: agreement.krippendorff_alpha(table).estimate,
        "conger": lambda: agreement.conger_kappa(table).estimate,
    }


# --- readers ----------------------------------------------------------------------------------------------


def readings(given: Input, folder: Path) -> pd.DataFrame:
    """Readings of a file, or Van Dyke's changed as the input describes."""
    frame = pd.read_csv(folder / given.get("data", "data/vandyke.csv"), dtype={"case": str})
    for key, column in (("n_treatments", "treatment"), ("n_readers", "reader")):
        if key in given:
            frame = frame[frame[column].isin(sorted(frame[column].unique())[: given[key]])]
    design = str(given.get("design", "")).lower()
    if not design:
        return frame
    if "missing" in design:
        return frame.drop(frame.index[0])
    if "duplicate" in design:
        return pd.concat([frame, frame.iloc[[0]]])
    if "identical" in design or "same rating" in design:
        first = frame[frame["treatment"] == frame["treatment"].min()]
        same = first.set_index(["reader", "case"])["rating"]
        return frame.assign(rating=same.loc[pd.MultiIndex.from_frame(frame[["reader", "case"]])].to_numpy())
    if "constant" in design:
        return frame.assign(rating=1.0)
    if "one class" in design or "no negative" in design or "all positive" in design:
        return frame[frame["truth"] == 1]
    if "nan" in design:
        return frame.assign(rating=[math.nan, *frame["rating"].iloc[1:]])
    if "monotone" in design:
        return frame.assign(rating=np.exp(frame["rating"].astype(float)))
    raise NotImplementedError(f"a design described as {design!r}")


def mrmc(readers: str, cases: str, analysis: str = "or") -> Callable[[Input, Path], Quantities]:
    def run(given: Input, folder: Path) -> Quantities:
        from radtransfer.stats import mrmc as library

        frame = readings(given, folder)
        study = library.ReaderStudy.from_long(
            rating=frame["rating"],
            truth=frame["truth"],
            reader=frame["reader"],
            modality=frame["treatment"],
            case=frame[given.get("case", "case")],
        )
        covariance = str(given.get("covariance", given.get("cov", "delong"))).lower()
        if analysis == "dbm":
            result = library.dorfman_berbaum_metz(study, readers=readers, cases=cases)
        elif analysis == "ustat":
            result = library.u_statistics(study, moments="raw")
        else:
            result = library.obuchowski_rockette(study, covariance=covariance, readers=readers, cases=cases)
        difference = result.difference
        return {
            "F": lambda: result.statistic,
            "X2": lambda: result.statistic,
            "t": lambda: difference.statistic,
            "df1": lambda: result.df1,
            "df2": lambda: result.df2,
            "df": lambda: result.df1 if readers == "fixed" else result.df2,
            "p": lambda: result.p_value,
            "diff": lambda: difference.estimate,
            "se": lambda: difference.details["se"],
            "ci": lambda: [difference.low, difference.high],
            "ci95": lambda: [difference.low, difference.high],
            "var_diff": lambda: difference.details["se"] ** 2,
            "note": lambda: "; ".join(result.notes),
        }

    return run


# --- probabilities ----------------------------------------------------------------------------------------


def brier(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import calibration

    y, p = outcome_and_probability(given)
    parts = calibration.brier_decomposition(y, p)
    return {"brier": lambda: calibration.brier_score(y, p).estimate} | {
        name: lambda name=name: parts[name] for name in ("reliability", "resolution", "uncertainty")
    }


def ece(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import calibration

    y, p = outcome_and_probability(given)
    n_bins = given.get("n_bins", 10)

    def error(closed: str) -> float:
        return calibration.expected_calibration_error(y, p, n_bins=n_bins, closed=closed).estimate

    return {
        "right_closed": lambda: error("right"),
        "left_closed": lambda: error("left"),
        "ece": lambda: error("right"),
    }


def calibration_slope(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import calibration

    y, p = outcome_and_probability(given)
    return {
        "slope": lambda: calibration.calibration_slope(y, p).estimate,
        "slope_se": lambda: calibration.calibration_slope(y, p).details["se"],
        "intercept": lambda: calibration.calibration_slope(y, p).details["intercept"],
        "citl": lambda: calibration.calibration_in_the_large(y, p).estimate,
        "hosmer_lemeshow_chi2": lambda: calibration.hosmer_lemeshow(y, p).statistic,
        "brier": lambda: calibration.brier_score(y, p).estimate,
        "ece": lambda: calibration.expected_calibration_error(y, p).estimate,
    }


def hosmer_lemeshow(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats import calibration

    y, p = outcome_and_probability(given)
    result = calibration.hosmer_lemeshow(y, p, n_groups=given.get("g", 10))
    chi2, df, p_value = (lambda: result.statistic), (lambda: result.df), (lambda: result.p_value)
    return {"chi2": chi2, "chi2_over_distinct_groups": chi2, "df": df, "df_should_be": df, "p": p_value}


def net_benefit(given: Input, folder: Path) -> Quantities:
    from radtransfer.stats.net_benefit import net_benefit as library

    result = library(given["y"], given["p"], threshold=given["threshold"])
    return {
        "model": lambda: result.estimate,
        "treat_all": lambda: result.details["treat_all"],
        "treat_none": lambda: result.details["treat_none"],
    }


# --- regression -------------------------------------------------------------------------------------------


def regression(method: str) -> Callable[[Input, Path], Quantities]:
    def run(given: Input, folder: Path) -> Quantities:
        from radtransfer.stats.discrepancy import discrepancy_regression

        y, x = two_by_two(given)
        result = discrepancy_regression(y, x, names=["x"], method=method)
        return {
            "coef_x": lambda: result["x"].estimate,
            "se_x": lambda: result["x"].details["se"],
            "intercept": lambda: result["intercept"].estimate,
            "p_x": lambda: result["x"].p_value,
        }

    return run


FUNCTIONS: dict[str, Callable[[Input, Path], Quantities]] = {
    "delong_auc": delong_auc,
    "weighted_auc": weighted_auc,
    "delong_paired": delong_paired,
    "delong_auc_and_paired": delong_auc_and_paired,
    "clustered_auc_obuchowski": clustered_auc,
    "stratified_bootstrap_auc": stratified_bootstrap_auc,
    "bootstrap_auc": bootstrap_auc,
    "cluster_bootstrap_auc": cluster_bootstrap_auc,
    "proportion_ci": proportion_ci,
    "diagnostic_accuracy": diagnostic_accuracy,
    "ppv_at_prevalence": ppv_at_prevalence,
    "mcnemar": mcnemar,
    "noninferiority_auc": noninferiority_auc,
    "noninferiority_paired_proportion": noninferiority_paired_proportion,
    "corrected_resampled_t": corrected_resampled_t,
    "wilcoxon_signed_rank": wilcoxon_signed_rank,
    "paired_t": paired_t,
    "multiplicity": multiplicity,
    "disparity": disparity,
    "permutation_disparity": permutation_disparity,
    "cohen_kappa": cohen_kappa,
    "fleiss_kappa": fleiss_kappa,
    "agreement_with_missing": agreement_with_missing,
    "or_mrmc_RRRC": mrmc("random", "random"),
    "or_mrmc_FRRC": mrmc("fixed", "random"),
    "or_mrmc_RRFC": mrmc("random", "fixed"),
    "dbm_mrmc_RRRC": mrmc("random", "random", "dbm"),
    "dbm_mrmc_FRRC": mrmc("fixed", "random", "dbm"),
    "dbm_mrmc_RRFC": mrmc("random", "fixed", "dbm"),
    "imrmc_ustat": mrmc("random", "random", "ustat"),
    "brier": brier,
    "ece": ece,
    "calibration_slope": calibration_slope,
    "hosmer_lemeshow": hosmer_lemeshow,
    "net_benefit": net_benefit,
    "logistic_regression": regression("logistic"),
    "firth_logistic": regression("firth"),
}


# --- comparison -------------------------------------------------------------------------------------------


def evaluate(quantity: Callable[[], Any]) -> Any:
    try:
        return quantity()
    except ValueError as error:
        return Refusal(str(error))


def agrees(got: Any, expected: Any, tolerance: float) -> bool:
    """Whether a value is what is expected: element by element, numbers within the tolerance."""
    if expected is None:
        return got is None or isinstance(got, Refusal)
    if isinstance(expected, dict):
        return isinstance(got, Mapping) and all(
            key in got and agrees(got[key], value, tolerance) for key, value in expected.items()
        )
    if isinstance(expected, list):
        values = got.tolist() if isinstance(got, np.ndarray) else got
        return (
            isinstance(values, (list, tuple))
            and len(values) == len(expected)
            and all(agrees(a, b, tolerance) for a, b in zip(values, expected, strict=True))
        )
    if isinstance(expected, bool):
        return isinstance(got, (bool, np.bool_)) and bool(got) == expected
    if got is None or isinstance(got, (Refusal, str)):
        return False
    number = NUMBER_WORDS.get(expected, expected) if isinstance(expected, str) else float(expected)
    if not math.isfinite(number):
        return str(float(got)) == str(number)
    return abs(float(got) - number) <= tolerance


def plain(value: Any) -> Any:
    """A value as people read it."""
    if isinstance(value, Refusal):
        return str(value)
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def is_prose(key: str, value: Any) -> bool:
    return (
        (isinstance(value, str) and value not in NUMBER_WORDS) or key.startswith("error") or "not_run" in key
    )


def run_case(case: Mapping[str, Any], folder: Path) -> tuple[bool, dict[str, Any]]:
    """Whether a case passes, and what was computed for it."""
    expected, tolerance = case["expected"], float(case.get("tolerance", 1e-9))
    if case["function"] not in FUNCTIONS:
        return False, {"error": f"no function {case['function']!r}"}
    may_refuse = any(key.startswith("error_or") for key in expected)
    must_say = may_refuse or "flag" in expected or "warn" in expected
    try:
        quantities = FUNCTIONS[case["function"]](case["input"], folder)
        got = {key: evaluate(quantity) for key, quantity in quantities.items() if key in expected}
        if "error" in expected:  # whatever is asked first must refuse
            got = {key: evaluate(quantity) for key, quantity in list(quantities.items())[:1]}
            return all(isinstance(value, Refusal) and value.message for value in got.values()), got
        if must_say and "note" in quantities:
            got["note"] = evaluate(quantities["note"])
    except ValueError as error:
        refusal = Refusal(str(error))
        return bool(refusal.message) and ("error" in expected or may_refuse), {"error": refusal}
    except Exception as error:  # a crash is a failure of this case only
        return False, {"crash": f"{type(error).__name__}: {error}"}
    wanted = {key: value for key, value in expected.items() if not is_prose(key, value)}
    passed = all(key in got and agrees(got[key], value, tolerance) for key, value in wanted.items())
    if must_say:
        passed = passed and (
            bool(got.get("note")) or any(isinstance(value, Refusal) for value in got.values())
        )
    return passed, got


def main() -> int:
    """Run the cases of the file named on the command line."""
    parser = argparse.ArgumentParser(description="Run reference cases of the statistics.")
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    cases = json.loads(path.read_text(encoding="utf-8"))
    failed = 0
    for case in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reference case may provoke a documented warning
            passed, got = run_case(case, path.parent)
        failed += not passed
        shown = {key: plain(value) for key, value in got.items()}
        print(f"{case['id']}: {'ok' if passed else 'FAILED'}; got {shown}; expected {case['expected']}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
