"""Non-inferiority and multiplicity: hand-checkable values, R's values, size at the margin, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radtransfer.stats.auc import compare_auc
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.noninferiority import noninferiority_auc, noninferiority_paired_proportion


def test_auc_by_hand() -> None:
    passed = noninferiority_auc(-0.01, 0.02, margin=0.05)
    assert passed.statistic == pytest.approx(2)
    assert passed.p_value == pytest.approx(0.02275013194817921)
    assert passed.low == pytest.approx(-0.049199279690801075)
    assert passed.details["noninferior"]
    failed = noninferiority_auc(-0.02, 0.02, margin=0.05)
    assert failed.p_value == pytest.approx(0.06680720126885809)
    assert not failed.details["noninferior"]


def test_proportion_as_published() -> None:
    none = noninferiority_paired_proportion(0, 0, 50, margin=0.1)
    assert none.statistic == pytest.approx(2.3570226039551585)
    assert none.p_value == pytest.approx(0.009211062727049524)
    some = noninferiority_paired_proportion(2, 1, 86, margin=0.1)
    assert some.statistic == pytest.approx(3.0903590643946814)
    assert some.p_value == pytest.approx(0.0009995732772150046)
    assert some.estimate == pytest.approx(1 / 86)


@given(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60)).map(
        lambda t: (t[0], t[1], t[0] + t[1] + t[2])
    ),
    st.floats(0.01, 0.5),
)
def test_test_and_interval_decide_alike(counts: tuple[int, int, int], margin: float) -> None:
    result = noninferiority_paired_proportion(*counts, margin=margin)
    if abs(result.p_value - 0.025) > 1e-6:
        assert result.details["noninferior"] == (result.low > -margin)


def test_size_at_the_margin_by_enumeration() -> None:
    # 60 pairs, new right only .05, reference right only .15: the true difference is the margin of .1
    n, new, reference = 60, 0.05, 0.15
    size = 0.0
    for b in range(n + 1):
        for c in range(n - b + 1):
            chance = stats.multinomial.pmf([b, c, n - b - c], n, [new, reference, 1 - new - reference])
            if chance > 1e-9:
                size += chance * noninferiority_paired_proportion(b, c, n, margin=0.1).details["noninferior"]
    assert 0.015 <= size <= 0.032  # about .025; the score test is not exact


def test_from_the_comparison_of_two_curves() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300)
    latent = rng.normal(size=300) + 1.5 * y
    difference = compare_auc(y, latent + 0.2 * rng.normal(size=300), latent + 0.2 * rng.normal(size=300))
    result = noninferiority_auc(difference.estimate, difference.details["se"], margin=0.05)
    assert result.low == pytest.approx(difference.low)
    assert result.details["noninferior"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difference": 0.0, "se": 0.0, "margin": 0.05}, "positive"),
        ({"difference": 0.0, "se": math.nan, "margin": 0.05}, "positive"),
        ({"difference": 0.0, "se": 0.1, "margin": 0.0}, "margin"),
        ({"difference": 0.0, "se": 0.1, "margin": -0.05}, "margin"),
        ({"difference": 1.2, "se": 0.1, "margin": 0.05}, "impossible"),
        ({"difference": 0.0, "se": 0.1, "margin": 0.05, "alpha": 0.5}, "alpha"),
    ],
)
def test_impossible_auc_input_is_refused(arguments: dict[str, float], message: str) -> None:
    difference, se = arguments.pop("difference"), arguments.pop("se")
    with pytest.raises(ValueError, match=message):
        noninferiority_auc(difference, se, **arguments)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="among 5"):
        noninferiority_paired_proportion(4, 4, 5, margin=0.1)
    with pytest.raises(ValueError, match="n is"):
        noninferiority_paired_proportion(0, 0, 0, margin=0.1)


# --- multiplicity -----------------------------------------------------------------------------------------


def test_adjustment_as_in_r() -> None:
    p = [0.01, 0.04, 0.03, 0.005]  # R: p.adjust
    assert adjust_p_values(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values(p, method="bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjust_p_values(p, method="bonferroni") == pytest.approx([0.04, 0.16, 0.12, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_values_are_ordered(p: list[float]) -> None:
    holm, bh, bonferroni = (adjust_p_values(p, method=m) for m in ("holm", "bh", "bonferroni"))
    assert len(holm) == len(p)
    assert (np.asarray(p) <= bh + 1e-12).all()
    assert (bh <= holm + 1e-12).all()
    assert (holm <= bonferroni + 1e-12).all()
    assert (bonferroni <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(holm[order]) >= -1e-12).all()


@pytest.mark.parametrize("p", [[0.01, math.nan], [0.01, 1.2], [-0.1], [[0.1, 0.2]]])
def test_what_is_no_p_value_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match="p"):
        adjust_p_values(p)
    with pytest.raises(ValueError, match="method"):
        adjust_p_values([0.1], method="sidak")  # type: ignore[arg-type]
