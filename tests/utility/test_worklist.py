"""The simulated queue against queueing theory, and against queues followed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtransfer.errors import InputError
from radtransfer.utility.worklist import Day, Worklist, expected_delays, replicate, simulate

BUSY = Worklist(utilisation=0.8, minutes=2.0, variation=1.0, prevalence=0.1, sensitivity=0.9, specificity=0.8)


def test_one_class_is_the_textbook_queue() -> None:
    nobody = replace(BUSY, sensitivity=0.0, specificity=1.0)
    delays = expected_delays(nobody)
    # M/M/1: mean time in the system 1/(mu - lambda)
    assert delays.arrival == pytest.approx(1 / (1 / 2 - 0.8 / 2))
    assert delays.positive == delays.negative == pytest.approx(delays.arrival)
    # M/D/1 waits half as long as M/M/1
    constant = expected_delays(replace(nobody, variation=0.0))
    assert constant.arrival - 2 == pytest.approx((delays.arrival - 2) / 2)


def test_cobhams_priorities_by_hand() -> None:
    work = replace(BUSY, prevalence=0.25, sensitivity=1.0, specificity=1.0)
    # lambda .4, E S^2 = 8: W0 = 1.6; rho_1 = .2, rho = .8
    delays = expected_delays(work)
    assert delays.flagged == delays.positive == pytest.approx(1.6 / 0.8 + 2)
    assert delays.unflagged == delays.negative == pytest.approx(1.6 / (0.8 * 0.2) + 2)


WORK = st.builds(
    Worklist,
    utilisation=st.floats(0.05, 0.97),
    minutes=st.floats(0.1, 30),
    variation=st.floats(0, 2),
    prevalence=st.floats(0.01, 0.99),
    sensitivity=st.floats(0, 1),
    specificity=st.floats(0, 1),
)


@given(WORK)
def test_the_order_moves_waiting_and_makes_none(work: Worklist) -> None:
    delays = expected_delays(work)
    # Kleinrock's conservation law, with equal reading times
    mixed = work.flagged * delays.flagged + (1 - work.flagged) * delays.unflagged
    assert mixed == pytest.approx(delays.arrival)
    by_truth = work.prevalence * delays.positive + (1 - work.prevalence) * delays.negative
    assert by_truth == pytest.approx(delays.arrival)


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0, 2.0])
def test_simulation_agrees_with_theory(variation: float) -> None:
    work = replace(BUSY, utilisation=0.7, variation=variation)
    delays = expected_delays(work)
    options = {"n_studies": 4000, "n_replicates": 25, "level": 0.999, "seed": 5, "name": "delay"}
    for order, who, expected in (
        ("arrival", lambda day: day.delay.mean(), delays.arrival),
        ("flagged", lambda day: day.delay[day.positive].mean(), delays.positive),
        ("flagged", lambda day: day.delay[~day.flagged].mean(), delays.unflagged),
    ):
        found = replicate(work, who, order=order, **options)  # type: ignore[arg-type]
        assert found.low < expected < found.high
        assert found.high - found.low < 0.35 * expected


def by_hand(work: Worklist, *, order: str, seed: int, n: int) -> np.ndarray:
    """Delays of a queue, minute by minute of the definition: at every free moment, who is next?"""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / work.per_minute, n))
    reading = rng.gamma(1.0, work.minutes, n)
    positive = rng.random(n) < work.prevalence
    flagged = rng.random(n) < np.where(positive, work.sensitivity, 1 - work.specificity)
    first = {"arrival": np.zeros(n, dtype=bool), "flagged": flagged, "perfect": positive}[order]
    left, clock, delay = set(range(n)), 0.0, np.empty(n)
    while left:
        here = [study for study in left if arrival[study] <= clock]
        if not here:
            clock = min(arrival[study] for study in left)
            continue
        study = min(here, key=lambda s: (not first[s], arrival[s]))
        clock += reading[study]
        delay[study] = clock - arrival[study]
        left.remove(study)
    return delay


@pytest.mark.parametrize("order", ["arrival", "flagged", "perfect"])
def test_every_study_of_a_small_queue(order: str) -> None:
    day = simulate(BUSY, n_studies=60, order=order, seed=3)  # type: ignore[arg-type]
    np.testing.assert_allclose(day.delay, by_hand(BUSY, order=order, seed=3, n=60)[12:])


def test_orders_follow_the_same_studies() -> None:
    days = [simulate(BUSY, n_studies=500, order=order, seed=1) for order in ("arrival", "flagged", "perfect")]
    for day in days[1:]:
        np.testing.assert_array_equal(day.positive, days[0].positive)
        np.testing.assert_array_equal(day.flagged, days[0].flagged)
    means = [day.delay[day.positive].mean() for day in days]
    assert means[0] > means[1] > means[2]


def test_runs_differ_and_repeat() -> None:
    def mean(day: Day) -> float:
        return float(day.delay.mean())

    a, b = (
        replicate(
            BUSY, mean, order="arrival", n_studies=200, n_replicates=3, level=0.95, seed=seed, name="d"
        ).estimate
        for seed in (1, 1)
    )
    assert a == b
    assert simulate(BUSY, n_studies=200, order="arrival", seed=1).delay.mean() != pytest.approx(
        simulate(BUSY, n_studies=200, order="arrival", seed=2).delay.mean()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [({"utilisation": 1.0}, "never end"), ({"minutes": 0.0}, "positive"), ({"variation": -1.0}, "positive")],
)
def test_what_is_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(BUSY, **change)  # type: ignore[arg-type]
