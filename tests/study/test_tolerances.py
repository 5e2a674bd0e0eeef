"""Every number has a tolerance that its own uncertainty gives it, or a reason why it has none."""

from __future__ import annotations

from typing import Any

import pytest

from radtransfer.report.numbers import Number, Tolerance
from radtransfer.study.tolerances import declare, tolerance_of, why_none


def number(key: str, value: Any, notebook: str = "04_evaluation", **fields: Any) -> Number:
    return Number(key=key, value=value, notebook=notebook, **fields)


EXACT = Tolerance(kind="exact")


@pytest.mark.parametrize(
    "given",
    [
        number("cohort.pneumonia.n_images", 897, "01_data_curation"),
        number("leakage.pneumonia.auc", 0.83, "01_data_curation", low=0.8, high=0.86),
        number("readers.auc.mean", 0.9, "09_reader_study", low=0.8, high=0.95),
        number("best.tumour.network.name", "MobileNet, frozen"),
        number("claims.c1.verdict", "not supported", "13_claims"),
        number("tests.pneumonia.n_pairs", 43, "10_statistics"),
        number("tests.pneumonia.smallest_p", 0.0625, "10_statistics", unit="p"),
        number("subgroups.pneumonia.margin", 0.05, "08_bias_subgroups"),
    ],
    ids=lambda given: given.key,
)
def test_data_counts_names_and_verdicts_have_to_be_the_same(given: Number) -> None:
    assert tolerance_of(given) == EXACT


@pytest.mark.parametrize(
    ("fields", "half_width"),
    [
        ({"value": 0.8, "low": 0.7, "high": 0.9, "level": 0.95}, 0.1),
        ({"value": 2.0, "low": 1.0, "high": 4.0, "level": 0.95}, 1.5),
        # an interval of another level counts as the 95 % one of the same standard error
        ({"value": 0.8, "low": 0.8 - 0.1645, "high": 0.8 + 0.1645, "level": 0.9}, 0.196),
        ({"value": 0.8, "low": 0.7, "level": 0.95}, 0.1),
        # no interval, or one without width: what the count of patients allows (Wilson)
        ({"value": 0.5, "n": {"patients": 100, "images": 400}}, 0.0962),
        ({"value": 1.0, "low": 1.0, "high": 1.0, "n": {"images": 50}}, 0.0357),
    ],
)
def test_what_rests_on_training_may_move_by_half_its_half_width(fields: Any, half_width: float) -> None:
    tolerance = tolerance_of(number("cv.pneumonia.vgg16_frozen.auc", **fields))
    assert tolerance is not None
    assert (tolerance.kind, tolerance.basis) == ("absolute", "sampling_error")
    assert tolerance.value == pytest.approx(half_width / 2, rel=0.01)


def test_a_p_value_moves_with_its_estimate() -> None:
    # 0.05 is an estimate of 1.96 standard errors; 0.98 fewer make it 0.327
    tolerance = tolerance_of(number("tests.pneumonia.p", 0.05, unit="p"))
    assert tolerance is not None
    assert tolerance.value == pytest.approx(0.277, abs=0.001)
    # near 1 it can only fall
    tolerance = tolerance_of(number("tests.pneumonia.p", 0.99, unit="p"))
    assert tolerance is not None
    assert tolerance.value == pytest.approx(0.669, abs=0.003)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (number("utility.compute.seconds", 0.05, "12_clinical_utility"), "of one machine"),
        (number("training.tumour.primary.source", "package x", "03_transfer_learning"), "had from"),
        (number("training.tumour.primary.epochs", 38.0, "03_transfer_learning"), "last bits"),
        (number("tests.tumour.network-shortcut.n_better", 4, "10_statistics"), "tally of verdicts"),
        (number("subgroups.pneumonia.n_found", 2, "08_bias_subgroups"), "tally of verdicts"),
        (number("subgroups.pneumonia.n_models_found", 2, "08_bias_subgroups"), "tally of verdicts"),
        (
            number("subgroups.pneumonia.gap.age.auc", 0.06, n={"groups": 3, "images": 47}, p_value=0.4),
            "neither an interval nor a count",
        ),
        (number("utility.costs.probability", 0.9, "12_clinical_utility"), "neither an interval nor a count"),
    ],
    ids=lambda given: given.key if isinstance(given, Number) else "",
)
def test_where_none_can_be_declared_the_reason_is_told(given: Number, reason: str) -> None:
    assert tolerance_of(given) is None
    assert reason in why_none(given)


def test_a_declared_tolerance_goes_before_the_rule() -> None:
    own = Tolerance(kind="absolute", value=0.01, basis="seed_sd")
    given = number("cv.pneumonia.vgg16_frozen.auc", 0.8, low=0.7, high=0.9, tolerance=own)
    assert declare(given).tolerance == own
    assert why_none(given) == ""


def test_declaring_twice_changes_nothing() -> None:
    once = declare(number("cv.pneumonia.vgg16_frozen.auc", 0.8, low=0.7, high=0.9))
    assert once.tolerance is not None
    assert declare(once) == once
