"""Cluster bootstrap: exact enumerations, weights against rows repeated, properties, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

import radtransfer.stats.bootstrap as module
from radtransfer.stats.auc import auc, clustered_auc, stratified_auc
from radtransfer.stats.bootstrap import ClusterBootstrap, WeightedAUC


def study(n_patients: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients of 1 to 4 images whose labels and coarse scores hang together."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 5, n_patients))
    sick = rng.integers(0, 2, n_patients)[patient]
    y = np.where(rng.random(len(patient)) < 0.1, 1 - sick, sick)
    score = np.round(rng.normal(size=n_patients)[patient] + rng.normal(size=len(patient)) + y, 1)
    return patient, y, score


def repeated(weight: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(weight)), weight.astype(int))


def test_each_resample_is_the_auc_of_its_rows() -> None:
    patient, y, score = study()
    bootstrap = ClusterBootstrap(patient, n_resamples=50, seed=3)
    for weight, value in zip(bootstrap.weights(), bootstrap.auc(y, score), strict=True):
        rows = repeated(weight)
        assert value == pytest.approx(auc(y[rows], score[rows]).estimate, abs=1e-12)


def test_grouped_auc_is_the_mean_over_the_groups() -> None:
    patient, y, score = study()
    fold = patient % 3
    bootstrap = ClusterBootstrap(patient, n_resamples=30, seed=3, strata=fold)
    samples = bootstrap.auc(y, score, groups=fold)
    for weight, value in zip(bootstrap.weights(), samples, strict=True):
        rows = [repeated(np.where(fold == f, weight, 0)) for f in range(3)]
        assert value == pytest.approx(np.mean([auc(y[r], score[r]).estimate for r in rows]), abs=1e-12)


def test_resamples_hold_whole_patients_and_keep_strata() -> None:
    patient, _, _ = study()
    stratum = patient % 4
    weights = ClusterBootstrap(patient, n_resamples=40, seed=1, strata=stratum).weights()
    first = np.unique(patient, return_index=True)[1]
    assert (weights == weights[:, first[patient]]).all()
    for s in range(4):
        members = first[stratum[first] == s]
        assert (weights[:, members].sum(axis=1) == len(members)).all()


def test_ratio_and_any_statistic_agree() -> None:
    patient, y, score = study()
    bootstrap = ClusterBootstrap(patient, n_resamples=80, seed=2)
    hit = ((score > 0.5) & (y == 1)).astype(float)
    by_ratio = bootstrap.ratio(hit, y)
    by_weights = bootstrap.mean_of(lambda weight: float(weight @ hit / (weight @ y)))
    assert by_ratio == pytest.approx(by_weights, abs=1e-12)


def test_resamples_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, y, score = study()
    bootstrap = ClusterBootstrap(patient, n_resamples=100, seed=5, strata=patient % 2)
    together = bootstrap.auc(y, score)
    monkeypatch.setattr(module, "_BLOCK_RESAMPLES", 7)
    assert (bootstrap.auc(y, score) == together).all()


def test_resamples_depend_on_the_seed_alone() -> None:
    patient, y, score = study()
    order = np.random.default_rng(0).permutation(len(y))
    same = ClusterBootstrap(patient, n_resamples=100, seed=5).auc(y, score)
    shuffled = ClusterBootstrap(patient[order], n_resamples=100, seed=5).auc(y[order], score[order])
    other = ClusterBootstrap(patient, n_resamples=100, seed=6).auc(y, score)
    assert shuffled == pytest.approx(same, abs=1e-12)
    assert not np.array_equal(other, same)


def test_a_score_compared_with_itself_never_differs() -> None:
    patient, y, score = study()
    bootstrap = ClusterBootstrap(patient, n_resamples=200, seed=5)
    difference = bootstrap.auc(y, score) - bootstrap.auc(y, np.exp(score))
    assert not difference.any()


def test_stratified_resamples_converge_to_the_enumeration() -> None:
    y, score = np.array([1, 1, 1, 0, 0, 0]), np.array([2, 3, 5, 1, 2, 4])
    draws = list(itertools.product(range(3), repeat=3))
    every = [
        (
            (score[list(p)][:, None] > score[3:][list(q)])
            + 0.5 * (score[list(p)][:, None] == score[3:][list(q)])
        ).mean()
        for p in draws
        for q in draws
    ]
    samples = ClusterBootstrap(range(6), n_resamples=20_000, seed=1, strata=y).auc(y, score)
    error = np.std(every) / np.sqrt(20_000)
    assert samples.mean() == pytest.approx(np.mean(every), abs=4 * error)
    assert samples.std() == pytest.approx(np.std(every), rel=4 / np.sqrt(2 * 20_000))
    assert np.quantile(samples, [0.025, 0.975]) == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=1e-6)


def test_singleton_clusters_are_the_ordinary_bootstrap() -> None:
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, 300)
    score = rng.normal(size=300) + y
    samples = ClusterBootstrap(np.arange(300), n_resamples=4000, seed=1).auc(y, score)
    rows = rng.integers(0, 300, (1000, 300))
    ordinary = [auc(y[r], score[r]).estimate for r in rows]
    # two standard deviations from 4000 and 1000 resamples: relative error 2.5 %
    assert samples.std() == pytest.approx(np.std(ordinary), rel=0.1)
    assert samples.std() == pytest.approx(auc(y, score).details["se"], rel=0.08)


def test_clusters_widen_the_interval_as_in_obuchowski() -> None:
    patient, y, score = study(n_patients=200, seed=4)
    clustered = ClusterBootstrap(patient, n_resamples=2000, seed=1).auc(y, score).std()
    images = ClusterBootstrap(np.arange(len(y)), n_resamples=2000, seed=1).auc(y, score).std()
    assert clustered == pytest.approx(clustered_auc(y, score, cluster=patient).details["se"], rel=0.1)
    assert images == pytest.approx(auc(y, score).details["se"], rel=0.1)
    assert clustered > 1.2 * images


def test_influence_by_formula_is_the_derivative() -> None:
    patient, y, score = study(n_patients=20)
    fold = patient % 2
    bootstrap = ClusterBootstrap(patient, n_resamples=10, seed=1)

    def weighted(weight: np.ndarray) -> float:
        areas = [auc(y[fold == f], score[fold == f], weight=weight[fold == f]).estimate for f in (0, 1)]
        return float(np.mean(areas))

    step, one = 1e-6, np.ones(len(y))
    by_formula = bootstrap.auc_influence(y, score, groups=fold)
    # the order of the clusters is internal: compare as sets
    derivative = [(weighted(one + step * (patient == k)) - weighted(one)) / step for k in range(20)]
    assert np.sort(by_formula) == pytest.approx(np.sort(derivative), abs=1e-5)
    assert by_formula.sum() == pytest.approx(0, abs=1e-12)


def test_influence_of_a_ratio_is_nearly_the_jackknife() -> None:
    patient, y, score = study(n_patients=150)
    bootstrap = ClusterBootstrap(patient, n_resamples=10, seed=1)
    hit = ((score > 0.5) & (y == 1)).astype(float)
    formula = bootstrap.ratio_influence(hit, y)
    jackknife = bootstrap.influence_of(lambda weight: float(weight @ hit / (weight @ y)))
    assert np.corrcoef(formula, jackknife)[0, 1] > 0.99
    assert formula.std() == pytest.approx(jackknife.std(), rel=0.05)


def test_bca_as_in_scipy() -> None:
    rng = np.random.default_rng(2)
    x = rng.exponential(size=80)
    n_resamples = 100_000
    bootstrap = ClusterBootstrap(range(80), n_resamples=n_resamples, seed=1)
    one = np.ones(80)
    samples = bootstrap.ratio(x, one)
    interval = bootstrap.interval(
        "mean", x.mean(), samples, method="bca", influence=bootstrap.ratio_influence(x, one)
    )
    reference = scipy_stats.bootstrap(
        (x,), np.mean, n_resamples=n_resamples, batch=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    # a limit near the 98.5 % quantile of normal samples has the Monte-Carlo variance of that quantile and of
    # the bias correction, which moves it twice; two programs, four standard errors
    quantile = np.sqrt(0.985 * 0.015) / scipy_stats.norm.pdf(scipy_stats.norm.ppf(0.985))
    bias = 2 * 0.5 / scipy_stats.norm.pdf(0)
    error = 4 * np.sqrt(2 * (quantile**2 + bias**2) / n_resamples) * samples.std()
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=error)
    percentile = bootstrap.interval("mean", x.mean(), samples)
    assert interval.high - percentile.high > error  # the skew is corrected towards the long tail


def test_bca_of_symmetric_data_is_the_percentile_interval() -> None:
    x = np.concatenate([np.arange(1, 41), -np.arange(1, 41)]).astype(float)
    bootstrap = ClusterBootstrap(range(80), n_resamples=20_000, seed=1)
    samples = bootstrap.ratio(x, np.ones(80))
    influence = bootstrap.ratio_influence(x, np.ones(80))
    bca = bootstrap.interval("mean", 0.0, samples, method="bca", influence=influence)
    percentile = bootstrap.interval("mean", 0.0, samples)
    assert (bca.low, bca.high) == pytest.approx((percentile.low, percentile.high), abs=0.15 * samples.std())


def test_probability_of_an_undefined_resample() -> None:
    bootstrap = ClusterBootstrap(range(4), n_resamples=20_000, seed=1)
    exact = bootstrap.probability_undefined([1, 0, 0, 0])
    assert exact["without_positive"] == pytest.approx(0.75**4)
    assert exact["without_negative"] == pytest.approx(0.25**4)
    assert exact["undefined"] == pytest.approx(0.3203125)
    samples = bootstrap.auc([1, 0, 0, 0], [4, 1, 2, 3])
    assert np.isnan(samples).mean() == pytest.approx(0.3203125, abs=4 * np.sqrt(0.32 * 0.68 / 20_000))
    with pytest.raises(ValueError, match="strata"):
        bootstrap.interval("AUC", 1.0, samples)


def test_few_undefined_resamples_are_counted() -> None:
    patient = np.arange(8)
    y, score = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array([4, 5, 2, 8, 1, 3, 6, 0])
    bootstrap = ClusterBootstrap(patient, n_resamples=5000, seed=1)
    interval = bootstrap.interval("AUC", auc(y, score).estimate, bootstrap.auc(y, score))
    # 2 * .5**8 = .0078 of the resamples lack a class
    assert interval.details["undefined_resamples"] == pytest.approx(39, abs=25)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=25).filter(
        lambda cases: 0 < sum(case[0] for case in cases) < len(cases)
    )
)
def test_weighted_engine_is_the_auc(cases: list[tuple[int, int]]) -> None:
    y, score = np.array(cases).T
    n = len(y)
    curve = WeightedAUC(np.arange(n), y == 1, score.astype(float), np.arange(n), n)
    assert curve.auc(np.ones((n, 1), dtype=np.float32))[0] == pytest.approx(auc(y, score).estimate)


def test_constant_scores_have_no_width() -> None:
    bootstrap = ClusterBootstrap(range(20), n_resamples=200, seed=1, strata=[0, 1] * 10)
    samples = bootstrap.auc([0, 1] * 10, [3] * 20)
    influence = bootstrap.auc_influence([0, 1] * 10, [3] * 20)
    interval = bootstrap.interval("AUC", 0.5, samples, method="bca", influence=influence)
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_impossible_input_is_refused() -> None:
    y, score = [0, 1, 0, 1], [1, 2, 3, 4]
    with pytest.raises(ValueError, match="one cluster"):
        ClusterBootstrap([1, 1, 1, 1], seed=1)
    with pytest.raises(ValueError, match="would be the data"):
        ClusterBootstrap([1, 2, 3], seed=1, strata=["a", "b", "c"])
    with pytest.raises(ValueError, match="two strata"):
        ClusterBootstrap([1, 1, 2, 2], seed=1, strata=[0, 1, 0, 0])
    with pytest.raises(ValueError, match="missing"):
        ClusterBootstrap([1, None, 2, 2], seed=1)
    with pytest.raises(ValueError, match="missing"):
        ClusterBootstrap([1, 1, 2, 2], seed=1, strata=[0, 0, None, None])
    bootstrap = ClusterBootstrap([1, 1, 2, 2], n_resamples=20, seed=1)
    for labels, scores, message in (
        ([0, 1, 2, 1], score, "neither"),
        ([0, 0, 0, 0], score, "both classes"),
        (y, [1, 2, np.nan, 4], "nan"),
        (y, [1, 2, 3], "4 expected"),
        ([0, 1], score, "4 expected"),
    ):
        with pytest.raises(ValueError, match=message):
            bootstrap.auc(labels, scores)
    with pytest.raises(ValueError, match="lacks a class"):
        bootstrap.auc(y, score, groups=[0, 1, 0, 1])
    with pytest.raises(ValueError, match="20 drawn"):
        bootstrap.weights(21)
    with pytest.raises(ValueError, match="samples"):
        bootstrap.interval("AUC", 0.5, np.zeros(3))
    with pytest.raises(ValueError, match="influence"):
        bootstrap.interval("AUC", 0.5, np.linspace(0, 1, 20), method="bca")
    with pytest.raises(ValueError, match="one side"):
        bootstrap.interval("AUC", 2.0, np.linspace(0, 1, 20), method="bca", influence=np.zeros(2))
    with pytest.raises(ValueError, match="denominator"):
        bootstrap.ratio_influence(y, [0, 0, 0, 0])


def test_many_ratios_at_once_are_those_one_by_one() -> None:
    rng = np.random.default_rng(3)
    bootstrap = ClusterBootstrap(np.arange(60) // 3, n_resamples=50, seed=4)
    top, bottom = rng.integers(0, 2, (2, 5, 60))
    together = bootstrap.ratio(top, bottom)
    assert together.shape == (5, 50)
    for row, numerator, denominator in zip(together, top, bottom, strict=True):
        np.testing.assert_array_equal(row, bootstrap.ratio(numerator, denominator))


def test_auc_of_pairs_within_strata() -> None:
    rng = np.random.default_rng(5)
    y, score = rng.integers(0, 2, 90), rng.integers(0, 12, 90).astype(float)
    stratum, among = np.arange(90) % 4, rng.random(90) < 0.6
    y[stratum == 3] = 1  # this stratum has no pair
    bootstrap = ClusterBootstrap(np.arange(90) // 2, n_resamples=40, seed=6)
    samples = bootstrap.auc(y, score, groups=stratum, among=among, weighting="pairs")
    positive, negative = (np.flatnonzero((y == value) & among) for value in (1, 0))
    pairs = [(i, j) for i in positive for j in negative if stratum[i] == stratum[j]]
    won = np.array([(score[i] > score[j]) + (score[i] == score[j]) / 2 for i, j in pairs])
    at = np.array(pairs).T
    point = stratified_auc(y[among], score[among], stratum=stratum[among])
    assert point.estimate == pytest.approx(won.mean())
    assert point.details["pairs"] == len(pairs)
    for weight, found in zip(bootstrap.weights(), samples, strict=True):
        both = weight[at[0]] * weight[at[1]]
        assert found == pytest.approx((both * won).sum() / both.sum())
    ranked, all_pairs = bootstrap.ranked_pairs(y, score, groups=stratum, among=among)
    assert ranked.shape == all_pairs.shape == (4, 41)
    for k in range(4):
        for weight, of_won, of_all in zip(
            [np.ones(90), *bootstrap.weights()], ranked[k], all_pairs[k], strict=True
        ):
            both = weight[at[0]] * weight[at[1]] * (stratum[at[0]] == k)
            assert (of_won, of_all) == (pytest.approx((both * won).sum()), both.sum())
    assert not np.any(bootstrap.ranked_pairs(y, score, groups=stratum, among=stratum == 3))
    with pytest.raises(ValueError, match="lacks a class"):
        bootstrap.auc(y, score, groups=stratum)
    with pytest.raises(ValueError, match="no group holds both"):
        bootstrap.auc(y, score, groups=stratum, among=stratum == 3, weighting="pairs")
    with pytest.raises(ValueError, match="no stratum holds both"):
        stratified_auc([0, 1], [0.1, 0.2], stratum=["a", "b"])
