"""AUC: hand-checkable values, R's values, an O(mn) implementation, properties, refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from radtransfer.stats.auc import (
    auc,
    clustered_auc,
    compare_auc,
    compare_auc_unpaired,
    compare_macro_auc,
)

# a case: its label and two coarse scores, so that ties are common
CASES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=30
).filter(lambda cases: 2 <= sum(case[0] for case in cases) <= len(cases) - 2)


def kernel(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """1 where a positive scores above a negative, 1/2 where they tie; (n_positive, n_negative)."""
    positive, negative = score[y == 1], score[y == 0]
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)


def delong_by_definition(y: np.ndarray, *scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and their covariance matrix as DeLong 1988 writes them, O(mn)."""
    wins = [kernel(y, score) for score in scores]
    m, n = wins[0].shape
    positive = np.cov([w.mean(axis=1) for w in wins])
    negative = np.cov([w.mean(axis=0) for w in wins])
    return np.array([w.mean() for w in wins]), np.atleast_2d(positive / m + negative / n)


def columns(cases: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, a, b = np.array(cases).T
    return y, a.astype(float), b.astype(float)


def test_auc_by_hand() -> None:
    # positives 2, 3, 5 against negatives 1, 2, 4: wins 1.5 + 2 + 3 of 9
    result = auc([1, 1, 1, 0, 0, 0], [2, 3, 5, 1, 2, 4])
    assert result.estimate == pytest.approx(6.5 / 9)
    # placement values (1.5, 2, 3)/3 and (3, 2.5, 1)/3, variances 7/108 + 13/108 over 3 each
    positive, negative = np.var([0.5, 2 / 3, 1], ddof=1), np.var([1, 2.5 / 3, 1 / 3], ddof=1)
    assert result.details["variance"] == pytest.approx(positive / 3 + negative / 3)
    assert result.n == {"cases": 6, "positive": 3, "negative": 3}


@given(CASES)
def test_delong_is_the_quadratic_definition(cases: list[tuple[int, int, int]]) -> None:
    y, a, b = columns(cases)
    areas, covariance = delong_by_definition(y, a, b)
    result = auc(y, a)
    assert result.estimate == pytest.approx(areas[0])
    assert result.details["variance"] == pytest.approx(covariance[0, 0], abs=1e-15)
    paired = compare_auc(y, a, b)
    assert paired.estimate == pytest.approx(areas[0] - areas[1], abs=1e-15)
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert paired.details["variance"] == pytest.approx(expected, abs=1e-14)


@given(CASES)
def test_only_the_order_of_the_scores_counts(cases: list[tuple[int, int, int]]) -> None:
    y, a, _ = columns(cases)
    transformed = auc(y, np.exp(3 * a) - 7)
    assert transformed == auc(y, a)


@given(CASES, st.randoms(use_true_random=False))
def test_only_the_set_of_cases_counts(cases: list[tuple[int, int, int]], random: object) -> None:
    y, a, b = columns(cases)
    order = list(range(len(y)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before, after = compare_auc(y, a, b), compare_auc(y[order], a[order], b[order])
    assert after.estimate == before.estimate
    assert after.details["variance"] == pytest.approx(before.details["variance"], rel=1e-12, abs=1e-18)


@given(CASES)
def test_complements_are_symmetric(cases: list[tuple[int, int, int]]) -> None:
    y, a, _ = columns(cases)
    result, turned, renamed = auc(y, a), auc(y, -a), auc(1 - y, a)
    for other in (turned, renamed):
        assert other.estimate == pytest.approx(1 - result.estimate)
        assert other.details["variance"] == pytest.approx(result.details["variance"], abs=1e-15)


@given(CASES)
def test_intervals_stay_in_range(cases: list[tuple[int, int, int]]) -> None:
    y, a, b = columns(cases)
    wald, logit, difference = auc(y, a), auc(y, a, interval="logit"), compare_auc(y, a, b)
    assert 0 <= wald.low <= wald.estimate <= wald.high <= 1
    if 0 < logit.estimate < 1:
        assert 0 <= logit.low <= logit.estimate <= logit.high <= 1
    else:
        assert logit.low is None
        assert "infinite" in logit.method
    if difference.low is not None:
        assert -1 <= difference.low <= difference.estimate <= difference.high <= 1


@given(CASES)
def test_one_image_per_patient_is_delong(cases: list[tuple[int, int, int]]) -> None:
    y, a, b = columns(cases)
    patient = np.arange(len(y))
    assert clustered_auc(y, a, cluster=patient).details["variance"] == pytest.approx(
        auc(y, a).details["variance"], abs=1e-15
    )
    paired = compare_auc(y, a, b)
    clustered = compare_auc(y, a, b, cluster=patient)
    assert clustered.details["variance"] == pytest.approx(paired.details["variance"], abs=1e-15)


@given(CASES)
def test_copies_of_an_image_tell_nothing_new(cases: list[tuple[int, int, int]]) -> None:
    y, a, _ = columns(cases)
    twice = np.repeat(np.arange(len(y)), 2)
    copied = clustered_auc(y[twice], a[twice], cluster=twice)
    assert copied.estimate == pytest.approx(auc(y, a).estimate)
    assert copied.details["variance"] == pytest.approx(auc(y, a).details["variance"], abs=1e-15)


def test_obuchowski_by_definition() -> None:
    rng = np.random.default_rng(5)
    y, score = rng.integers(0, 2, 60), rng.integers(0, 9, 60).astype(float)
    cluster = rng.integers(0, 15, 60)
    wins = kernel(y, score)
    theta, (m, n) = wins.mean(), wins.shape
    above, below = np.zeros(15), np.zeros(15)
    np.add.at(above, cluster[y == 1], wins.mean(axis=1) - theta)
    np.add.at(below, cluster[y == 0], wins.mean(axis=0) - theta)
    k10, k01 = len(set(cluster[y == 1])), len(set(cluster[y == 0]))
    k = len(set(cluster))
    expected = (
        k10 / (k10 - 1) * (above @ above) / m**2
        + k01 / (k01 - 1) * (below @ below) / n**2
        + 2 * k / (k - 1) * (above @ below) / (m * n)
    )
    result = clustered_auc(y, score, cluster=[f"patient {c}" for c in cluster])
    assert result.details["variance"] == pytest.approx(expected)
    assert result.n["clusters"] == k


@given(CASES, arrays(np.int64, 30, elements=st.integers(1, 4)))
def test_whole_weights_repeat_cases(cases: list[tuple[int, int, int]], times: np.ndarray) -> None:
    y, a, _ = columns(cases)
    weight = times[: len(y)]
    repeated = np.repeat(np.arange(len(y)), weight)
    assert auc(y, a, weight=weight).estimate == pytest.approx(auc(y[repeated], a[repeated]).estimate)


@given(CASES, st.floats(0.01, 100))
def test_equal_weights_change_nothing(cases: list[tuple[int, int, int]], weight: float) -> None:
    y, a, _ = columns(cases)
    plain, weighted = auc(y, a), auc(y, a, weight=np.full(len(y), weight))
    assert weighted.estimate == pytest.approx(plain.estimate)
    assert weighted.details["variance"] == pytest.approx(plain.details["variance"], abs=1e-12)


def test_weighted_variance_is_that_of_the_weighted_estimate() -> None:
    # inverse-probability weights: spread of the estimate over samples against the mean standard error
    rng = np.random.default_rng(3)
    estimates, errors = [], []
    for _ in range(400):
        y = rng.integers(0, 2, 300)
        score = rng.normal(size=300) + y
        weight = rng.choice([1.0, 4.0], 300)
        result = auc(y, score, weight=weight)
        estimates.append(result.estimate)
        errors.append(result.details["se"])
    # the standard deviation of 400 estimates is known to 3.5 %
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12)


def test_cases_of_weight_zero_are_absent() -> None:
    y, score = [0, 0, 0, 1, 1, 1, 0], [1, 2, 5, 3, 6, 4, 99]
    assert auc(y, score, weight=[1] * 6 + [0]).estimate == auc(y[:6], score[:6]).estimate
    assert auc(y, score, weight=[1] * 6 + [0]).n["cases"] == 6


def test_equal_curves_have_p_one() -> None:
    y, a = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], np.array([1, 2, 3, 4, 6, 3, 5, 7, 8, 9.0])
    for other in (a, np.exp(a)):
        result = compare_auc(y, a, other)
        assert (result.estimate, result.p_value, result.low, result.high) == (0, 1, 0, 0)
        assert "variance 0" in result.method


def test_variance_zero_without_equal_curves_is_no_test() -> None:
    result = compare_auc([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert result.estimate == 1
    assert result.p_value is None
    assert result.low is None
    assert "permutation" in result.method


def test_perfect_separation_says_that_its_interval_has_no_width() -> None:
    wald = auc([0, 0, 1, 1], [1, 2, 3, 4])
    assert (wald.estimate, wald.low, wald.high) == (1, 1, 1)
    assert "no width" in wald.method
    logit = auc([0, 0, 1, 1], [1, 2, 3, 4], interval="logit")
    assert logit.low is None


def test_constant_scores_say_that_their_interval_has_no_width() -> None:
    for interval in ("wald", "logit"):
        result = auc([0, 1, 0, 1], [7, 7, 7, 7], interval=interval)
        assert (result.estimate, result.low, result.high) == (0.5, 0.5, 0.5)
        assert "no width" in result.method


def test_a_low_auc_is_not_turned_round() -> None:
    assert auc([0, 0, 1, 1], [4, 3, 2, 1]).estimate == 0


def test_one_case_of_a_class_has_an_auc_and_no_interval() -> None:
    result = auc([0, 1, 1, 1], [0.5, 0.1, 0.95, 0.8])
    assert result.estimate == pytest.approx(2 / 3)
    assert result.details["variance"] is None
    assert result.low is None


def test_infinite_scores_are_ranked() -> None:
    # log-odds of probabilities 0 and 1
    assert auc([0, 0, 1, 1], [-math.inf, 0, math.inf, 0]).estimate == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(
    ("y", "score", "message"),
    [
        ([-1, 0, 1, 1], [1, 2, 3, 4], "neither 0 nor 1"),
        ([0, 1, 2, 1], [1, 2, 3, 4], "neither 0 nor 1"),
        ([0, 1, math.nan, 1], [1, 2, 3, 4], "neither 0 nor 1"),
        (["no", "yes", "no", "yes"], [1, 2, 3, 4], "not a number"),
        ([0, 0, 0], [1, 2, 3], "both classes"),
        ([1, 1, 1], [1, 2, 3], "both classes"),
        ([0, 1], [1, 2, 3], "2 expected"),
        ([0, 1, 0, 1], [1, math.nan, 2, 3], "nan"),
        ([], [], "empty"),
        ([[0, 1], [0, 1]], [1, 2], "dimensions"),
    ],
)
def test_impossible_input_is_refused(y: list[object], score: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auc(y, score)
    with pytest.raises(ValueError, match=message):
        compare_auc(y, score, score)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([0, 0, 1, 1], "total weight of 0"),
        ([1, -1, 1, 1], "negative"),
        ([1, math.nan, 1, 1], "nan"),
        ([1], "4"),
    ],
)
def test_impossible_weights_are_refused(weight: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auc([0, 0, 1, 1], [1, 2, 3, 4], weight=weight)


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="one cluster"):
        clustered_auc([0, 1, 0, 1], [1, 2, 3, 4], cluster=[1, 1, 1, 1])
    with pytest.raises(ValueError, match="2 clusters with positive"):
        clustered_auc([0, 1, 0, 1], [1, 2, 3, 4], cluster=[1, 2, 3, 2])


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        auc([0, 1, 0, 1], [1, 2, 3, 4], level=95)
    with pytest.raises(ValueError, match="interval"):
        auc([0, 1, 0, 1], [1, 2, 3, 4], interval="exact")  # type: ignore[arg-type]


def test_results_serialise() -> None:
    record = json.loads(compare_auc([0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4]).to_json())
    assert record["details"]["auc_a"] == 1


@pytest.mark.shared
def test_asah_as_in_proc(shared_oracles: Path) -> None:
    frame = pd.read_csv(shared_oracles / "data" / "asah.csv")
    poor = (frame["outcome"] == "Poor").astype(int)
    result = auc(poor, frame["s100b"])
    assert result.estimate == pytest.approx(0.731368563685637, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((0.630118211761623, 0.832618915609651), abs=1e-12)
    assert auc(poor, frame["ndka"]).estimate == pytest.approx(0.611957994579946, abs=1e-12)
    assert auc(poor, frame["wfns"]).details["variance"] == pytest.approx(0.00146991470882363, abs=1e-15)
    paired = compare_auc(poor, frame["s100b"], frame["wfns"])
    assert paired.statistic == pytest.approx(-2.20898359144091, abs=1e-10)
    assert paired.p_value == pytest.approx(0.0271757822291882, abs=1e-12)
    assert (paired.low, paired.high) == pytest.approx((-0.174214419249478, -0.0104061769564846), abs=1e-12)
    male = frame["gender"] == "Male"
    s100b = frame["s100b"]
    unpaired = compare_auc_unpaired(poor[male], s100b[male], poor[~male], s100b[~male])
    assert unpaired.statistic == pytest.approx(0.501880774326713, abs=1e-10)
    assert unpaired.df == pytest.approx(106.462550028932, abs=1e-8)
    assert unpaired.p_value == pytest.approx(0.616787759258242, abs=1e-10)


@pytest.mark.shared
@pytest.mark.parametrize("finding", ["Edema", "Pleural_Effusion"])
def test_chexpert_models_as_in_proc(shared_oracles: Path, shared_data: Path, finding: str) -> None:
    folder = shared_data / "chexpert_readers"
    column = finding.replace("_", " ")
    truth = pd.read_csv(folder / "groundtruth.csv").set_index("Study")[column]
    scores = {}
    for path in (folder / "example_models" / "predictions" / "standard").glob("*_predictions.csv"):
        scores[path.stem.removesuffix("_predictions")] = pd.read_csv(path, index_col=0)[column].reindex(
            truth.index
        )
    reference = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"][finding]
    for model, expected in reference["auc"].items():
        wald, logit = auc(truth, scores[model]), auc(truth, scores[model], interval="logit")
        assert wald.estimate == pytest.approx(expected["auc"], abs=1e-12)
        assert wald.details["variance"] == pytest.approx(expected["delong_var"], rel=1e-9)
        assert [wald.low, wald.high] == pytest.approx(expected["delong_ci"], abs=1e-10)
        assert [logit.low, logit.high] == pytest.approx(expected["logit_ci"], abs=1e-10)
    for pair, expected in reference["paired_delong"].items():
        first, second = pair.split("__vs__")
        result = compare_auc(truth, scores[first], scores[second])
        assert result.estimate == pytest.approx(expected["diff"], abs=1e-12)
        if expected["identical_scores"]:
            assert result.p_value == 1
        else:
            assert result.details["variance"] == pytest.approx(expected["var_diff_stable"], rel=1e-8)
            assert result.p_value == pytest.approx(expected["p"], abs=1e-8)
            assert [result.low, result.high] == pytest.approx(expected["ci"], abs=1e-8)


# --- mean over classes ------------------------------------------------------------------------------------


def test_mean_over_classes_by_hand() -> None:
    # pairs rightly ranked, of 2: class 0 by a 1, by b 2; class 1 by a 2, by b 1; class 2 by both 2
    y = [0, 1, 2]
    a = [[0.5, 0.1, 0.0], [0.6, 0.9, 0.1], [0.1, 0.2, 0.9]]
    b = [[0.9, 0.5, 0.0], [0.1, 0.4, 0.1], [0.2, 0.1, 0.9]]
    with pytest.raises(ValueError, match="2 clusters with cases of every class"):
        compare_macro_auc(y, a, b)
    twice = compare_macro_auc(y * 2, a * 2, b * 2)
    assert twice.details["auc_a"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert twice.details["auc_b"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert twice.estimate == 0


def test_of_two_classes_it_is_the_paired_comparison() -> None:
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(100), 2)
    y = (patient % 2).astype(int)
    shared = rng.normal(size=100)[patient]
    a, b = (shared + rng.normal(size=200) + gain * y for gain in (1.0, 0.5))
    both = [np.column_stack([-score, score]) for score in (a, b)]
    plain = compare_auc(y, a, b, cluster=patient)
    macro = compare_macro_auc(y, *both, cluster=patient)
    assert macro.estimate == pytest.approx(plain.estimate)
    # patients are of one class: Obuchowski's corrections are 50/49 for either class, ours is 50/49 for both
    assert macro.details["variance"] == pytest.approx(plain.details["variance"], rel=1e-9)


def test_its_variance_is_that_of_leaving_clusters_out() -> None:
    rng = np.random.default_rng(4)
    patient = np.repeat(np.arange(90), 2)
    y = patient % 3
    a, b = (rng.normal(size=(90, 3))[patient] + gain * np.eye(3)[y] for gain in (1.0, 0.6))

    def difference(rows: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    auc(y[rows] == k, a[rows, k]).estimate - auc(y[rows] == k, b[rows, k]).estimate
                    for k in range(3)
                ]
            )
        )

    left_out = np.array([difference(patient != cluster) for cluster in range(90)])
    jackknife = 89 / 90 * np.sum((left_out - left_out.mean()) ** 2)
    assert compare_macro_auc(y, a, b, cluster=patient).details["variance"] == pytest.approx(
        jackknife, rel=0.05
    )


@pytest.mark.parametrize(
    ("y", "shape", "said"),
    [
        ([0, 1, 1, 0], (4, 3), "every class from 0 to 2"),
        ([0, 1, 2], (4, 3), "do not fit 3 cases"),
        ([0, 0, 0], (3, 1), "do not fit"),
    ],
)
def test_scores_that_do_not_fit_the_classes_are_refused(
    y: list[int], shape: tuple[int, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        compare_macro_auc(y, np.zeros(shape), np.zeros(shape))
