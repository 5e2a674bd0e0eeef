"""Agreement: hand-checkable values, R's values, properties, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from radtransfer.stats.agreement import (
    cohen_kappa,
    cohen_kappa_table,
    conger_kappa,
    contingency_table,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    rating_counts,
)

# Krippendorff (2011), Computing Krippendorff's alpha-reliability, example C: 4 observers, 12 units
KRIPPENDORFF = [
    [1, 1, None, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [None, 5, 5, 5],
    [None, None, 1, 1],
    [None, None, 3, None],
]


def test_kappa_by_hand() -> None:
    # observed (20 + 15) / 50 = .7; expected (25*30 + 25*20) / 2500 = .5; kappa .2 / .5
    result = cohen_kappa_table([[20, 5], [10, 15]])
    assert result.estimate == pytest.approx(0.4)
    assert result.details["observed"] == pytest.approx(0.7)
    assert result.details["expected"] == pytest.approx(0.5)


def test_fleiss_cohen_everitt_standard_error_by_its_formula() -> None:
    p = np.array([[0.53, 0.05, 0.02], [0.11, 0.14, 0.05], [0.01, 0.06, 0.03]])  # Fleiss, Cohen, Everitt 1969
    n = 200
    row, column = p.sum(axis=1), p.sum(axis=0)
    po, pe = np.trace(p), row @ column
    kappa = (po - pe) / (1 - pe)
    mean = row[None, :] + column[:, None]  # p_.i + p_j. for cell (i, j)
    diagonal = (np.diag(p) * (1 - (row + column) * (1 - kappa)) ** 2).sum()
    off = (1 - kappa) ** 2 * ((p * mean**2).sum() - (np.diag(p) * np.diag(mean) ** 2).sum())
    variance = (diagonal + off - (kappa - pe * (1 - kappa)) ** 2) / (n * (1 - pe) ** 2)
    result = cohen_kappa_table(p * n)
    assert result.estimate == pytest.approx(kappa)
    assert result.details["se"] == pytest.approx(np.sqrt(variance))


def test_weights_need_the_declared_scale() -> None:
    a, b = [0, 0, 1, 1, 3, 3], [0, 1, 1, 3, 3, 3]
    dense = cohen_kappa(a, b, weights="linear")
    declared = cohen_kappa(a, b, weights="linear", labels=[0, 1, 2, 3])
    assert dense.estimate != pytest.approx(declared.estimate)
    assert dense.n["subjects"] == 6


def test_numbers_are_ordered_as_numbers_and_floats_equal_integers() -> None:
    a, b = [2, 10, 10, 1], [2.0, 10.0, 2.0, 1.0]
    assert cohen_kappa(a, b, weights="quadratic").estimate == pytest.approx(
        cohen_kappa(a, b, weights="quadratic", labels=[1, 2, 10]).estimate
    )


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.int64, (3, 3), elements=st.integers(0, 20)), st.sampled_from(["none", "linear", "quadratic"])
)
def test_kappa_is_symmetric_and_bounded(table: np.ndarray, weights: str) -> None:
    try:
        result = cohen_kappa_table(table, weights=weights)
    except ValueError:
        row, column = table.sum(axis=1), table.sum(axis=0)
        assert table.sum() == 0 or ((row > 0).sum() == 1 and (row > 0).tolist() == (column > 0).tolist())
        return
    swapped = cohen_kappa_table(table.T, weights=weights)
    assert result.estimate == pytest.approx(swapped.estimate, abs=1e-9)
    assert result.details["se"] == pytest.approx(swapped.details["se"], abs=1e-9)
    assert -1 <= result.low <= result.estimate + 1e-12
    assert result.estimate - 1e-12 <= result.high <= 1


def test_perfect_agreement_is_one() -> None:
    assert cohen_kappa(["a", "b", "a"], ["a", "b", "a"]).estimate == 1
    assert fleiss_kappa([[3, 0], [0, 3]]).estimate == 1
    assert gwet_ac1([[3, 0], [0, 3]]).estimate == 1


@pytest.mark.parametrize("labels", [None, [0, 1]])
def test_both_raters_constant_is_refused_with_the_reason(labels: list[int] | None) -> None:
    with pytest.raises(ValueError, match=r"undefined.*AC1"):
        cohen_kappa([1, 1, 1], [1, 1, 1], labels=labels)
    with pytest.raises(ValueError, match=r"undefined.*AC1"):
        fleiss_kappa([[4, 0], [4, 0]])
    assert gwet_ac1([[4, 0], [4, 0]]).estimate == 1


def test_one_constant_rater_gives_zero_and_says_so() -> None:
    result = cohen_kappa([0, 1, 0, 1], [1, 1, 1, 1])
    assert (result.estimate, result.p_value) == (0.0, 1.0)
    assert "constant" in result.method


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 1], [0, 1, 1], "shapes"),
        ([], [], "no ratings"),
        ([0, None], [0, 1], "missing"),
        ([0, float("nan")], [0, 1], "missing"),
    ],
)
def test_kappa_refuses(a: list[object], b: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cohen_kappa(a, b)


def test_rating_outside_the_scale_is_named() -> None:
    with pytest.raises(ValueError, match="'7'"):
        contingency_table([0, 7], [0, 1], labels=[0, 1])


def test_fleiss_by_hand() -> None:
    # five rows of the table of Fleiss, Psychol Bull 1971;76:378: 6 psychiatrists, 5 diagnoses
    counts = [[0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0]]
    by_hand_p = [1.0, 0.4, 0.4, 1.0, 0.4]  # pairs that agree of 15
    result = fleiss_kappa(counts)
    assert result.details["observed"] == pytest.approx(np.mean(by_hand_p))
    shares = np.sum(counts, axis=0) / 30
    assert result.details["expected"] == pytest.approx((shares**2).sum())


def test_unequal_numbers_of_ratings_must_be_asked_for() -> None:
    counts = [[3, 2], [2, 2], [5, 0]]
    with pytest.raises(ValueError, match="unequal"):
        fleiss_kappa(counts)
    assert fleiss_kappa(counts, unequal=True).estimate == pytest.approx(-0.00529100529100506)  # irrCAC


def test_missing_ratings_are_not_a_category() -> None:
    counts, labels = rating_counts(KRIPPENDORFF)
    assert labels == ("1", "2", "3", "4", "5")
    result = gwet_ac1(counts)
    # irrCAC on its table raw4raters: .77544, standard error .14295
    assert result.estimate == pytest.approx(0.77544, abs=5e-6)
    assert result.details["se"] == pytest.approx(0.14295, abs=5e-6)
    assert krippendorff_alpha(KRIPPENDORFF).estimate == pytest.approx(0.743, abs=5e-4)  # Krippendorff 2011
    assert krippendorff_alpha(KRIPPENDORFF, measurement="ordinal").estimate == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(KRIPPENDORFF, measurement="interval").estimate == pytest.approx(0.849, abs=5e-4)
    assert conger_kappa(KRIPPENDORFF).estimate == pytest.approx(0.76282, abs=5e-6)  # irrCAC


def test_two_raters_make_conger_equal_cohen() -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 3, 80)
    b = np.where(rng.random(80) < 0.6, a, rng.integers(0, 3, 80))
    conger = conger_kappa(np.stack([a, b], axis=1))
    assert conger.estimate == pytest.approx(cohen_kappa(a, b).estimate)


def test_clusters_of_one_give_nearly_the_plain_standard_error_and_copies_inflate_it() -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 2, 300)
    b = np.where(rng.random(300) < 0.75, a, 1 - a)
    plain = cohen_kappa(a, b)
    single = cohen_kappa(a, b, cluster=np.arange(300))
    assert single.details["se"] == pytest.approx(plain.details["se"], rel=0.05)
    copied = cohen_kappa(np.tile(a, 4), np.tile(b, 4), cluster=np.tile(np.arange(300), 4))
    assert copied.estimate == pytest.approx(plain.estimate)
    assert copied.details["se"] == pytest.approx(single.details["se"])  # 4 copies are no new patients
    counts, _ = rating_counts(np.stack([a, b], axis=1))
    clustered = fleiss_kappa(counts, cluster=np.arange(300))
    assert clustered.details["se"] == pytest.approx(fleiss_kappa(counts).details["se"], rel=0.05)
    with pytest.raises(ValueError, match="one cluster"):
        cohen_kappa(a, b, cluster=np.zeros(300))


@settings(max_examples=30, deadline=None)
@given(arrays(np.int64, (12, 3), elements=st.integers(0, 2)), st.randoms(use_true_random=False))
def test_order_of_raters_and_subjects_does_not_matter(ratings: np.ndarray, random: object) -> None:
    shuffled = ratings[::-1, [2, 0, 1]]
    first, _ = rating_counts(ratings, labels=[0, 1, 2])
    second, _ = rating_counts(shuffled, labels=[0, 1, 2])
    a, b = gwet_ac1(first), gwet_ac1(second)
    assert a.estimate == pytest.approx(b.estimate)
    assert a.details["se"] == pytest.approx(b.details["se"], abs=1e-12)


@pytest.mark.shared
def test_agreement_of_the_chexpert_radiologists(shared_oracles: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "chexpert_readers" / "radiologists").glob("*/*.csv"))
    reader = {path.name[:3]: pd.read_csv(path)["Edema"].to_numpy(dtype=int) for path in files}
    reference = json.loads((shared_oracles / "chexpert_reference.json").read_text())["findings"]["Edema"]
    for pair, expected in reference["cohen_kappa"].items():
        result = cohen_kappa(*(reader[name] for name in pair.split("__")))
        assert result.estimate == pytest.approx(expected["kappa"], abs=1e-12)
        assert result.details["se"] == pytest.approx(expected["asymptotic_se"], abs=1e-12)
        assert result.statistic == pytest.approx(expected["null_z"], abs=1e-9)
    panels = {
        "five": ["bc1", "bc2", "bc3", "bc5", "bc7"],
        "three": ["bc4", "bc6", "bc8"],
        "eight": sorted(reader),
    }
    for panel, names in panels.items():
        ratings, expected = np.stack([reader[name] for name in names], axis=1), reference["fleiss"][panel]
        counts, _ = rating_counts(ratings)
        fleiss, ac1 = fleiss_kappa(counts), gwet_ac1(counts)
        assert fleiss.estimate == pytest.approx(expected["kappa_fullprec"], abs=1e-12)
        assert fleiss.statistic == pytest.approx(expected["null_z"], abs=1e-9)
        assert fleiss.details["se"] == pytest.approx(expected["irrCAC_se"], abs=5e-6)
        assert ac1.estimate == pytest.approx(expected["gwet_ac1_fullprec"], abs=1e-12)
        assert ac1.details["se"] == pytest.approx(expected["gwet_ac1_se"], abs=5e-6)
        assert krippendorff_alpha(ratings).estimate == pytest.approx(
            expected["krippendorff_alpha_nominal"], abs=6e-6
        )
        assert conger_kappa(ratings).estimate == pytest.approx(expected["conger_kappa"], abs=6e-6)


def test_one_subject_has_a_coefficient_and_no_interval() -> None:
    result = fleiss_kappa([[3, 2]])
    assert result.estimate == pytest.approx((0.4 - 0.52) / 0.48)
    assert (result.low, result.high, result.p_value) == (None, None, None)


def test_many_subjects_do_not_take_long() -> None:
    ratings = np.random.default_rng(0).integers(0, 2, (20_000, 3))
    assert krippendorff_alpha(ratings).n["subjects"] == 20_000
    assert conger_kappa(ratings).n["subjects"] == 20_000
