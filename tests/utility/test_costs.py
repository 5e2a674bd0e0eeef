"""Costs by hand, and sensitivity analyses that find what was planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radtransfer.stats.result import Estimate
from radtransfer.utility.costs import Inputs, assumed, draws, measured, outcome, saving, summary, tornado

BASE = Inputs(
    prevalence=0.1,
    sensitivity=0.9,
    specificity=0.5,
    reader_sensitivity=0.8,
    reader_specificity=0.9,
    reading_cost=10.0,
    compute_seconds=36.0,
    training_seconds=3600.0,
    machine_hour=2.0,
    images_served=100.0,
    running_cost=1.0,
)


def test_strategies_by_hand() -> None:
    # 36 s, and 36 s of training spread: 72 s at 2 dollars an hour
    assert BASE.compute_cost == pytest.approx(0.04)
    reader, model, first = (outcome(name, BASE) for name in ("reader", "model", "first"))
    assert (reader.cost, reader.read) == (10, 1)
    assert reader.found == pytest.approx(0.08)
    assert reader.correct == pytest.approx(0.08 + 0.81)
    assert (model.cost, model.read) == (pytest.approx(1.04), 0)
    assert model.found == pytest.approx(0.09)
    assert model.correct == pytest.approx(0.09 + 0.45)
    assert first.read == pytest.approx(0.09 + 0.45)
    assert first.cost == pytest.approx(1.04 + 5.4)
    assert first.found == pytest.approx(0.072)
    assert first.correct == pytest.approx(0.072 + 0.9 * (1 - 0.5 * 0.1))
    assert saving(BASE) == pytest.approx(10 / 0.89 - 6.44 / 0.927)
    assert first.per_found == pytest.approx(6.44 / 0.072)


def test_people_followed_one_by_one() -> None:
    """The formulas are the means of drawn people."""
    rng = np.random.default_rng(0)
    n = 400_000
    ill = rng.random(n) < BASE.prevalence
    flagged = rng.random(n) < np.where(ill, BASE.sensitivity, 1 - BASE.specificity)
    called = rng.random(n) < np.where(ill, BASE.reader_sensitivity, 1 - BASE.reader_specificity)
    found = outcome("first", BASE)
    assert found.read == pytest.approx(flagged.mean(), abs=0.004)
    assert found.found == pytest.approx((ill & flagged & called).mean(), abs=0.004)
    assert found.correct == pytest.approx((ill == (flagged & called)).mean(), abs=0.004)
    assert found.cost == pytest.approx(1.04 + 10 * flagged.mean(), abs=0.04)


def test_a_model_that_flags_all_only_adds_its_cost() -> None:
    everything = replace(BASE, sensitivity=1.0, specificity=0.0)
    first, reader = outcome("first", everything), outcome("reader", everything)
    assert first.correct == pytest.approx(reader.correct)
    assert first.cost == pytest.approx(reader.cost + 1.04)


def test_tornado_finds_the_input_that_matters() -> None:
    ranges = {
        "machine_hour": assumed(2.0, 1.0, 4.0),
        "reading_cost": assumed(10.0, 5.0, 20.0),
        "running_cost": assumed(1.0, 0.0, 2.0),
    }
    rows = tornado(BASE, ranges)
    assert [row[0] for row in rows] == ["reading_cost", "running_cost", "machine_hour"]
    _, low, high = rows[0]
    assert low == pytest.approx(saving(replace(BASE, reading_cost=5.0)))
    assert high == pytest.approx(saving(replace(BASE, reading_cost=20.0)))


def test_draws_have_the_means_of_their_ranges() -> None:
    rate = Estimate(name="sensitivity", estimate=0.9, low=0.86, high=0.94)
    ranges = {"sensitivity": measured(rate), "reading_cost": assumed(10.0, 4.0, 16.0)}
    drawn = draws(BASE, ranges, n=20_000, seed=1)
    assert np.mean(drawn.sensitivity) == pytest.approx(0.9, abs=0.002)
    assert np.quantile(drawn.sensitivity, [0.025, 0.975]) == pytest.approx([0.86, 0.94], abs=0.006)
    assert np.mean(drawn.reading_cost) == pytest.approx(10, abs=0.1)
    assert np.min(drawn.reading_cost) >= 4
    assert np.max(drawn.reading_cost) <= 16
    assert drawn.specificity == BASE.specificity
    found = summary("saving", float(saving(BASE)), np.asarray(saving(drawn)), level=0.95)
    assert found.low < found.estimate < found.high
    assert found.n == {"draws": 20_000}


def test_a_range_without_width_draws_its_value() -> None:
    drawn = draws(BASE, {"reading_cost": assumed(10.0, 10.0, 10.0)}, n=5, seed=1)
    np.testing.assert_array_equal(drawn.reading_cost, [10.0] * 5)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no input"):
        draws(BASE, {"fee": assumed(1.0, 1.0, 1.0)}, n=2, seed=1)
    with pytest.raises(ValueError, match="no interval"):
        measured(Estimate(name="sensitivity", estimate=0.9))
