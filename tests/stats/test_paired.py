"""Paired tests: hand-checkable values, R's values, exact sizes by enumeration, refusals."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from radtransfer.stats.paired import (
    clustered_mcnemar,
    corrected_resampled_t,
    discordant_pairs,
    mcnemar,
    paired_t,
    tango_interval,
    tango_z,
    wilcoxon_signed_rank,
)

METHODS = ["exact", "midp", "asymptotic", "corrected"]
COUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 100)).map(
    lambda t: (t[0], t[1], t[0] + t[1] + t[2])
)


# --- McNemar ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "c", "p_values"),
    [
        (3, 4, (1.0, 0.7265625, 0.7054569861112734, 1.0)),
        (1, 9, (0.021484375, 0.01171875, 0.011412036386001656, 0.026856695507524425)),
        (1, 0, (1.0, 0.5, 0.31731050786291404, 1.0)),
        (1000, 1100, (0.030720707864242296, 0.029110633685909038, 0.02909633174125221, 0.03074503475899322)),
        (0, 0, (1.0, 1.0, 1.0, 1.0)),  # statsmodels: 0 without correction, NaN with it
        (7, 7, (1.0, 1 - 3432 / 2**14, 1.0, 1.0)),  # statsmodels: .79 with correction
    ],
)
def test_p_values_as_in_r(b: int, c: int, p_values: tuple[float, ...]) -> None:
    for method, expected in zip(METHODS, p_values, strict=True):
        assert mcnemar(b, c, method=method).p_value == pytest.approx(expected, abs=1e-12)
        assert mcnemar(c, b, method=method).p_value == pytest.approx(expected, abs=1e-12)


@given(COUNTS)
def test_p_values_are_ordered_and_agree_with_statsmodels(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    p = {method: mcnemar(b, c, n=n, method=method).p_value for method in METHODS}
    assert all(0 < value <= 1 for value in p.values())
    assert p["midp"] <= p["exact"] + 1e-12
    assert p["asymptotic"] <= p["corrected"] + 1e-12
    assert p["exact"] == pytest.approx(sm_mcnemar([[0, b], [c, 0]], exact=True).pvalue, abs=1e-9)


def test_exact_test_holds_its_size() -> None:
    # all tables of 12 discordant pairs, whatever their number the test conditions on it
    for discordant in range(1, 40):
        chance = stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
        rejects = [mcnemar(b, discordant - b).p_value <= 0.05 for b in range(discordant + 1)]
        assert chance @ rejects <= 0.05


def test_difference_and_pairs() -> None:
    a, b = [1, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 1]
    assert discordant_pairs(a, b) == (2, 1, 6)
    result = mcnemar(*discordant_pairs(a, b)[:2], n=6)
    assert result.estimate == pytest.approx(1 / 6)
    assert result.low < result.estimate < result.high


def test_clustered_mcnemar_by_hand() -> None:
    # b - c by patient: 2, 1, -1, 0; (K-1)/K * (2)^2 / (4 + 1 + 1)
    a = [1, 1, 1, 0, 0, 1, 0, 1]
    b = [0, 0, 0, 0, 1, 1, 0, 1]
    result = clustered_mcnemar(a, b, cluster=[1, 1, 2, 2, 3, 3, 4, 4])
    assert result.statistic == pytest.approx(3 / 4 * 4 / 6)
    assert result.p_value == pytest.approx(stats.chi2.sf(0.5, 1))
    assert result.estimate == pytest.approx(2 / 8)
    # deviations from .25 * 2 images: 1.5, .5, -1.5, -.5
    assert result.details["se"] == pytest.approx(np.sqrt(4 / 3 * 5) / 8)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
def test_clustered_mcnemar_with_one_image_per_patient(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    result = clustered_mcnemar(a, b, cluster=np.arange(len(a)))
    first, second, n = discordant_pairs(a, b)
    plain = mcnemar(first, second, n=n, method="asymptotic")
    assert result.statistic == pytest.approx((n - 1) / n * plain.statistic)
    assert -1 <= result.low <= result.estimate <= result.high <= 1


def test_clustered_mcnemar_holds_its_size_where_mcnemar_does_not() -> None:
    rng = np.random.default_rng(9)
    patient = np.repeat(np.arange(60), 4)
    rejected = {"clustered": 0, "plain": 0}
    for _ in range(500):
        # all images of a patient lean to the same test
        lean = rng.beta(0.6, 0.6, 60)[patient]
        discordant = rng.random(240) < 0.5
        first = discordant & (rng.random(240) < lean)
        second = discordant & ~first
        rejected["clustered"] += clustered_mcnemar(first, second, cluster=patient).p_value <= 0.05
        b, c, n = discordant_pairs(first, second)
        rejected["plain"] += mcnemar(b, c, n=n, method="midp").p_value <= 0.05
    assert rejected["clustered"] / 500 == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 500))
    assert rejected["plain"] / 500 > 0.12


# --- Tango ------------------------------------------------------------------------------------------------


def test_tango_as_published() -> None:
    # Tango 1998, closed form; the second is checked against a numeric restricted likelihood
    assert tango_z(0, 0, 50, -0.1) == pytest.approx(2.3570226039551585, abs=1e-12)
    assert tango_z(2, 1, 86, -0.1) == pytest.approx(3.0903590643946814, abs=1e-12)
    # without discordant pairs the limits are z^2/(n + z^2)
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango_interval(0, 0, 50, level=0.95) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)), abs=1e-10)


def test_tango_is_the_score_of_the_restricted_likelihood() -> None:
    b, c, n, delta = 9, 4, 60, 0.05
    q = np.linspace(1e-6, (1 - delta) / 2 - 1e-6, 200_001)
    likelihood = b * np.log(q + delta) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - delta)
    best = q[np.argmax(likelihood)]
    expected = (b - c - n * delta) / np.sqrt(n * (2 * best + delta - delta**2))
    assert tango_z(b, c, n, delta) == pytest.approx(expected, abs=1e-4)


@given(COUNTS)
def test_tango_interval_inverts_the_test(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    low, high = tango_interval(b, c, n, level=0.95)
    assert -1 <= low < (b - c) / n < high <= 1
    z = stats.norm.ppf(0.975)
    for limit, sign in ((low, 1), (high, -1)):
        if abs(limit) < 1:
            assert tango_z(b, c, n, limit) == pytest.approx(sign * z, abs=1e-5)
    assert tango_interval(c, b, n, level=0.95) == pytest.approx((-high, -low), abs=1e-9)
    # at difference 0 it is McNemar's test
    if b + c:
        assert tango_z(b, c, n, 0.0) ** 2 == pytest.approx(mcnemar(b, c, method="asymptotic").statistic)


def test_tango_interval_at_the_ends() -> None:
    assert tango_interval(5, 0, 5, level=0.95)[1] == 1
    assert tango_interval(0, 5, 5, level=0.95)[0] == -1


# --- t ----------------------------------------------------------------------------------------------------


def test_paired_t_as_in_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 12))
    result, reference = paired_t(a, b), stats.ttest_rel(a, b)
    limits = reference.confidence_interval()
    assert (result.statistic, result.p_value, result.df) == pytest.approx(
        (reference.statistic, reference.pvalue, 11)
    )
    assert (result.low, result.high) == pytest.approx((limits.low, limits.high))


def test_nadeau_bengio_as_in_r() -> None:
    differences = [0.02, 0.03, 0.01, 0.04, 0.0, 0.05, -0.01, 0.02, 0.03, 0.01]
    result = corrected_resampled_t(differences, n_train=90, n_test=10)
    assert result.statistic == pytest.approx(2.384158242717079, abs=1e-12)
    assert result.p_value == pytest.approx(0.0409476409617701, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((0.00102343106034637, 0.0389765689396536), abs=1e-12)
    assert result.details["t_uncorrected"] == pytest.approx(3.4641016151377544)
    assert result.df == 9


def test_no_difference_at_all_has_p_one() -> None:
    for result in (
        paired_t([1, 2, 3], [1, 2, 3]),
        corrected_resampled_t([0.0] * 10, n_train=90, n_test=10),
        wilcoxon_signed_rank([0, 0, 0, 0]),
    ):
        assert result.p_value == 1
        assert "all differences are 0" in result.method


@pytest.mark.parametrize("shift", [1.0, 0.1, 1e-8])
def test_constant_differences_are_refused(shift: float) -> None:
    a = np.array([0.1, 0.2, 0.7])
    with pytest.raises(ValueError, match="variance is 0"):
        paired_t(a + shift, a) if shift == 1.0 else paired_t([shift] * 3, [0.0] * 3)
    with pytest.raises(ValueError, match="variance is 0"):
        corrected_resampled_t([shift] * 5, n_train=4, n_test=1)


# --- Wilcoxon ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "plus", "exact", "normal", "corrected"),
    [
        ([1, 2, 3, 4, 5, -6], 15, 0.4375, 0.3454475304692258, 0.401678166469773),
        ([1, 2, 3, 4, 5], 15, 0.0625, 0.04311444678307538, 0.05905822909053674),
    ],
)
def test_wilcoxon_as_in_r(
    differences: list[int], plus: float, exact: float, normal: float, corrected: float
) -> None:
    expected = {"exact": exact, "normal": normal, "corrected": corrected}
    for method, p_value in expected.items():
        result = wilcoxon_signed_rank(differences, method=method)
        assert result.p_value == pytest.approx(p_value, abs=1e-12)
        assert result.statistic == plus


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9), st.sampled_from(["drop", "pratt"]))
def test_exact_wilcoxon_by_enumeration(differences: list[int], zeros: str) -> None:
    x = np.array(differences, dtype=float)
    result = wilcoxon_signed_rank(x, zeros=zeros)
    kept = x[x != 0] if zeros == "drop" else x
    rank = stats.rankdata(np.abs(kept))[kept != 0]
    observed = abs(rank @ np.sign(kept[kept != 0]))
    signs = np.array(list(itertools.product([-1, 1], repeat=len(rank))))
    expected = (np.abs(signs @ rank) >= observed - 1e-9).mean()
    assert result.p_value == pytest.approx(expected, abs=1e-12)
    assert -1 <= result.estimate <= 1
    assert wilcoxon_signed_rank(-x, zeros=zeros).p_value == pytest.approx(result.p_value)


def test_wilcoxon_of_many_differences_is_quick_and_near_scipy() -> None:
    x = np.random.default_rng(3).normal(0.1, 1, 150)
    assert wilcoxon_signed_rank(x).p_value == pytest.approx(
        stats.wilcoxon(x, method="exact").pvalue, abs=1e-9
    )
    many = np.random.default_rng(3).normal(0.01, 1, 20_000)
    reference = stats.wilcoxon(many, method="asymptotic", correction=True).pvalue
    assert wilcoxon_signed_rank(many).p_value == pytest.approx(reference, abs=1e-9)


# --- refusals and R ---------------------------------------------------------------------------------------


def test_impossible_input_is_refused() -> None:
    for b, c, n, message in (
        (-1, 2, None, "whole"),
        (1.5, 2, None, "whole"),
        (3, 4, 5, "among 5"),
        (0, 0, 0, "n is"),
    ):
        with pytest.raises(ValueError, match=message):
            mcnemar(b, c, n=n)
    with pytest.raises(ValueError, match="neither"):
        discordant_pairs([0, 1, 2], [0, 1, 1])
    with pytest.raises(ValueError, match="values"):
        discordant_pairs([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="one cluster"):
        clustered_mcnemar([0, 1], [1, 0], cluster=[1, 1])
    with pytest.raises(ValueError, match="needs 2"):
        paired_t([1], [2])
    with pytest.raises(ValueError, match="expected"):
        paired_t([1, 2], [2])
    with pytest.raises(ValueError, match="nan"):
        wilcoxon_signed_rank([1, np.nan])
    with pytest.raises(ValueError, match="empty"):
        wilcoxon_signed_rank([])
    with pytest.raises(ValueError, match="up to 1000"):
        wilcoxon_signed_rank(np.arange(1, 1200), method="exact")
    with pytest.raises(ValueError, match="n_train"):
        corrected_resampled_t([0.1, 0.2], n_train=0, n_test=10)


@pytest.mark.shared
@pytest.mark.parametrize("finding", ["Edema", "Pleural_Effusion"])
def test_chexpert_readers_as_in_r(shared_oracles: Path, finding: str) -> None:
    reference = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"][finding]
    names = {"exact": "exact_p", "midp": "midp", "asymptotic": "p_nocc", "corrected": "p_cc"}
    for measures in reference["mcnemar"].values():
        for expected in measures.values():
            b, c, n = (expected[key] for key in ("b_first_only", "c_second_only", "n"))
            assert mcnemar(b, c, n=n).estimate == pytest.approx(expected["diff"], abs=1e-12)
            for method, key in names.items():
                assert mcnemar(b, c, method=method).p_value == pytest.approx(expected[key], abs=1e-10)
