"""Permutation tests and disparities: enumerations, exact distributions, size, refusals."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radtransfer.stats.auc import auc, compare_auc
from radtransfer.stats.disparity import detectable_gap, disparity, gap_between
from radtransfer.stats.permutation import permutation_auc, permutation_disparity


def test_all_exchanges_by_enumeration() -> None:
    rng = np.random.default_rng(4)
    y = np.array([0, 1, 0, 1, 1, 0, 1])
    a, b = rng.integers(0, 6, (2, 7)).astype(float)
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(b)
    differences = []
    for swap in itertools.product([False, True], repeat=7):
        first, second = np.where(swap, rank_b, rank_a), np.where(swap, rank_a, rank_b)
        differences.append(auc(y, first).estimate - auc(y, second).estimate)
    observed = auc(y, a).estimate - auc(y, b).estimate
    result = permutation_auc(y, a, b, seed=1)
    assert result.details["exact"]
    assert result.details["n_permutations"] == 128
    assert result.p_value == pytest.approx(np.mean(np.abs(differences) >= abs(observed) - 1e-12))


def test_patients_are_exchanged_whole() -> None:
    y, patient = np.array([0, 1, 0, 1, 1, 0]), np.array([1, 1, 2, 2, 3, 3])
    a, b = np.array([1, 4, 2, 6, 5, 3.0]), np.array([3, 2, 1, 6, 4, 5.0])
    differences = []
    for swap in itertools.product([False, True], repeat=3):
        each = np.array(swap)[patient - 1]
        differences.append(auc(y, np.where(each, b, a)).estimate - auc(y, np.where(each, a, b)).estimate)
    result = permutation_auc(y, a, b, cluster=patient, seed=1)
    assert result.details["n_permutations"] == 8
    assert result.p_value == pytest.approx(np.mean(np.abs(differences) >= abs(result.estimate) - 1e-12))


def test_random_exchanges_agree_with_delong() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 400)
    a, b = rng.normal(size=400) + y, rng.normal(size=400) + 0.8 * y
    random = permutation_auc(y, a, b, n_permutations=4999, seed=2)
    assert not random.details["exact"]
    assert random.p_value == pytest.approx(compare_auc(y, a, b).p_value, abs=0.04)
    assert random.p_value > 0


def test_the_scale_of_a_score_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 60)
    a, b = rng.normal(size=(2, 60)) + y
    assert permutation_auc(y, np.exp(5 * a), b, n_permutations=199, seed=2).p_value == (
        permutation_auc(y, a, b, n_permutations=199, seed=2).p_value
    )
    assert permutation_auc(y, a, np.exp(a), n_permutations=199, seed=2).p_value == 1


def test_a_test_exists_where_delong_has_none() -> None:
    # all 16 exchanges; the data and their mirror image are the most extreme
    assert permutation_auc([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1], seed=0).p_value == 2 / 16


# --- gaps between groups ----------------------------------------------------------------------------------


def test_gap_by_enumeration_of_the_labels() -> None:
    result = permutation_disparity([1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    assert result.estimate == pytest.approx(2 / 3)
    assert result.p_value == pytest.approx(0.4)
    assert result.details["n_permutations"] == 20


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=3, max_size=6))
def test_exact_gap_of_any_groups(cases: list[tuple[int, int]]) -> None:
    hit, group = np.array(cases).T
    names = np.unique(group)
    if len(names) < 2:
        with pytest.raises(ValueError, match="two groups"):
            permutation_disparity(hit, group)
        return
    result = permutation_disparity(hit, group)
    gaps = [
        np.ptp([hit[np.array(labels) == name].mean() for name in names])
        for labels in set(itertools.permutations(group.tolist()))
    ]
    assert result.p_value == pytest.approx(np.mean(np.array(gaps) >= result.estimate - 1e-12))


def test_two_groups_are_fishers_table() -> None:
    hit = np.array([1] * 22 + [0] * 8 + [1] * 28 + [0] * 2)
    group = np.repeat(["F", "M"], 30)
    # with equal groups the gap orders the tables as Fisher's probabilities do
    expected = stats.fisher_exact([[22, 8], [28, 2]]).pvalue
    assert permutation_disparity(hit, group).p_value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("cluster", [None, np.arange(90)])
def test_random_permutations_agree_with_the_exact_test(cluster: np.ndarray | None) -> None:
    rng = np.random.default_rng(2)
    hit, group = rng.random(90) < 0.7, np.repeat(["a", "b", "c"], 30)
    exact = permutation_disparity(hit, group, method="exact").p_value
    random = permutation_disparity(
        hit, group, cluster=cluster, method="monte_carlo", n_permutations=9999, seed=3
    )
    assert random.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))
    assert not random.details["exact"]


def test_random_permutations_never_give_zero() -> None:
    hit, group = [1] * 30 + [0] * 30, ["a"] * 30 + ["b"] * 30
    result = permutation_disparity(hit, group, method="monte_carlo", n_permutations=19)
    assert result.p_value == pytest.approx(0.05)


def test_permuting_patients_holds_the_size_where_images_do_not() -> None:
    rng = np.random.default_rng(7)
    patient = np.repeat(np.arange(40), 5)
    group = (np.arange(40) % 2)[patient]
    rejected = {"patients": 0, "images": 0}
    for seed in range(300):
        hit = rng.random(200) < rng.beta(0.8, 0.8, 40)[patient]
        patients = permutation_disparity(hit, group, cluster=patient, n_permutations=199, seed=seed)
        rejected["patients"] += patients.p_value <= 0.05
        rejected["images"] += permutation_disparity(hit, group).p_value <= 0.05
    assert rejected["patients"] / 300 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    assert rejected["images"] / 300 > 0.15


def test_equalised_odds_by_enumeration() -> None:
    # two positives and two negatives of four patients; sex is a patient's, so 4! / (2! 2!) arrangements
    hit, truth, sex = np.array([1, 0, 1, 0]), np.array([1, 1, 0, 0]), np.array(list("FMFM"))
    result = permutation_disparity(
        hit, sex, stratum=truth, cluster=[1, 2, 3, 4], n_permutations=20_000, seed=1
    )
    # both rates differ by 1; of 6 arrangements, FMFM and MFMF do so in both, FMMF and MFFM too, FFMM and MMFF
    # leave a stratum with one group and no gap in it
    assert result.estimate == 1
    assert result.p_value == pytest.approx(4 / 6, abs=0.02)


def test_patients_in_two_groups_exchange_with_patients_of_as_many_cases() -> None:
    # patient 1 has both views; patients 2 and 3 have two cases too, patient 4 one: he keeps his label
    hit = [0, 1, 1, 1, 0, 0, 1]
    view = ["AP", "PA", "AP", "AP", "PA", "PA", "AP"]
    patient = [1, 1, 2, 2, 3, 3, 4]
    labels = [["AP", "PA"], ["AP", "AP"], ["PA", "PA"]]
    gaps = []
    for order in itertools.permutations(labels):
        for swapped in itertools.product((False, True), repeat=3):
            flat = [
                v for pair, turn in zip(order, swapped, strict=True) for v in (pair[::-1] if turn else pair)
            ]
            flat.append("AP")
            rates = [
                np.mean([h for h, v in zip(hit, flat, strict=True) if v == side]) for side in ("AP", "PA")
            ]
            gaps.append(abs(rates[0] - rates[1]))
    result = permutation_disparity(hit, view, cluster=patient, n_permutations=20_000, seed=2)
    expected = np.mean(np.array(gaps) >= result.estimate - 1e-12)
    assert result.estimate == pytest.approx(3 / 4 - 1 / 3)
    assert result.p_value == pytest.approx(expected, abs=0.02)
    assert 0.1 < expected < 0.9


def test_views_of_like_images_are_told_apart_no_more_than_promised() -> None:
    # a patient's images are alike and so are their views: images as cases would reject far too often
    rejected = {"patients": 0, "images": 0}
    patient = np.repeat(np.arange(40), 6)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        hit = rng.random(240) < rng.beta(0.2, 0.2, 40)[patient]
        view = np.where(rng.random(240) < rng.beta(0.1, 0.1, 40)[patient], "AP", "PA")
        truth = np.tile([0, 0, 0, 1, 1, 1], 40)
        for unit, cluster in (("patients", patient), ("images", None)):
            result = permutation_disparity(
                hit, view, cluster=cluster, stratum=truth, n_permutations=99, seed=seed
            )
            rejected[unit] += result.p_value <= 0.05
    assert rejected["patients"] / 300 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    assert rejected["images"] / 300 > 0.15


def test_many_cases_do_not_hang() -> None:
    hit, group = np.arange(300_000) % 3 == 0, np.arange(300_000) % 2
    result = permutation_disparity(hit, group)
    assert 0 < result.p_value <= 1
    assert result.details["n_permutations"] is None or result.details["n_permutations"] == 9999


def test_impossible_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="two groups"):
        permutation_disparity([1, 0, 1], ["F", "F", "F"])
    with pytest.raises(ValueError, match="missing"):
        permutation_disparity([1, 0, 1], ["F", None, "M"])
    with pytest.raises(ValueError, match="neither"):
        permutation_disparity([1, 0, -1], ["F", "M", "M"])
    with pytest.raises(ValueError, match="no case in a stratum"):
        permutation_disparity([1, 0, 1, 1], ["F", "M", "M", "M"], stratum=[1, 0, 1, 1])
    with pytest.raises(ValueError, match="shape"):
        permutation_disparity([1, 0, 1, 1], ["F", "M", "M", "M"], stratum=[1, 0, 1])
    with pytest.raises(ValueError, match="not available"):
        permutation_disparity([1, 0, 1, 1], ["F", "M", "M", "M"], cluster=[1, 2, 2, 3], method="exact")
    with pytest.raises(ValueError, match="both classes"):
        permutation_auc([1, 1], [1, 2], [2, 1], seed=0)


# --- rates by group ---------------------------------------------------------------------------------------


def cells(group: str, tp: int, fn: int, fp: int, tn: int) -> list[tuple[str, int, int]]:
    return [(group, 1, 1)] * tp + [(group, 1, 0)] * fn + [(group, 0, 1)] * fp + [(group, 0, 0)] * tn


def test_gaps_by_hand() -> None:
    group, y, decision = zip(*cells("A", 8, 2, 3, 17), *cells("B", 6, 4, 1, 9), strict=True)
    result = disparity(y, decision, group=group)
    assert {name: rate.estimate for name, rate in result.tpr.items()} == {"A": 0.8, "B": 0.6}
    assert result.equal_opportunity_difference == pytest.approx(0.2)
    assert result.equalised_odds_difference_worst == pytest.approx(0.2)
    assert result.equalised_odds_difference_mean == pytest.approx(0.125)
    signed = result.signed_difference["tpr"]
    assert signed.estimate == pytest.approx(0.2)
    # Newcombe 1998, method 10: the squared distances to the Wilson limits add up
    a, b = result.tpr["A"], result.tpr["B"]
    assert signed.low == pytest.approx(0.2 - math.hypot(0.8 - a.low, b.high - 0.6))
    assert signed.high == pytest.approx(0.2 + math.hypot(a.high - 0.8, 0.6 - b.low))
    assert json.loads(result.to_json())["equal_opportunity_difference"] == pytest.approx(0.2)


def test_a_small_group_is_named() -> None:
    group, y, decision = zip(
        *cells("A", 8, 2, 3, 17), *cells("B", 6, 4, 1, 9), *cells("C", 1, 1, 2, 2), strict=True
    )
    result = disparity(y, decision, group=group)
    assert result.equal_opportunity_difference == pytest.approx(0.3)
    assert result.equalised_odds_difference_worst == pytest.approx(0.4)
    assert result.signed_difference == {}
    assert any("group C has 2 positive" in note for note in result.notes)
    assert "group C" in str(result)


def test_a_group_without_positives_has_no_rate_and_no_gap() -> None:
    group, y, decision = zip(*cells("A", 8, 2, 3, 17), *cells("B", 0, 0, 1, 9), strict=True)
    result = disparity(y, decision, group=group)
    assert result.tpr["B"] is None
    assert result.equal_opportunity_difference is None
    assert result.equalised_odds_difference_worst is None
    assert set(result.signed_difference) == {"fpr"}
    assert any("no positive" in note for note in result.notes)
    assert "undefined" in str(result)


def test_impossible_disparities_are_refused() -> None:
    with pytest.raises(ValueError, match="two groups"):
        disparity([1, 0], [1, 0], group=["A", "A"])
    with pytest.raises(ValueError, match="missing"):
        disparity([1, 0], [1, 0], group=["A", math.nan])
    with pytest.raises(ValueError, match="decision"):
        disparity([1, 0], [1, 0, 1], group=["A", "B"])
    with pytest.raises(ValueError, match="group has shape"):
        disparity([1, 0], [1, 0], group=["A"])


def test_gap_of_two_groups_is_their_difference() -> None:
    rng = np.random.default_rng(0)
    samples = np.stack([[0.9 + 0.02 * rng.normal(size=4000), 0.8 + 0.03 * rng.normal(size=4000)]])
    gap = gap_between("gap in AUC", [[0.9, 0.8]], samples)
    se = math.hypot(0.02, 0.03)
    assert gap.estimate == pytest.approx(0.1)
    assert gap.details["se"] == pytest.approx(se, rel=0.05)
    assert (gap.low, gap.high) == (
        pytest.approx(0.1 - 1.96 * se, abs=0.005),
        pytest.approx(0.1 + 1.96 * se, abs=0.005),
    )
    assert gap.p_value == pytest.approx(2 * stats.norm.sf(0.1 / se), rel=0.3)
    # (1.96 + 0.84) standard errors; 10 tests cost 0.85 more
    assert detectable_gap(gap, n_tests=1) == pytest.approx(2.80 * se, rel=0.05)
    assert detectable_gap(gap, n_tests=10) == pytest.approx(3.65 * se, rel=0.05)


def test_gap_of_equal_groups_is_zero_as_often_as_promised() -> None:
    # six groups of one rate: the largest difference is far from 0, its interval is not
    held = clear = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        rates = 0.8 + 0.03 * rng.normal(size=(1, 6))
        samples = rates[..., None] + 0.03 * rng.normal(size=(1, 6, 500))
        gap = gap_between("gap", rates, samples)
        held += gap.low == 0
        clear += gap.p_value <= 0.05
        assert (gap.low == 0) == (gap.p_value > 0.05) or abs(gap.p_value - 0.05) < 0.01
    assert 0.95 - 4 * math.sqrt(0.05 * 0.95 / 300) <= held / 300
    assert clear / 300 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def test_gap_in_two_measures_is_the_larger() -> None:
    samples = np.random.default_rng(1).normal(0, 0.01, (2, 3, 500))
    rates = np.array([[0.9, 0.8, 0.85], [0.1, 0.3, 0.1]])
    gap = gap_between("equalised odds", rates, samples + rates[..., None])
    assert gap.estimate == pytest.approx(0.2)
    assert gap.details["n_pairs"] == 6


def test_gap_without_uncertainty_is_not_tested() -> None:
    same = np.ones((1, 2, 50))
    for rates, samples in (
        ([[1.0, 1.0]], same),  # both perfect in all resamples
        ([[0.5, 1.0]], same * [[[0.5], [1.0]]]),
        ([[0.5, 0.6]], np.where(np.arange(50) < 5, np.nan, np.random.default_rng(2).random((1, 2, 50)))),
    ):
        gap = gap_between("gap", rates, samples)
        assert (gap.low, gap.high, gap.p_value) == (None, None, None)
        assert "none" in gap.method
        assert detectable_gap(gap, n_tests=1) is None
    with pytest.raises(ValueError, match="no gap"):
        gap_between("gap", [[0.5]], np.ones((1, 1, 50)))
