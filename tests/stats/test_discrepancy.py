"""Regression of discrepancies: exact tables, planted effects, separation detected and said, refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radtransfer.stats.discrepancy import discrepancy_regression, is_separated


def table(x1y1: int, x1y0: int, x0y1: int, x0y0: int) -> tuple[np.ndarray, np.ndarray]:
    cells = [(1, 1, x1y1), (1, 0, x1y0), (0, 1, x0y1), (0, 0, x0y0)]
    expanded = [(x, y) for x, y, count in cells for _ in range(count)]
    return np.array([y for _, y in expanded]), np.array([x for x, _ in expanded], dtype=float)


def clustered(seed: int, n_clusters: int = 150, size: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), size)
    between = rng.normal(0, 1, n_clusters)[cluster]
    x = np.column_stack([np.repeat(rng.normal(0, 1, n_clusters), size), rng.normal(0, 1, n_clusters * size)])
    y = (rng.random(len(cluster)) < 1 / (1 + np.exp(-(0.7 * x[:, 1] + between)))).astype(int)
    return {"y": y, "predictors": x, "cluster": cluster}


def test_two_by_two_is_the_log_odds_ratio() -> None:
    result = discrepancy_regression(*table(12, 8, 5, 25), names=["x"])
    assert result["x"].estimate == pytest.approx(np.log(12 * 25 / (8 * 5)))
    assert result["x"].details["se"] == pytest.approx(np.sqrt(1 / 12 + 1 / 8 + 1 / 5 + 1 / 25))  # Woolf
    assert result["intercept"].estimate == pytest.approx(np.log(5 / 25))
    assert result["x"].details["odds_ratio"][0] == pytest.approx(7.5)
    assert not result.separated


def test_firth_adds_half_to_every_cell_of_a_two_by_two() -> None:
    result = discrepancy_regression(*table(10, 0, 5, 5), names=["x"])
    assert result.separated
    assert "Firth" in result.method
    assert "separated" in result.notes[0]
    assert result["x"].estimate == pytest.approx(np.log(10.5 * 5.5 / (0.5 * 5.5)), abs=1e-8)
    assert result["intercept"].estimate == pytest.approx(0, abs=1e-8)
    assert result["x"].low < result["x"].estimate < result["x"].high
    assert result["x"].high < 20  # an interval, not the 1e5 of maximum likelihood


def test_firth_profile_interval_inverts_its_test() -> None:
    y, x = table(12, 8, 5, 25)
    base = discrepancy_regression(y, x, names=["x"], method="firth")["x"]
    # at the limit the penalised likelihood has fallen by half the chi-square quantile, found here on a grid
    # of the 2 x 2 table: maximise over the intercept
    grid = np.linspace(-6, 4, 20_001)

    def profile(slope: float) -> float:
        cells = [(1, 12, 8), (0, 5, 25)]
        value, information = np.zeros_like(grid), []
        for level, events, others in cells:
            eta = grid + slope * level
            value += events * eta - (events + others) * np.logaddexp(0, eta)
            information.append((events + others) / (2 + 2 * np.cosh(eta)))
        return float((value + 0.5 * np.log(information[0] * information[1])).max())

    fall = profile(base.estimate) - stats.chi2.ppf(0.95, 1) / 2
    assert profile(base.low) == pytest.approx(fall, abs=1e-6)
    assert profile(base.high) == pytest.approx(fall, abs=1e-6)
    ratio = 2 * (profile(base.estimate) - profile(0.0))
    assert base.p_value == pytest.approx(stats.chi2.sf(ratio, 1), abs=1e-6)


def test_firth_shrinks_and_agrees_in_large_samples() -> None:
    data = clustered(3, n_clusters=500)
    plain = discrepancy_regression(data["y"], data["predictors"])
    firth = discrepancy_regression(data["y"], data["predictors"], method="firth")
    for a, b in zip(plain.terms[1:], firth.terms[1:], strict=True):
        assert b.estimate == pytest.approx(a.estimate, abs=0.02)
        assert b.details["se"] == pytest.approx(a.details["se"], rel=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 6))
def test_a_two_by_two_is_separated_exactly_when_a_cell_is_empty(a: int, b: int, c: int, d: int) -> None:
    y, x = table(a, b, c, d)
    if min(a + b, c + d, a + c, b + d) == 0 or len(y) < 3:
        return
    assert is_separated(y, np.column_stack([np.ones(len(y)), x])) == (min(a, b, c, d) == 0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_separation_does_not_depend_on_units(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    separated = discrepancy_regression((x > 0.3).astype(int), x * scale)
    assert separated.separated
    assert np.isfinite([separated.terms[1].low, separated.terms[1].high]).all()
    assert not discrepancy_regression((x + rng.normal(size=60) > 0.3).astype(int), x * scale).separated


def test_estimates_follow_the_units() -> None:
    data = clustered(4)
    for method in ("logistic", "gee", "firth"):
        one = discrepancy_regression(**data, method=method)
        ten = discrepancy_regression(
            data["y"], data["predictors"] * 10, cluster=data["cluster"], method=method
        )
        assert ten.terms[2].estimate * 10 == pytest.approx(one.terms[2].estimate, rel=1e-5)
        assert ten.terms[2].p_value == pytest.approx(one.terms[2].p_value, rel=1e-3)


def test_clusters_widen_the_errors_of_what_varies_between_them() -> None:
    data = clustered(5)
    naive = discrepancy_regression(data["y"], data["predictors"])
    robust = discrepancy_regression(**data)
    gee = discrepancy_regression(**data, method="gee")
    assert robust.terms[1].details["se"] > 1.15 * naive.terms[1].details["se"]
    assert gee.terms[1].details["se"] > 1.15 * naive.terms[1].details["se"]
    assert robust.n["clusters"] == gee.n["clusters"] == 150
    for result in (robust, gee):
        assert result.terms[2].low < 0.7 < result.terms[2].high + 0.3  # marginal effects are smaller


def test_robust_errors_of_single_cases_by_the_sandwich_formula() -> None:
    data = clustered(6, size=1)
    y, x = data["y"], np.column_stack([np.ones(150), data["predictors"]])
    result = discrepancy_regression(**data)
    p = 1 / (1 + np.exp(-x @ [term.estimate for term in result.terms]))
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    meat = (x * (y - p)[:, None]).T @ (x * (y - p)[:, None])
    covariance = bread @ meat @ bread * (150 / 149) * (149 / 147)
    assert [term.details["se"] for term in result.terms] == pytest.approx(
        np.sqrt(np.diag(covariance)), rel=1e-6
    )


def test_gee_does_not_depend_on_the_order_of_rows() -> None:
    data = clustered(7)
    order = np.random.default_rng(7).permutation(len(data["y"]))
    a = discrepancy_regression(**data, method="gee")
    b = discrepancy_regression(**{name: value[order] for name, value in data.items()}, method="gee")
    assert a.terms[1].estimate == pytest.approx(b.terms[1].estimate)
    assert a.terms[1].details["se"] == pytest.approx(b.terms[1].details["se"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 0, 0, 0, 0, 0]}, "nothing to explain"),
        ({"y": [0, 1, 2, 0, 1, 0]}, "neither 0 nor 1"),
        ({"y": [0, 1]}, "shape"),
        ({"predictors": [1, 1, 1, 1, 1, 1]}, "constant"),
        ({"predictors": [1, 2, np.nan, 4, 5, 6]}, "missing"),
        ({"predictors": ["a", 2, 3, 4, 5, 6]}, "numbers"),
        ({"predictors": np.column_stack([np.arange(6), 2 * np.arange(6) + 1])}, "collinear"),
        ({"predictors": np.random.default_rng(0).normal(size=(6, 5))}, "cannot carry"),
        ({"method": "gee"}, "clusters"),
        ({"method": "probit"}, "known"),
        ({"names": ["a", "b"]}, "2 names"),
        ({"cluster": [1] * 6}, "one cluster"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"y": [0, 1, 0, 1, 1, 0], "predictors": [1, 2, 3, 4, 5, 6]}
    with pytest.raises(ValueError, match=message):
        discrepancy_regression(**(arguments | change))


@pytest.mark.parametrize("method", ["logistic", "gee"])
def test_separated_data_are_refused_where_no_estimate_exists(method: str) -> None:
    y, x = table(10, 0, 5, 5)
    with pytest.raises(ValueError, match="separated"):
        discrepancy_regression(y, x, cluster=np.arange(20), method=method)


def test_result_prints_and_serialises() -> None:
    result = discrepancy_regression(**clustered(8), names=["age", "view"])
    assert "age: odds ratio" in str(result)
    assert [term["name"] for term in json.loads(result.to_json())["terms"]] == ["intercept", "age", "view"]
    with pytest.raises(KeyError):
        result["sex"]
