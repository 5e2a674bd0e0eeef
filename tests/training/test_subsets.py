"""Shares of a training part: nested, whole patients, classes in proportion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radtransfer.training.subsets import nested_share

cohorts = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=6, max_size=120).map(
    lambda pairs: ([f"p{patient}" for patient, _ in pairs], np.array([label for _, label in pairs]))
)


@given(cohorts, st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_smaller_shares_are_parts_of_larger_ones(
    cohort: tuple[list[str], np.ndarray], one: float, other: float, seed: int
) -> None:
    patients, labels = cohort
    small, large = (
        set(nested_share(patients, labels, share, seed=seed).tolist()) for share in sorted((one, other))
    )
    assert small <= large


@given(cohorts, st.floats(0.01, 1), st.integers(0, 5))
def test_no_patient_is_taken_in_part(cohort: tuple[list[str], np.ndarray], share: float, seed: int) -> None:
    patients, labels = cohort
    taken = nested_share(patients, labels, share, seed=seed)
    assert not {patients[i] for i in taken} & {patients[i] for i in set(range(len(patients))) - set(taken)}


def test_classes_keep_their_proportion_and_none_vanishes() -> None:
    labels = np.array([0] * 80 + [1] * 20)
    patients = [str(i) for i in range(100)]
    quarter = labels[nested_share(patients, labels, 0.25, seed=1)]
    assert np.bincount(quarter).tolist() == [20, 5]
    least = labels[nested_share(patients, labels, 0.001, seed=1)]
    assert sorted(least.tolist()) == [0, 1]


def test_another_seed_takes_other_patients_and_all_is_all() -> None:
    labels = np.zeros(200, dtype=int)
    patients = [str(i) for i in range(200)]
    one, other = (set(nested_share(patients, labels, 0.5, seed=seed).tolist()) for seed in (1, 2))
    assert one != other
    np.testing.assert_array_equal(nested_share(patients, labels, 1.0, seed=1), np.arange(200))
